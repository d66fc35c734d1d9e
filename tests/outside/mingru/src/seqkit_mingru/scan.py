"""The recurrence h_t = a_t h_{t-1} + b_t for all t at once.

Two steps in a row are a step of the same form: (a, b) followed by (a', b') is (a' a, a' b + b'). So all prefixes take
log2(T) rounds, each of which reaches twice as far back as the one before (W. D. Hillis and G. L. Steele, Data parallel
algorithms, CACM 29 (1986) 1170, doi:10.1145/7902.7903). The paper computes with logarithms, because it divides by
products of the a's, which underflow. Here nothing is divided. Products of numbers between 0 and 1 may underflow to 0,
but then the recurrence has forgotten those steps. So b may have any sign, and the error does not grow with T.
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
    """The same, step by step: the reference for the tests of `scan`."""
    states, h = [], first
    for t in range(a.shape[0]):
        h = a[t] * h + b[t]
        states.append(h)
    return torch.stack(states)


class _Scan(torch.autograd.Function):
    """The gradient is a scan from the end, which needs only a and h, not the log2(T) rounds of both."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, first: Tensor) -> Tensor:
        h = b.clone()
        h[0] += a[0] * first
        h = _scan_in_place(a.clone(), h)
        ctx.save_for_backward(a, h, first)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, h, first = ctx.saved_tensors
        # d_t = g_t + a_{t+1} d_{t+1}: the same recurrence, from the end.
        later = torch.cat([torch.zeros_like(a[:1]), a.flip(0)[:-1]])
        d = _scan_in_place(later, grads[0].flip(0)).flip(0)
        h_prev = torch.cat([first[None], h[:-1]])
        return d * h_prev, d, a[0] * d[0]


def _scan_in_place(a: Tensor, h: Tensor) -> Tensor:
    """The rounds of the scan; `a` and `h` are overwritten."""
    reach = 1
    while reach < len(h):
        # The right sides are computed before anything is overwritten.
        h[reach:] = torch.addcmul(h[reach:], a[reach:], h[:-reach])
        a[reach:] = a[reach:] * a[:-reach]
        reach *= 2
    return h
