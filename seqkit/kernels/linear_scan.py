"""The linear recurrence h_t = a_t h_{t-1} + b_t over all steps at once, real or complex.

Two steps in a row are one of the same form: h_{t+1} = (a_{t+1} a_t) h_{t-1} + (a_{t+1} b_t + b_{t+1}). Each round joins
every step with the one that lies twice as far back as in the round before, so that T steps take log2(T) rounds (Hillis
and Steele 1986, doi:10.1145/7902.7903). Nothing is divided, so b may have any sign, and what underflows is forgotten.
The h of a step depends on the steps before it only, bit for bit: not on how many follow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqkit.kernels.second_derivative import differentiate_with_graph


def linear_scan(a: Tensor, b: Tensor, first: Tensor | None = None) -> Tensor:
    """Every h_t of h_t = a_t h_{t-1} + b_t.

    Args:
        a: (T, B, N), of absolute value at most 1; or (N,), the same at each step.
        b: (T, B, N), single precision, real or complex like a.
        first: (B, N), the h before the first step; None: 0.

    Returns:
        (T, B, N).
    """
    if first is not None:
        b = torch.cat([(b[0] + (a if a.dim() == 1 else a[0]) * first)[None], b[1:]])
    h: Tensor = _LinearScan.apply(a.expand_as(b), b)
    return h


class _LinearScan(torch.autograd.Function):
    """The gradient is a recurrence of the same form that begins at the end, so that no round has to be kept."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = _rounds(a, b)
        ctx.save_for_backward(a, b, h)
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, b, h = ctx.saved_tensors
        if torch.is_grad_enabled():
            return tuple(differentiate_with_graph(_differentiable_rounds, [a, b], gradients))
        from_next = torch.cat([torch.zeros_like(a[:1]), a[1:].flip(0)]).conj()  # what the step after hands back
        gradient = _rounds(from_next, gradients[0].flip(0)).flip(0)
        before = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
        return gradient * before.conj(), gradient


def _rounds(a: Tensor, b: Tensor) -> Tensor:
    """(T, B, N) each -> the h of each step."""
    a, h = a.clone(), b.clone()
    reach = 1
    while reach < len(h):
        joined_h = h[reach:] + a[reach:] * h[:-reach]
        joined_a = a[reach:] * a[:-reach]
        h[reach:], a[reach:] = joined_h, joined_a
        reach *= 2
    return h


def _differentiable_rounds(a: Tensor, b: Tensor) -> Tensor:
    """The same in operations that torch can differentiate any number of times."""
    h, reach = b, 1
    while reach < len(h):
        h = torch.cat([h[:reach], h[reach:] + a[reach:] * h[:-reach]])
        a = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        reach *= 2
    return h
