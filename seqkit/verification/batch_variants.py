"""Changes of a batch that must not change any output: padding, batch mates, order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqkit.interfaces import Batch


@dataclass(frozen=True)
class Variant:
    """A changed batch, and for each of its rows the row of the original batch whose output it must have."""

    batch: Batch
    rows: list[int]


@dataclass(frozen=True)
class Invariance:
    """A contract: all variants of a batch have the outputs of the original.

    Attributes:
        contract: its name.
        variants: makes the changed batches.
        cause: the likely cause if one of them has other outputs.
    """

    contract: str
    variants: Callable[[Batch], Iterator[Variant]]
    cause: str


def fill_padding(batch: Batch) -> Iterator[Variant]:
    """Other content than zeros in the padding: symbols that occur in the batch, or large numbers."""
    is_padding = torch.arange(batch.x.shape[1])[None] >= batch.lengths[:, None]
    for value in _fillers(batch.x):
        x = batch.x.clone()
        x[is_padding] = value
        yield Variant(replace(batch, x=x), list(range(batch.size)))


def _fillers(x: Tensor) -> list[float | int]:
    if x.dtype.is_floating_point:
        return [100.0, -1.0]
    largest = int(x.max())
    return [largest, max(0, largest - 1)]


def add_padding(batch: Batch) -> Iterator[Variant]:
    """More padding than the longest example needs."""
    for extra in (1, 9, *_width_that_loses_a_step(batch)):
        x, y = _extend(batch.x, extra), batch.y
        if y is not None and batch.y_lengths is not None:
            y = _extend(y, extra)
        yield Variant(replace(batch, x=x, y=y), list(range(batch.size)))


def _width_that_loses_a_step(batch: Batch) -> list[int]:
    """Extra padding with which a length, stored as a share of the width and truncated to an integer, loses a step."""
    width = batch.x.shape[1]
    for extra in range(2, 65):
        share = batch.lengths.float() / (width + extra)
        if bool(((share * (width + extra)).int() < batch.lengths).any()):
            return [extra]
    return []


def _extend(x: Tensor, extra: int) -> Tensor:
    return torch.cat([x, x.new_zeros(x.shape[0], extra, *x.shape[2:])], dim=1)


def replace_others(batch: Batch) -> Iterator[Variant]:
    """Each example beside other ones: copies of another example, so that only their content differs."""
    for row in range(batch.size):
        other = (row + 1) % batch.size
        rows = [row if k == row else other for k in range(batch.size)]
        yield Variant(batch.take(rows), rows)


def take_one(batch: Batch) -> Iterator[Variant]:
    """Batches of one, without padding."""
    for row in range(batch.size):
        yield Variant(batch.take([row]).trimmed(), [row])


def reverse_order(batch: Batch) -> Iterator[Variant]:
    """The same examples in another order."""
    rows = list(range(batch.size))[::-1]
    yield Variant(batch.take(rows), rows)


INVARIANCES = (
    Invariance(
        "the content of the padding does not matter",
        fill_padding,
        "the mask is ignored: padding is pooled, attended to, normalised over, or read first by the backward direction",
    ),
    Invariance(
        "the amount of padding does not matter",
        add_padding,
        "something is divided by the padded length, or the last step is read at index -1 instead of length - 1",
    ),
    Invariance(
        "other examples in the batch do not matter",
        replace_others,
        "the recurrence runs over the batch axis, or a mean is taken over the batch",
    ),
    Invariance(
        "a batch of one equals a batch of many",
        take_one,
        "lengths are relative to the longest of the batch (7 / 23 of 23 is 6 when truncated), or padding is read",
    ),
    Invariance(
        "the order of examples does not matter",
        reverse_order,
        "rows are not put back into their order after sorting",
    ),
)
