"""The largest scores, with one rule for equal ones."""

from __future__ import annotations

import torch
from torch import Tensor


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(..., V) -> the `count` largest, (..., count), and their indices; of equal ones the lowest index comes first.

    `torch.topk` promises no order of equal scores, and implementations differ. Of scores of -inf any may come.
    """
    if scores.device.type != "cpu":
        return _largest_by_key(scores, count)
    values, index = scores.topk(min(count + 1, scores.shape[-1]), dim=-1)
    tied = (values[..., 1:] == values[..., :-1]) & (values[..., 1:] > -torch.inf)
    rows = tied.any(dim=-1)
    values, index = values[..., :count], index[..., :count]
    if bool(rows.any()):
        ordered = scores[rows].sort(dim=-1, descending=True, stable=True)
        index[rows] = ordered.indices[..., :count]
    return values, index


def _largest_by_key(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The same in single precision by keys that are all different, without waiting for a GPU."""
    size = scores.shape[-1]
    bits = (scores.float() + 0.0).view(torch.int32)  # + 0.0: minus zero equals zero
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the numbers
    keys = (rising.long() << 32) | torch.arange(size - 1, -1, -1, device=scores.device)
    index = size - 1 - (keys.topk(count, dim=-1).values & 0xFFFFFFFF)
    return scores.gather(-1, index), index
