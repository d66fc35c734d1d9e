"""Cross-entropy over many symbols, without the matrix of all their probabilities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

AT_ONCE = 1 << 22
"""Scores that are worked on at a time: 16 MiB, which a processor's caches see again."""
MANY = 1 << 20
"""Scores from which on it is worth while."""
ROWS = 128
"""Fewer steps are never taken at a time: products with fewer rows are slow."""


def nats(steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """(N, H) steps, (V, H) and (V,) weights, (N,) symbols or -1 for none -> () minus their log-probabilities, summed.

    `torch.nn.functional.cross_entropy` of a linear layer. Where there are many scores and a CPU, they are worked out a
    part at a time, gradients with them, and forgotten: (N, V) numbers are never held, and less goes through memory.

    Args:
        smoothing: share of the target's weight spread over all symbols.
    """
    single = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in (steps, weight, bias))
    if single and len(steps) * len(weight) > MANY and not torch.is_autocast_enabled("cpu"):
        total: Tensor = _Nats.apply(  # type: ignore[no-untyped-call, unused-ignore]
            steps, weight, bias, y, smoothing, torch.is_grad_enabled()
        )
        return total
    scores = functional.linear(steps, weight, bias).float()
    return functional.cross_entropy(scores, y, ignore_index=-1, label_smoothing=smoothing, reduction="sum")


class _Nats(torch.autograd.Function):
    """The gradients are worked out with the loss: each score is there once."""

    @staticmethod
    def forward(
        ctx: Any, steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, smoothing: float, wanted: bool
    ) -> Tensor:
        rows = torch.nonzero(y >= 0).squeeze(-1)
        known, true = (steps, y) if len(rows) == len(y) else (steps.index_select(0, rows), y.index_select(0, rows))
        count, size = len(known), len(weight)
        part = min(count, max(ROWS, AT_ONCE // size))
        held, found = steps.new_empty(part, size), steps.new_empty(count)
        d_steps, d_weight, d_bias = torch.empty_like(known), None, None
        if wanted:
            d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for begin in range(0, count, max(1, part)):
            x, own = known[begin : begin + part], true[begin : begin + part]
            scores = torch.addmm(bias, x, weight.t(), out=held[: len(x)])
            most = scores.amax(1)
            said = scores.gather(1, own[:, None]).squeeze(1) * (1.0 - smoothing)
            if smoothing:
                said += scores.mean(1) * smoothing
            shares = scores.sub_(most[:, None]).exp_()
            sums = shares.sum(1)
            torch.sub(sums.log().add_(most), said, out=found[begin : begin + part])
            if d_weight is None or d_bias is None:
                continue
            shares.div_(sums[:, None])
            if smoothing:
                shares.sub_(smoothing / size)
            shares[torch.arange(len(x)), own] -= 1.0 - smoothing
            torch.mm(shares, weight, out=d_steps[begin : begin + part])
            d_weight.addmm_(shares.t(), x)
            d_bias.add_(shares.sum(0))
        if wanted:
            whole = d_steps if len(rows) == len(y) else torch.zeros_like(steps).index_copy_(0, rows, d_steps)
            ctx.found = whole, d_weight, d_bias
        return found.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        found, ctx.found = ctx.found, None
        if found is None:
            raise RuntimeError("the gradients of a loss over many symbols are there for one backward pass")
        return *(each.mul_(gradient) for each in found), None, None, None
