"""A decoder with attention and input feeding over known texts (Luong et al. 2015, arXiv:1508.04025), on a CPU.

Each step reads the readout of the step before, so the recurrence goes through cell, attention and readout. Left to
autograd, every step would also add its share to the gradient of each weight, which moves more memory than the step
itself. Here the backward pass is written out: its recurrence carries the gradients of the state alone, and the
gradients of weights and memory are one product each over all real steps.

Letters: B texts, U symbols of the longest one, N real symbols of all, E width of a symbol's vector, H of the state, R
of the readout; T encoded steps of width M. Texts are ordered from long to short, and rows (N, ...) by step and then by
text, as `seqkit.kernels.layout` does it for one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from seqkit.kernels.second_derivative import differentiate_with_graph


@dataclass(frozen=True, slots=True)
class FeedingWeights:
    """The weights of an LSTM cell and of the readout.

    Attributes:
        w: (4 H, E + R) the cell's weights of a symbol's vector and the readout before it.
        r: (4 H, H) those of h.
        bias: (4 H,) the sum of the cell's two biases.
        readout: (R, M + H) the readout's weights of context and h.
        readout_bias: (R,).
    """

    w: Tensor
    r: Tensor
    bias: Tensor
    readout: Tensor
    readout_bias: Tensor


def feed_readouts(
    weights: FeedingWeights,
    x: Tensor,
    mask: Tensor | None,
    initial: Sequence[Tensor],
    memory: Sequence[Tensor],
    active: Sequence[int],
) -> Tensor:
    """Readouts (N, R), tanh(W [context; h]), of rows (N, E).

    Args:
        weights: of cell and readout.
        x: (N, E).
        mask: (N, R) what each readout is multiplied by (dropout); None: 1.
        initial: h (B, H), c (B, H) and readout (B, R) before the first step.
        memory: steps (B, T, M), their keys (B, T, H), and what is added to their scores (B, T): 0, or -inf for padding.
        active: how many texts have not ended yet, at each step; never increases.
    """
    steps, keys, penalty = memory
    tensors = (weights.w, weights.r, weights.bias, weights.readout, weights.readout_bias)
    rows: Tensor = _Feeding.apply(tuple(active), penalty, mask, x, *initial, steps, keys, *tensors)  # type: ignore[no-untyped-call, unused-ignore]
    return rows


class _Feeding(torch.autograd.Function):
    """`feed_readouts`, with the backward pass written out."""

    @staticmethod
    def forward(
        ctx: Any, active: tuple[int, ...], penalty: Tensor, mask: Tensor | None, x: Tensor, *inputs: Tensor
    ) -> Tensor:
        h, c, readout, steps, keys, w, r, bias, w_out, b_out = inputs
        hidden, width = r.shape[1], w_out.shape[0]
        recurrent_weights = torch.cat([w[:, x.shape[1] :], r], dim=1)
        gates = torch.addmm(bias, x, w[:, : x.shape[1]].t())
        count, memory_width = len(x), steps.shape[2]
        cell_inputs, readout_inputs = x.new_empty(count, width + hidden), x.new_empty(count, memory_width + hidden)
        cells, tanh_cells = x.new_empty(count, hidden), x.new_empty(count, hidden)
        tanh_readouts = x.new_empty(count, width)
        attention = x.new_zeros(len(active), len(h), steps.shape[1])
        out = tanh_readouts if mask is None else torch.empty_like(tanh_readouts)
        transposed = keys.transpose(1, 2)
        for t, (n, rows) in enumerate(_rows_of_steps(active)):
            torch.cat([readout[:n], h[:n]], dim=1, out=cell_inputs[rows])
            i, f, new, o = _activate(gates[rows].addmm_(cell_inputs[rows], recurrent_weights.t()))
            c = torch.mul(f, c[:n], out=cells[rows]).addcmul_(i, new)
            h = o * torch.tanh(c, out=tanh_cells[rows])
            scores = torch.baddbmm(penalty[:n, None], h[:, None], transposed[:n])
            weights = torch.softmax(scores, dim=-1)
            attention[t, :n] = weights[:, 0]
            torch.cat([torch.bmm(weights, steps[:n])[:, 0], h], dim=1, out=readout_inputs[rows])
            torch.addmm(b_out, readout_inputs[rows], w_out.t(), out=tanh_readouts[rows]).tanh_()
            readout = tanh_readouts[rows] if mask is None else torch.mul(tanh_readouts[rows], mask[rows], out=out[rows])
        results = gates, cell_inputs, readout_inputs, cells, tanh_cells, tanh_readouts, attention, recurrent_weights
        ctx.save_for_backward(penalty, mask, *results, x, *inputs)
        ctx.active = active
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        penalty, mask, *results = ctx.saved_tensors[:10]
        x, *inputs = ctx.saved_tensors[10:]
        if torch.is_grad_enabled():
            function = partial(feed_readouts_by_autograd, ctx.active, penalty, mask)
            return None, None, None, *differentiate_with_graph(function, [x, *inputs], grads)
        h, c, readout, steps, keys, w, _, _, w_out, _ = inputs
        gates, cell_inputs, readout_inputs, cells, tanh_cells, tanh_readouts, attention, recurrent_weights = results
        width, memory_width, count = w_out.shape[0], steps.shape[2], x.shape[1]
        grad_h, grad_c, grad_readout = torch.zeros_like(h), torch.zeros_like(c), torch.zeros_like(readout)
        grad_gates, grad_readouts = torch.empty_like(gates), torch.empty_like(tanh_readouts)
        grad_scores = torch.zeros_like(attention)
        grad_contexts = x.new_zeros(len(ctx.active), len(h), memory_width)
        recurrent_weights = recurrent_weights.t().contiguous()  # small products with a transposed matrix are faster
        for t, (n, rows) in reversed(list(enumerate(_rows_of_steps(ctx.active)))):
            of_tanh = torch.add(grads[0][rows], grad_readout[:n], out=grad_readouts[rows])
            if mask is not None:
                of_tanh *= mask[rows]
            of_tanh *= 1 - tanh_readouts[rows].square()
            of_context, of_h = (of_tanh @ w_out).split([memory_width, h.shape[1]], dim=1)
            grad_contexts[t, :n] = of_context
            weights = attention[t, :n]
            of_weights = torch.bmm(steps[:n], of_context[..., None])[..., 0]
            torch.mul(weights, of_weights - (weights * of_weights).sum(1, keepdim=True), out=grad_scores[t, :n])
            of_h = of_h + grad_h[:n] + torch.bmm(grad_scores[t, :n, None], keys[:n])[:, 0]
            before = c if t == 0 else cells[rows.start - ctx.active[t - 1] :][:n]
            grad_c[:n] = _grad_of_cell(gates[rows], before, tanh_cells[rows], of_h, grad_c[:n], grad_gates[rows])
            of_inputs = grad_gates[rows] @ recurrent_weights.t()
            grad_readout[:n], grad_h[:n] = of_inputs[:, :width], of_inputs[:, width:]
        grad_w, grad_r = (grad_gates.t() @ cell_inputs).split([width, h.shape[1]], dim=1)
        grad_w = torch.cat([grad_gates.t() @ x, grad_w], dim=1)
        queries = _by_step(readout_inputs[:, memory_width:], ctx.active, len(h))
        return (
            *(None, None, None, grad_gates @ w[:, :count], grad_h, grad_c, grad_readout),
            torch.bmm(attention.permute(1, 2, 0), grad_contexts.transpose(0, 1)),
            torch.bmm(grad_scores.permute(1, 2, 0), queries.transpose(0, 1)),
            *(grad_w, grad_r, grad_gates.sum(0), grad_readouts.t() @ readout_inputs, grad_readouts.sum(0)),
        )


def _rows_of_steps(active: Sequence[int]) -> list[tuple[int, slice]]:
    """How many texts each step has, and the rows of the step."""
    return [(n, slice(end - n, end)) for n, end in zip(active, accumulate(active), strict=True)]


def _activate(gates: Tensor) -> tuple[Tensor, ...]:
    """(n, 4 H) sums, changed in place -> i, f, the new values and o, (n, H) each, in torch's order."""
    hidden = gates.shape[1] // 4
    gates[:, : 2 * hidden].sigmoid_()
    gates[:, 2 * hidden : 3 * hidden].tanh_()
    gates[:, 3 * hidden :].sigmoid_()
    return gates.chunk(4, dim=1)


