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
        source: (N,) int64, where each row stands in a flattened (B, T) block.
        first: (B,) int64, the row of each place's first step; 0 for an empty sequence.
        last: (B,) int64, the row of each place's last step; 0 for an empty sequence.
        groups: one a thread.
        empty: (B,) bool, which places hold a sequence without steps; None: none does.
        table: (groups, 4) int64: first row, first sequence, sequences and steps of each group.
        alive: int64, the groups' counts of running sequences, one group after the other.
    """

    steps: int
    order: Tensor
    source: Tensor
    first: Tensor
    last: Tensor
    groups: tuple[Group, ...]
    empty: Tensor | None
    table: Tensor
    alive: Tensor

    @property
    def rows(self) -> int:
        """N, real steps in all."""
        return self.source.shape[0]

    @property
    def sequences(self) -> int:
        """B."""
        return self.order.shape[0]

    @cached_property
    def place(self) -> Tensor:
        """(B,) int64, at which place each sequence of the batch stands."""
        return torch.empty_like(self.order).scatter_(0, self.order, torch.arange(len(self.order)))

    @cached_property
    def sequence_of_row(self) -> Tensor:
        """(N,) int64, the sequence of the batch that each row belongs to."""
        return self.source // self.steps


def lay_out(lengths: Tensor, steps: int, *, threads: int = 1) -> Layout:
    """(B,) true lengths on the CPU -> the rows of a (B, T) block, for so many threads."""
    batch = len(lengths)
    descending, order = torch.sort(lengths, descending=True, stable=True)
    count = max(1, min(threads, batch // ROWS_A_GROUP))
    places, sources, firsts, lasts, groups, table, counts = [], [], [], [], list[Group](), [], []
    row = sequence = 0
    for number in range(count):
        members, own = order[number::count], descending[number::count]
        longest = int(own[0]) if len(own) else 0
        inside = torch.arange(longest)[:, None] < own
        alive = inside.sum(1)
        t, i = inside.nonzero(as_tuple=True)
        sources.append(members[i] * steps + t)
        before = alive.cumsum(0) - alive  # rows before each step
        width = torch.arange(len(own))
        firsts.append((width + row).where(own > 0, 0))
        lasts.append(before[own.clamp(min=1) - 1] + width + row if longest else torch.zeros_like(own))
        places.append(members)
        groups.append(Group(row, sequence, tuple(alive.tolist())))
        table += [row, sequence, len(own), longest]
        counts.append(alive)
        row, sequence = row + len(t), sequence + len(own)
    empty = torch.cat([own == 0 for own in (descending[k::count] for k in range(count))])
    return Layout(
        steps,
        torch.cat(places),
        torch.cat(sources),
        torch.cat(firsts),
        torch.cat(lasts).where(~empty, 0),
        tuple(groups),
        empty if bool(empty.any()) else None,
        torch.tensor(table, dtype=torch.int64).view(-1, 4),
        torch.cat(counts),
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
        return scattered(grads[0], index, ctx.size), None


class _Scattered(torch.autograd.Function):
    """Rows to their places in a block of zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return gathered(grads[0], index), None, None


def gathered(block: Tensor, index: Tensor) -> Tensor:
    """(M, D), (N,) different places -> (N, D)."""
    out: Tensor = _Gathered.apply(block, index)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def scattered(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """(N, D), (N,) different places -> (size, D), zero where no row goes."""
    out: Tensor = _Scattered.apply(rows, index, size)  # type: ignore[no-untyped-call, unused-ignore]
    return out
