"""Features: what the encoder makes of inputs, for other programs to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
import torch

from seqkit.errors import DataError, Problem
from seqkit.inference.inputs import Input
from seqkit.inference.predict import CHUNK, compute_windows, encode_chunks
from seqkit.interfaces import Batch, check_finite
from seqkit.model import Model
from seqkit.types import Field, Task

FeaturePool: TypeAlias = Literal["none", "last", "mean", "max"]
"""How the steps of an input become features: see `encode_inputs`."""


def encode_inputs(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    inputs: Iterable[Input],
    *,
    pool: FeaturePool = "none",
    batch: int = 64,
    chunk: int | None = None,
    computing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[np.ndarray]:
    """The features of each input, in their order: float32, without padding.

    Inputs longer than the task's limit are cut as in training. The steps of windows are joined again.

    Args:
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        inputs: what to encode.
        pool: none, the steps (T, H); last, mean or max of them, (H,). Of an encoder in both directions, the last
            output of the backward one is that of the first step (where there are windows: of the last window).
        batch: inputs a batch.
        chunk: most inputs that are read before the first of them is encoded.
        computing: makes a context for each chunk, in which its features are computed.

    Raises:
        DataError: an input cannot be used; those before it have been given.
    """
    for encodings in encode_chunks(task_and_fields, inputs, chunk or CHUNK):
        with computing():
            compute = partial(_features, model, name, pool)
            windows_of = iter(compute_windows(model, name, task_and_fields, encodings, batch, compute))
        for item, x in encodings:
            if isinstance(x, str):
                raise DataError(Problem(item.id, x))
            yield _joined(next(windows_of), pool)


def _features(model: Model, name: str, pool: FeaturePool, batch: Batch) -> list[tuple[np.ndarray, int]]:
    """Steps (T, H), or what they are pooled to (H,), and the number of steps, of each row."""
    encoded = model.encode(name, batch)
    check_finite(encoded.steps, batch, encoded.lengths)
    lengths = encoded.lengths.tolist()
    if pool == "last":
        return [(_array(row), length) for row, length in zip(encoded.last, lengths, strict=True)]
    rows = [steps[:length] for steps, length in zip(encoded.steps.float(), lengths, strict=True)]
    if pool == "mean":
        return [(_array(row.mean(dim=0)), len(row)) for row in rows]
    if pool == "max":
        return [(_array(row.amax(dim=0)), len(row)) for row in rows]
    return [(_array(row), len(row)) for row in rows]


def _array(row: torch.Tensor) -> np.ndarray:
    return row.float().cpu().numpy().copy()


def _joined(windows: list[tuple[np.ndarray, int]], pool: FeaturePool) -> np.ndarray:
    """The features of an input from those of its windows."""
    arrays = [array for array, _ in windows]
    if len(arrays) == 1 or pool == "last":
        return arrays[-1]
    if pool == "none":
        return np.concatenate(arrays)
    if pool == "max":
        return np.asarray(np.max(arrays, axis=0))
    lengths = [length for _, length in windows]
    return np.average(arrays, axis=0, weights=lengths).astype(np.float32)
