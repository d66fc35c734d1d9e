"""The recurrence h_t = a_t h_{t-1} + b_t for all t at once.

Two steps in a row are a step of the same form, (a', b') after (a, b) being (a' a, a' b + b'), so all prefixes are had
in log2(T) rounds, each twice as far back as the one before (W. D. Hillis and G. L. Steele, Data parallel algorithms,
CACM 29 (1986) 1170, doi:10.1145/7902.7903). The paper works with logarithms, because it divides by products of the a's,
which underflow. Here nothing is divided: products of numbers between 0 and 1 can but vanish, and what has vanished is
what the recurrence has forgotten. So b may have any sign, and the error does not grow with T.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def scan(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """Every h_t of h_t = a_t h_{t-1} + b_t.

    Args:
        a: (T, B, H) between 0 and 1.
        b: (T, B, H).
        first: (B, H), h_0.

    Returns:
        (T, B, H).
    """
    h: Tensor = _Scan.apply(a, b, first)  # type: ignore[no-untyped-call, unused-ignore]
    return h


def step_by_step(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """The same, one step after another: what the tests compare `scan` with."""
    found, h = [], first
    for at in range(a.shape[0]):
        h = a[at] * h + b[at]
        found.append(h)
    return torch.stack(found)


class _Scan(torch.autograd.Function):
    """The gradient is a scan too, from the end: only a and h are kept, not log2(T) rounds of both."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        h = b.clone()
        h[0] += a[0] * first
        h = _doubled(a.clone(), h)
        ctx.save_for_backward(a, h, first)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h, first = ctx.saved_tensors
        # d_t = g_t + a_{t+1} d_{t+1}: the recurrence itself, read from the end.
        later = torch.cat([torch.zeros_like(a[:1]), a.flip(0)[:-1]])
        d = _doubled(later, grads[0].flip(0)).flip(0)
        before = torch.cat([first[None], h[:-1]])
        return d * before, d, a[0] * d[0]


def _doubled(a: Tensor, h: Tensor) -> Tensor:
    """The rounds of the scan; `a` and `h` are written over."""
    reach = 1
    while reach < len(h):
        # The right sides are whole before anything is written over.
        h[reach:] = torch.addcmul(h[reach:], a[reach:], h[:-reach])
        a[reach:] = a[reach:] * a[:-reach]
        reach *= 2
    return h