def _grad_of_cell(gates: Tensor, before: Tensor, tanh_c: Tensor, of_h: Tensor, of_c: Tensor, out: Tensor) -> Tensor:
    """The gradient of c before the step; `out` (n, 4 H) gets that of the sums from which the gates were computed."""
    i, f, new, o = gates.chunk(4, dim=1)
    of_i, of_f, of_new, of_o = out.chunk(4, dim=1)
    of_c = torch.addcmul(of_c, of_h * o, 1 - tanh_c.square())
    torch.mul(of_h * tanh_c, o - o.square(), out=of_o)
    torch.mul(of_c * new, i - i.square(), out=of_i)
    torch.mul(of_c * before, f - f.square(), out=of_f)
    torch.mul(of_c * i, 1 - new.square(), out=of_new)
    return of_c * f


def _by_step(rows: Tensor, active: Sequence[int], texts: int) -> Tensor:
    """(N, H) -> (U, B, H), zeros where a text has ended."""
    places = torch.cat([torch.arange(n) + t * texts for t, n in enumerate(active)])
    return rows.new_zeros(len(active) * texts, rows.shape[1]).index_copy_(0, places, rows).view(len(active), texts, -1)


def feed_readouts_by_autograd(
    active: Sequence[int], penalty: Tensor, mask: Tensor | None, x: Tensor, *inputs: Tensor
) -> Tensor:
    """What `feed_readouts` returns, in operations that torch can differentiate any number of times."""
    h, c, readout, steps, keys, w, r, bias, w_out, b_out = inputs
    readouts = []
    for n, rows in _rows_of_steps(active):
        sums = torch.cat([x[rows], readout[:n]], dim=1) @ w.t() + h[:n] @ r.t() + bias
        i, f, new, o = sums.chunk(4, dim=1)
        c = torch.sigmoid(f) * c[:n] + torch.sigmoid(i) * torch.tanh(new)
        h = torch.sigmoid(o) * torch.tanh(c)
        weights = torch.softmax((keys[:n] @ h[..., None])[..., 0] + penalty[:n], dim=-1)
        context = (weights[:, None] @ steps[:n])[:, 0]
        readout = torch.tanh(torch.cat([context, h], dim=1) @ w_out.t() + b_out)
        readout = readout if mask is None else readout * mask[rows]
        readouts.append(readout)
    return torch.cat(readouts)
