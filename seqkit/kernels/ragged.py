"""Index arithmetic on true lengths: which rows of a padded block are real, and where each sequence ends.

Lengths are on the CPU, so an index is computed there and sent to the device from page-locked memory; the CPU never
waits for the device. Rows are moved by `index_select` on the flattened (time x batch) axis, which copies whole rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqkit.uploads import from_lengths


def all_full(lengths: Tensor, padded_length: int) -> bool:
    """Whether the batch has no padding. Never while a model is exported: the export must hold for any lengths."""
    return not torch.compiler.is_exporting() and bool((lengths == padded_length).all())


def real_rows(lengths: Tensor, padded_length: int) -> Tensor:
    """(B,) -> (N,) int64 on the CPU: the indices of the real steps in a flattened (B, T) block, in that order.

    A rule of `seqkit.uploads`.
    """
    is_real = torch.arange(padded_length)[None, :] < lengths[:, None]
    return is_real.flatten().nonzero().squeeze(1)


def gather_last(steps: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H), (B,) -> (B, H): each sequence at its own last step."""
    index = from_lengths(last_rows, lengths, steps.shape[0], steps.device)
    return steps.flatten(0, 1).index_select(0, index)


def last_rows(lengths: Tensor, padded_length: int) -> Tensor:
    """(B,) -> (B,) where the last steps are in a flattened (T, B) block; a rule of `seqkit.uploads`."""
    batch = lengths.shape[0]
    return (lengths - 1) * batch + torch.arange(batch)


class _Permute(torch.autograd.Function):
    """Rows in the order of a permutation that is its own inverse, so that the gradient is the same copy of rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _permute(grads[0], index), None


def _permute(rows: Tensor, index: Tensor) -> Tensor:
    """(N, H) in the order of a self-inverse permutation (N,)."""
    out: Tensor = _Permute.apply(rows, index)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def reverse_sequences(steps: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H), (B,) -> (T, B, H): each sequence reversed within its own length; padding stays where it is."""
    index = from_lengths(reversed_rows, lengths, steps.shape[0], steps.device)
    return _permute(steps.flatten(0, 1), index).view(steps.shape)


def reversed_rows(lengths: Tensor, padded_length: int) -> Tensor:
    """(B,) -> (T B,) which row of a flattened (T, B) block comes to each place; a rule of `seqkit.uploads`."""
    t, batch = torch.arange(padded_length)[:, None], lengths.shape[0]
    source_time = torch.where(t < lengths, lengths - 1 - t, t)
    return (source_time * batch + torch.arange(batch)).flatten()


def real_steps(steps: Tensor, lengths: Tensor) -> Tensor:
    """The real steps of all sequences, one sequence after the other: `steps[mask]` without waiting for a GPU.

    Args:
        steps: (B, T, ...).
        lengths: (B,) true lengths, on the CPU.

    Returns:
        (N, ...), N the sum of the lengths.
    """
    flat = steps.flatten(0, 1)
    if all_full(lengths, steps.shape[1]):
        return flat
    return flat.index_select(0, from_lengths(real_rows, lengths, steps.shape[1], steps.device))
