"""Windows of stored series as inputs, with the steps after each as its target, and sequences scaled by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit.data.lazy_sequence import LazySequence
from seqkit.data.store import Column, Split
from seqkit.fields import NextValues, Scaling
from seqkit.types import Index

UNLABELLED: Final = "predict"
"""The name of a split of new inputs: each series has one window, its last steps, and nothing after it."""


def cut_windows(split: Split, name: str, target: NextValues) -> Split:
    """The split with a window for each example instead of a whole series. Nothing of the series is copied.

    Args:
        split: whole series; windows stay as they are.
        name: of the split; train and dev take every `stride`-th window, others take all.
        target: which windows.
    """
    column = split.x
    if column.stops is not None or column.offsets is None:
        return split
    starts, lengths = column.offsets[:-1], column.lengths
    if name == UNLABELLED:
        series, ends = np.arange(len(lengths)), lengths
    else:
        stride = target.stride if name in ("train", "dev") else 1
        shortest = target.shortest if name == "train" else None
        ends_of = [_ends(int(length), target, shortest, stride) for length in lengths]
        series = np.repeat(np.arange(len(lengths)), [len(ends) for ends in ends_of])
        ends = np.concatenate([np.zeros(0, np.int64), *ends_of])
    stops = starts[series] + ends
    windows = Column(column.data, np.maximum(starts[series], stops - target.history), stops)
    ids = split.ids if name == UNLABELLED else WindowIds(split.ids, series, ends)
    return replace(split, x=windows, ids=ids, origin=np.arange(len(stops)), shard_ends=None)


def _ends(length: int, target: NextValues, shortest: int | None, stride: int) -> Index:
    """(n,) how many steps of a series come before each forecast, rising; at least one, if the series is long enough."""
    last = length - target.horizon
    first = min(target.history if shortest is None else shortest, last)
    if first < 1:
        return np.zeros(0, dtype=np.int64)
    return np.arange(last, first - 1, -stride, dtype=np.int64)[::-1]


@final
class WindowIds(LazySequence[str]):
    """Ids of windows, made on access: `H1+960` is what comes after the first 960 steps of series H1."""

    def __init__(self, ids: Sequence[str], series: Index, ends: Index) -> None:
        self._ids, self._series, self._ends = ids, series, ends

    def __len__(self) -> int:
        return len(self._ends)

    def item(self, i: int) -> str:
        return f"{self._ids[int(self._series[i])]}+{int(self._ends[i])}"


def next_rows(column: Column, index: Index, horizon: int) -> Tensor:
    """(B, H, C) the rows after each of these windows."""
    assert column.stops is not None, "a series is cut into windows first"
    rows = column.data[column.stops.take(index)[:, None] + np.arange(horizon)]
    return torch.from_numpy(rows.astype(np.float32, copy=False))


def scale_rows(
    scaling: Scaling, x: NDArray[Any], lengths: Index, y: Tensor | None
) -> tuple[NDArray[Any], Tensor | None, dict[str, Tensor]]:
    """Inputs and next values, scaled, and the `extra` of a batch that undoes it: `offset` and `divisor`, (B, C).

    Args:
        x: (B, T, C) rows, zero past the end of each sequence, and so they stay.
        lengths: (B,).
        y: (B, H, C) next values; None: there are none.
    """
    offset, divisor = (array.astype(np.float32)[:, None] for array in scaling.measure(x, lengths))
    is_real = np.arange(x.shape[1])[:, None] < lengths[:, None, None]
    scaled = np.where(is_real, (x - offset) / divisor, np.float32(0.0))
    if y is not None:
        y = (y - torch.from_numpy(offset)) / torch.from_numpy(divisor)
    return scaled, y, {"offset": torch.from_numpy(offset[:, 0]), "divisor": torch.from_numpy(divisor[:, 0])}
