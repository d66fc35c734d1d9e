"""Where the real steps of a padded batch stand once the padding is gone: the rows that the fused recurrence runs over.

Sequences are sorted from long to short and dealt to groups, one a thread. The rows of a group stand by time and then
by sequence, so that at step t the sequences that are still running are the first `alive[t]` of them: a step is one
block of rows, and no row is padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

ROWS_A_GROUP = 8
"""Fewer sequences than this are not divided further: a thread would read all weights for a row or two."""


@dataclass(frozen=True)
class Group:
    """Some sequences from long to short.

    Attributes:
        row: the first of its rows.
        sequence: the first of its sequences.
        alive: how many of its sequences are running at each step; never growing.
    """

    row: int
    sequence: int
    alive: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The rows of one batch.

    Attributes:
        steps: T, the padded length.
        order: (B,) int64, which sequence of the batch stands at each place.
        place: (B,) int64, at which place each sequence of the batch stands.
        first: (B,) int64, the row of each sequence's first step; 0 for an empty one.
        last: (B,) int64, the row of each sequence's last step; 0 for an empty one.
        source: (N,) int64, where each row stands in a flattened (B, T) block.
        table: (groups, 4) int64: first row, first place, places and steps of each group.
        alive: int64, the groups' counts of running sequences, one group after the other.
        empty: (B,) bool, which sequences have no steps; None: each has some.
    """

    steps: int
    order: Tensor
    place: Tensor
    first: Tensor
    last: Tensor
    source: Tensor
    table: Tensor
    alive: Tensor
    empty: Tensor | None

    @property
    def rows(self) -> int:
        """N, real steps in all."""
        return self.source.shape[0]

    @property
    def sequences(self) -> int:
        """B."""
        return self.order.shape[0]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """One a thread."""
        found, at, counts = [], 0, self.alive.tolist()
        for row, sequence, _, steps in self.table.tolist():
            found.append(Group(row, sequence, tuple(counts[at : at + steps])))
            at += steps
        return tuple(found)

    @cached_property
    def sequence_of_row(self) -> Tensor:
        """(N,) int64, the sequence of the batch that each row belongs to."""
        return self.source // self.steps


def groups_for(batch: int, threads: int) -> int:
    """How many groups so many sequences make for so many threads."""
    return max(1, min(threads, batch // ROWS_A_GROUP))


def lay_out(lengths: Tensor, steps: int, *, threads: int = 1) -> Layout:
    """(B,) true lengths on the CPU -> the rows of a (B, T) block, for so many threads.

    Raises:
        ValueError: a length is negative or larger than `steps`.
    """
    batch = len(lengths)
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise ValueError(f"lengths must be from 0 to {steps}, not from {int(lengths.min())} to {int(lengths.max())}")
    descending, order = torch.sort(lengths, descending=True, stable=True)
    count = groups_for(batch, threads)
    places, sources, table, counts = [], [], [], []
    first, last = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.int64)
    row = sequence = 0
    for number in range(count):
        members, own = order[number::count], descending[number::count]
        longest = int(own[0]) if len(own) else 0
        inside = torch.arange(longest)[:, None] < own
        alive = inside.sum(1)
        t, i = inside.nonzero(as_tuple=True)
        sources.append(members[i] * steps + t)
        if longest:
            before = alive.cumsum(0) - alive  # rows before each step
            width = torch.arange(len(own)) + row
            first[members] = width.where(own > 0, 0)
            last[members] = (before[own.clamp(min=1) - 1] + width).where(own > 0, 0)
        places.append(members)
        table += [row, sequence, len(own), longest]
        counts.append(alive)
        row, sequence = row + len(t), sequence + len(own)
    order = torch.cat(places)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(batch))
    empty = lengths == 0
    table_of = torch.tensor(table, dtype=torch.int64).view(-1, 4)
    found = torch.cat(sources)
    return Layout(
        steps, order, place, first, last, found, table_of, torch.cat(counts), empty if bool(empty.any()) else None
    )


class _Gathered(torch.autograd.Function):
    """Rows of a block; each at most once, so that the way back is a plain copy of rows as well."""

    @staticmethod
    def forward(ctx: Any, block: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = block.shape[0]
        return block.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return pad(grads[0], index, ctx.size), None


class _Scattered(torch.autograd.Function):
    """Rows to their places in a block of zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return unpad(grads[0], index), None, None


def unpad(block: Tensor, index: Tensor) -> Tensor:
    """(M, D), (N,) different places -> (N, D)."""
    out: Tensor = _Gathered.apply(block, index)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def pad(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """(N, D), (N,) different places -> (size, D), zero where no row goes."""
    out: Tensor = _Scattered.apply(rows, index, size)  # type: ignore[no-untyped-call, unused-ignore]
    return out
