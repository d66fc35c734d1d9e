"""Which rows of a padded block are real: index arithmetic on the CPU, gathers on the device, no waiting for it.

Every index is worked out from the lengths, which are on the CPU, and sent to the device from page-locked memory.
Rows are moved by `index_select` on the flattened (time x batch) axis, which copies whole rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def upload(index: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on `device`, sent without making the CPU wait."""
    if device.type == "cuda":
        return index.pin_memory().to(device, non_blocking=True)
    return index.to(device)


def all_full(lengths: Tensor, steps: int) -> bool:
    """True if no sequence is shorter than `steps`: then there is no padding to guard against."""
    return bool((lengths == steps).all())


def real_rows(lengths: Tensor, steps: int) -> Tensor:
    """(B,) -> (N,) int64 on the CPU: where the real steps stand in a flattened (B, T) block, in that order."""
    inside = torch.arange(steps)[None, :] < lengths[:, None]
    return inside.flatten().nonzero().squeeze(1)


def gather_last(steps: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H), (B,) -> (B, H): each sequence's row at its own last step."""
    batch = steps.shape[1]
    index = upload((lengths - 1) * batch + torch.arange(batch), steps.device)
    return steps.flatten(0, 1).index_select(0, index)


class _Permuted(torch.autograd.Function):
    """Rows by a permutation that is its own inverse, so that the gradient is the same plain copy of rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return permuted(grads[0], index), None


def permuted(rows: Tensor, index: Tensor) -> Tensor:
    """(N, H) rows in the order of a self-inverse permutation (N,)."""
    out: Tensor = _Permuted.apply(rows, index)  # type: ignore[no-untyped-call, unused-ignore]
    return out


def reverse_sequences(steps: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, H), (B,) -> (T, B, H): each sequence turned round within its own length, padding left in place."""
    time, batch = steps.shape[:2]
    t = torch.arange(time)[:, None]
    source = torch.where(t < lengths, lengths - 1 - t, t)
    index = upload((source * batch + torch.arange(batch)).flatten(), steps.device)
    return permuted(steps.flatten(0, 1), index).view(time, batch, -1)


def real_steps(steps: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, ...) -> (N, ...): the real steps of all sequences in a row."""
    flat = steps.flatten(0, 1)
    rows = real_rows(lengths, steps.shape[1])
    return flat if len(rows) == len(flat) else flat.index_select(0, upload(rows, steps.device))
