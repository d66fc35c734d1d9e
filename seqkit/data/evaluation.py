"""The batches of an evaluation: every example once, long sequences in windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seqkit.data import sampler
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch
from seqkit.types import Index

EVALUATION_WINDOW = 1024
"""Steps of a long next-step sequence that are scored at once, the state carried on: bounds memory, changes nothing."""


EVALUATION_TOKENS = 32_768
"""Padded steps of an evaluation batch unless the caller says otherwise."""


def evaluation_batches(data: TaskData, split: str, batch: int | None = None) -> Iterator[tuple[Index, list[Batch]]]:
    """Every example of a split once, longest last: (numbers of the examples, their batch or consecutive windows).

    The windows of a long next-step sequence carry the state; examples that have ended leave the batch, so `windows[k]`
    holds the first `windows[k].size` rows of `windows[k - 1]`.
    """
    lengths = data.lengths(split)
    budget = {"batch": batch} if batch else {"tokens": EVALUATION_TOKENS}
    for index in sampler.in_order(lengths, **budget):
        index = index[np.argsort(-lengths[index], kind="stable")]
        whole = data.batch(split, index)
        if data.target.derived and whole.x.shape[1] > EVALUATION_WINDOW:
            yield index, list(_windows(whole))
        else:
            yield index, [whole]


def _windows(batch: Batch) -> Iterator[Batch]:
    """Consecutive windows of a batch whose rows are sorted from long to short."""
    assert batch.y is not None
    for a in range(0, batch.x.shape[1], EVALUATION_WINDOW):
        alive = int((batch.lengths > a).sum())
        lengths = (batch.lengths[:alive] - a).clamp(max=EVALUATION_WINDOW)
        cut = slice(a, a + int(lengths.max()))
        yield Batch(
            batch.x[:alive, cut], lengths, batch.y[:alive, cut], lengths, carry=a > 0, ids=list(batch.ids)[:alive]
        )
