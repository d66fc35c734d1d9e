"""The batches of an evaluation: every example once, long next-step sequences in windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from seqkit.data import sampler
from seqkit.data.prefetch import prefetch
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Asked, Batch
from seqkit.types import Index

EVALUATION_WINDOW = 1024
"""Steps of a next-step sequence that are scored at once. Carrying the state bounds memory and changes no score."""

EVALUATION_TOKENS = 16_384
"""Padded steps of an evaluation batch by default: many enough for speed, few enough for the memory that they take."""


def evaluation_indices(data: TaskData, split: str, batch: int | None = None) -> Sequence[Index]:
    """The example numbers of each batch of an evaluation; see `evaluation_batches`."""
    budget = {"batch": batch} if batch else {"tokens": EVALUATION_TOKENS}
    return sampler.batch_sorted(data.lengths(split), **budget)


def evaluation_batches(
    data: TaskData, split: str, batch: int | None = None, *, start: int = 0, stride: int = 1
) -> Iterator[tuple[Index, list[Batch]]]:
    """(example numbers, their batch or its consecutive windows), every example of a split once, the longest first.

    The windows of long next-step sequences carry the state. Examples that have ended leave the batch, so `windows[k]`
    has the first `windows[k].size` rows of `windows[k - 1]`.

    Args:
        data: the task.
        split: which of its splits.
        batch: at most so many examples in a batch; None: as many as make `EVALUATION_TOKENS` padded steps.
        start: the first batch.
        stride: only every so manieth batch from there on.
    """
    lengths, indices = data.lengths(split), evaluation_indices(data, split, batch)
    for number in range(start, len(indices), stride):
        index = indices[number]
        index = index[np.argsort(-lengths[index], kind="stable")]
        examples = data.batch(split, index)
        if data.reads_symbols and examples.x.shape[1] > EVALUATION_WINDOW:
            yield index, list(_windows(examples))
        else:
            yield index, [examples]


def batches_ahead(
    batches: Iterator[tuple[Index, list[Batch]]], device: torch.device
) -> Iterator[tuple[Index, list[Batch]]]:
    """The same batches, still on the CPU. For a GPU they are made ahead by a thread, in page-locked memory."""
    if device.type == "cpu":
        yield from batches
        return
    asked = Asked()
    pinned = ((index, [window.pin(asked) for window in windows]) for index, windows in batches)
    for index, windows in prefetch(pinned):
        yield index, windows
        asked.note(windows)


def _windows(batch: Batch) -> Iterator[Batch]:
    """Consecutive windows of a batch whose rows are sorted from long to short."""
    assert batch.y is not None
    for start in range(0, batch.x.shape[1], EVALUATION_WINDOW):
        active = int((batch.lengths > start).sum())
        lengths = (batch.lengths[:active] - start).clamp(max=EVALUATION_WINDOW)
        window = slice(start, start + int(lengths.max()))
        x, y, ids = batch.x[:active, window], batch.y[:active, window], list(batch.ids)[:active]
        yield Batch(x, lengths, y, lengths, carry=start > 0, ids=ids)
