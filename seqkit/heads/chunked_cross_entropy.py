"""Cross-entropy over many symbols, without the matrix of all probabilities."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.kernels import differentiate_with_graph

CHUNK_NUMBERS = 1 << 22
"""Scores in one chunk: 16 MiB, so that they are still in a processor's caches when they are read again."""

MIN_NUMBERS = 1 << 20
"""With more scores than this in all, chunks are faster."""

MIN_ROWS = 128
"""Fewest steps of a chunk: products with fewer rows are slow."""


def nats(steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """The sum of negative log-probabilities, (), as `torch.nn.functional.cross_entropy` of a linear layer gives it.

    For many scores on a CPU, scores and gradients are computed in chunks that are then dropped: (N, V) numbers are
    never held, and less goes through memory. Such a result has one backward pass.

    Args:
        steps: (N, H).
        weight: (V, H).
        bias: (V,).
        y: (N,) the true symbols, -1 for none.
        smoothing: share of the target's weight spread over all symbols.
    """
    is_chunkable = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in (steps, weight, bias))
    if is_chunkable and len(steps) * len(weight) > MIN_NUMBERS and not torch.is_autocast_enabled("cpu"):
        total: Tensor = _Nats.apply(  # type: ignore[no-untyped-call, unused-ignore]
            steps, weight, bias, y, smoothing, torch.is_grad_enabled()
        )
        return total
    return _nats_at_once(steps, weight, bias, y, smoothing)


def _nats_at_once(steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, smoothing: float) -> Tensor:
    scores = functional.linear(steps, weight, bias).float()
    return functional.cross_entropy(scores, y, ignore_index=-1, label_smoothing=smoothing, reduction="sum")


class _Nats(torch.autograd.Function):
    """The gradients are computed with the loss, while a chunk's scores are there."""

    @staticmethod
    def forward(
        ctx: Any, steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, smoothing: float, with_gradients: bool
    ) -> Tensor:
        rows = torch.nonzero(y >= 0).squeeze(-1)
        x, true = (steps, y) if len(rows) == len(y) else (steps.index_select(0, rows), y.index_select(0, rows))
        count, size = len(x), len(weight)
        chunk = min(count, max(MIN_ROWS, CHUNK_NUMBERS // size))
        buffer, nats = steps.new_empty(chunk, size), steps.new_empty(count)
        grad_x, grad_weight, grad_bias = torch.empty_like(x), None, None
        if with_gradients:
            grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, count, max(1, chunk)):
            chunk_x, chunk_y = x[start : start + chunk], true[start : start + chunk]
            scores = torch.addmm(bias, chunk_x, weight.t(), out=buffer[: len(chunk_x)])
            top = scores.amax(1)
            target_scores = scores.gather(1, chunk_y[:, None]).squeeze(1) * (1.0 - smoothing)
            if smoothing:
                target_scores += scores.mean(1) * smoothing
            probs = scores.sub_(top[:, None]).exp_()
            sums = probs.sum(1)
            torch.sub(sums.log().add_(top), target_scores, out=nats[start : start + chunk])
            if grad_weight is None or grad_bias is None:
                continue
            # The gradient of the scores is their probabilities minus the smoothed target.
            grad_scores = probs.div_(sums[:, None])
            if smoothing:
                grad_scores.sub_(smoothing / size)
            grad_scores[torch.arange(len(chunk_x)), chunk_y] -= 1.0 - smoothing
            torch.mm(grad_scores, weight, out=grad_x[start : start + chunk])
            grad_weight.addmm_(grad_scores.t(), chunk_x)
            grad_bias.add_(grad_scores.sum(0))
        if with_gradients:
            grad_steps = grad_x if len(rows) == len(y) else torch.zeros_like(steps).index_copy_(0, rows, grad_x)
            ctx.gradients = grad_steps, grad_weight, grad_bias
            ctx.save_for_backward(steps, weight, bias, y)
            ctx.smoothing = smoothing
        return nats.sum()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        if torch.is_grad_enabled():
            *inputs, y = ctx.saved_tensors
            function = partial(_nats_at_once, y=y, smoothing=ctx.smoothing)
            return *differentiate_with_graph(function, inputs, [grad]), None, None, None
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the loss over many symbols keeps its gradients for one backward pass only")
        return *(gradient.mul_(grad) for gradient in gradients), None, None, None
