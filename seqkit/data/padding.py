"""Ragged rows to padded blocks, and next-step inputs and targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit.data.store import Column, block
from seqkit.interfaces import Batch
from seqkit.types import END, START, Index


def pad_rows(
    column: Column, index: Index, steps: int = 0, *, like: tuple[Index, int] | None = None
) -> tuple[NDArray[Any], Index]:
    """Rows of a ragged column as (B, T, ...), padded with zeros on the right, and their lengths (B,).

    T is the longest of them, or `steps` if that is more. The numbers are int64 or float32, as `to_tensor` makes them.

    Args:
        column: where the rows are.
        index: (B,) the examples.
        steps: the least T.
        like: (lengths (B,), T) of another array: if its lengths equal these, T is at least its T.
    """
    data = column.data
    if column.offsets is None:  # one row an example: sequences of one step
        return _to_batch_type(data[index])[:, None], np.ones(len(index), dtype=np.int64)
    offsets = np.asarray(column.offsets)
    starts = offsets.take(index)
    lengths = (offsets.take(index + 1) if column.stops is None else column.stops.take(index)) - starts
    longest = int(lengths.max())
    width = max(longest, steps, like[1] if like is not None and np.array_equal(like[0], lengths) else 0)
    times = np.arange(longest)
    # One read takes in what follows the shorter examples in the file; that is overwritten with padding.
    rows = block(data, starts, longest)
    is_padding = times >= lengths[:, None]
    if data.ndim > 1:
        is_padding = is_padding.reshape(*is_padding.shape, *[1] * (data.ndim - 1))
    if width == longest:
        padded = rows.astype(_batch_type(data.dtype), copy=False)
        np.copyto(padded, 0, where=is_padding)
        return padded, lengths
    padded = np.zeros((len(index), width, *data.shape[1:]), _batch_type(data.dtype))
    np.copyto(padded[:, :longest], rows, where=~is_padding)
    return padded, lengths


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Integers as int64, everything else as float32: what layers and losses take."""
    return torch.from_numpy(_to_batch_type(array))


def _to_batch_type(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the type that it has in a batch, without a copy if it has that type already."""
    return np.asarray(array.astype(_batch_type(array.dtype), copy=False))


def _batch_type(dtype: np.dtype[Any]) -> type[np.int64] | type[np.float32]:
    return np.int64 if dtype.kind in "iub" else np.float32


def next_step(x: NDArray[Any], lengths: Index, ids: Sequence[str], numbers: Index, *, complete: bool) -> Batch:
    """Symbols (B, T) as a batch of inputs and next-symbol targets; a target is -1 where there is nothing to predict.

    A complete sequence is predicted from its start symbol to its end symbol, so it becomes one step longer. A piece of
    a longer text has no end to predict: its symbols are scored, the first of them given the start symbol.
    """
    rows, steps = x.shape
    width = steps + complete
    inputs = np.empty((rows, width), dtype=np.int64)
    targets = np.full((rows, width), -1, dtype=np.int64)
    inputs[:, 0] = START
    inputs[:, 1:] = x[:, : width - 1]
    np.copyto(targets[:, :steps], x, where=np.arange(steps) < lengths[:, None])
    if complete:
        targets[np.arange(rows), lengths] = END
        lengths = lengths + 1
    else:
        # The last symbol of a shorter piece is predicted, but is no input.
        short = np.flatnonzero(lengths < steps)
        inputs[short, lengths[short]] = 0
    return Batch(
        torch.from_numpy(inputs),
        torch.from_numpy(lengths),
        torch.from_numpy(targets),
        torch.from_numpy(lengths),
        ids=ids,
        numbers=torch.from_numpy(numbers),
    )
