"""The order of the real steps of a padded batch once the padding is gone: the rows of an unpadded layer.

Sequences are sorted from long to short and dealt to groups, one for each thread. The rows of a group are ordered by
time and then by sequence. So at step t the first `active[t]` sequences of the group have not ended yet, and a step of
the recurrence is one contiguous block of rows without padding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from seqkit.uploads import upload

SEQUENCES_PER_GROUP = 8
"""Smaller groups do not pay: a thread would read all weights for only a few rows."""


@dataclass(frozen=True)
class Group:
    """Some sequences, from long to short.

    Attributes:
        first_row: where its rows begin.
        first_sequence: where its sequences begin, in the layout's order.
        active: how many of its sequences have not ended yet, at each step; never increases.
    """

    first_row: int
    first_sequence: int
    active: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The rows of one batch: N real steps of B sequences.

    Attributes:
        padded_length: T.
        order: (B,) int64, the sequences of the batch in the layout's order.
        position: (B,) int64, the inverse of `order`: where each sequence of the batch is in the layout's order.
        first_row: (B,) int64, the row of each sequence's first step; 0 for an empty sequence.
        last_row: (B,) int64, the row of each sequence's last step; 0 for an empty sequence.
        flat_index: (N,) int64, the index of each row in a flattened (B, T) block.
        group_table: (groups, 4) int64: first row, first sequence, number of sequences and of steps of each group.
        active: int64, the `active` counts of all groups, one group after the other.
        is_empty: (B,) bool, which sequences have no steps; None if each has some.
    """

    padded_length: int
    order: Tensor
    position: Tensor
    first_row: Tensor
    last_row: Tensor
    flat_index: Tensor
    group_table: Tensor
    active: Tensor
    is_empty: Tensor | None

    @property
    def num_rows(self) -> int:
        """N, the number of real steps."""
        return self.flat_index.shape[0]

    @property
    def num_sequences(self) -> int:
        """B."""
        return self.order.shape[0]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups as Python values."""
        groups, offset, counts = [], 0, self.active.tolist()
        for first_row, first_sequence, _, steps in self.group_table.tolist():
            groups.append(Group(first_row, first_sequence, tuple(counts[offset : offset + steps])))
            offset += steps
        return tuple(groups)

    def to(self, device: torch.device) -> Layout:
        """The same with its indices on `device`; the tables of groups stay on the CPU."""
        if device.type == "cpu":
            return self
        names = ("order", "position", "first_row", "last_row", "flat_index", "is_empty")
        moved: dict[str, Any] = {
            name: upload(tensor, device, is_fixed=True) for name in names if (tensor := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def launch_tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """On `device`: `group_table` with a fifth column, where a group's counts begin in `active`; and `active`."""
        tables = self._tables.get(device)
        if tables is None:
            steps = self.group_table[:, 3:]
            table = torch.cat([self.group_table, steps.cumsum(0) - steps], dim=1)
            tables = self._tables[device] = (
                upload(table, device, is_fixed=True),
                upload(self.active, device, is_fixed=True),
            )
        return tables

    @cached_property
    def _tables(self) -> dict[torch.device, tuple[Tensor, Tensor]]:
        return {}

    @cached_property
    def sequence_of_row(self) -> Tensor:
        """(N,) int64, the sequence of the batch that each row belongs to."""
        return self.flat_index // self.padded_length


def group_count(batch: int, threads: int) -> int:
    """How many groups to divide a batch of this many sequences into."""
    return max(1, min(threads, batch // SEQUENCES_PER_GROUP))


def lay_out(lengths: Tensor, padded_length: int, *, threads: int = 1) -> Layout:
    """(B,) lengths on the CPU -> the layout of a (B, T) block.

    Raises:
        ValueError: a length is negative or larger than `padded_length`.
    """
    batch = len(lengths)
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= padded_length:
        raise ValueError(
            f"lengths must be from 0 to {padded_length}, not from {int(lengths.min())} to {int(lengths.max())}"
        )
    sorted_lengths, by_length = torch.sort(lengths, descending=True, stable=True)
    num_groups = group_count(batch, threads)
    orders, indices, table, counts = [], [], [], []
    first_row, last_row = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.int64)
    row = sequence = 0
    for number in range(num_groups):
        members, member_lengths = by_length[number::num_groups], sorted_lengths[number::num_groups]
        longest = int(member_lengths[0]) if len(members) else 0
        is_active = torch.arange(longest)[:, None] < member_lengths
        active = is_active.sum(1)
        t, i = is_active.nonzero(as_tuple=True)
        indices.append(members[i] * padded_length + t)
        if longest:
            step_start = active.cumsum(0) - active  # rows of all earlier steps
            offset = torch.arange(len(members)) + row
            first_row[members] = offset.where(member_lengths > 0, 0)
            last_row[members] = (step_start[member_lengths.clamp(min=1) - 1] + offset).where(member_lengths > 0, 0)
        orders.append(members)
        table += [row, sequence, len(members), longest]
        counts.append(active)
        row, sequence = row + len(t), sequence + len(members)
    order = torch.cat(orders)
    is_empty = lengths == 0
    return Layout(
        padded_length=padded_length,
        order=order,
        position=torch.empty_like(order).scatter_(0, order, torch.arange(batch)),
        first_row=first_row,
        last_row=last_row,
        flat_index=torch.cat(indices),
        group_table=torch.tensor(table, dtype=torch.int64).view(-1, 4),
        active=torch.cat(counts),
        is_empty=is_empty if bool(is_empty.any()) else None,
    )


class _Unpad(torch.autograd.Function):
    """Rows of a block, each at most once, so that the gradient is a plain copy of rows as well."""

    @staticmethod
    def forward(ctx: Any, block: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = block.shape[0]
        return block.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return pad(grads[0], index, ctx.size), None


class _Pad(torch.autograd.Function):
    """Rows copied into a block of zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(index)
        return rows.new_zeros(size, *rows.shape[1:]).index_copy_(0, index, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return unpad(grads[0], index), None, None


def unpad(block: Tensor, index: Tensor) -> Tensor:
    """(M, D) and (N,) distinct indices -> (N, D), those rows of the block."""
    out: Tensor = _Unpad.apply(block, index)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def pad(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """(N, D) and (N,) distinct indices -> (size, D), the rows at their indices and zeros elsewhere."""
    out: Tensor = _Pad.apply(rows, index, size)  # type: ignore[no-untyped-call, unused-ignore]
    return out
