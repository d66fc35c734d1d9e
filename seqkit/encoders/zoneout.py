"""Zoneout (Krueger et al. 2017, arXiv:1606.01305), for cells that go from step to step.

A step gives s' = k s + (1 - k) f(s): s is the state before it, f(s) what the cell makes of that and of the input. In
training, each number of k is 1 with the probability that the recipe gives, and otherwise 0. In evaluation k is that
probability, so that s' is the expectation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqkit.kernels import RowOrder, draw_uniform


def kept_shares(
    share: float, first: Tensor, steps: int, parts: int, *, training: bool
) -> Sequence[Sequence[Tensor | None]]:
    """How much of the state before it each step keeps: k for each part of the state. None: there is no zoneout.

    In training all steps of a layer are drawn at once, by example; those of the backward direction count from a
    sequence's true end. So neither padding nor the other sequences matter.

    Args:
        share: the probability that a number keeps its value.
        first: (B, H), a part of the state before the first step, on the device and of the type of the others.
        steps: T.
        parts: how many parts of a state, of H numbers each, are drawn independently of each other.
        training: whether to draw.

    Returns:
        T times `parts` tensors (B, H), or (1, H) in evaluation.
    """
    if share == 0.0:
        return [[None] * parts] * steps
    batch, width = first.shape
    if training:
        order = RowOrder(batch, time_first=True)
        kept = (draw_uniform((steps, batch, parts * width), first.device, order) < share).to(first.dtype)
    else:
        kept = first.new_full((1, 1, 1), share).expand(steps, 1, parts * width)
    return [step.chunk(parts, dim=-1) for step in kept.unbind()]


def keep_some(kept: Tensor | None, previous: Tensor, new: Tensor) -> Tensor:
    """(B, H) of a state: `kept` of its previous value, and the rest of its new one."""
    return new if kept is None else torch.lerp(new, previous, kept)


def keep_some_scaled(
    kept: Tensor | None, previous: tuple[Tensor, Tensor, Tensor], new: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for two parts of a state, c and n, that are divided by exp(m): (c, n, m), each (B, H).

    What is mixed are c exp(m) and n exp(m). The shares count as logarithms in the new m: then the larger of the two
    terms has the factor 1, and n, which others are divided by, never shrinks to 0.
    """
    if kept is None:
        return new
    of_previous, of_new = previous[2] + kept.log(), new[2] + torch.log1p(-kept)
    m = torch.maximum(of_previous, of_new)
    a, b = (of_previous - m).exp(), (of_new - m).exp()
    return a * previous[0] + b * new[0], a * previous[1] + b * new[1], m
