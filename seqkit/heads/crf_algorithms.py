"""Linear chains in log space: the sum over all paths, its gradient, marginals, and the best paths.

A path y of a sequence of T steps has the score

    start[y_0] + sum over t of emissions[t, y_t] + sum over t > 0 of transitions[y_{t-1}, y_t] + end[y_{T-1}]

and the probability exp(score - log Z), Z summing exp(score) over all C^T paths (Lafferty, McCallum and Pereira 2001).
A score of -inf bars a state or a transition. Where no path is left open, log Z is -inf and every probability zero.

On a CPU with the native library the sums and their gradient are C++, chain by chain; what stands here is their slow
twin. It runs over the whole batch at once with a loop over time only. Sequences are padded on the right; a forward
pass never needs to know where one ends, because nothing after the end can reach a step before it, and a backward pass
runs over sequences turned round within their own lengths. Recursions are in double precision whatever comes in: they
add up hundreds of scores, and exp() of a difference of two scores then holds 700 nats instead of 87.

Letters: B batch, T time, C classes, K paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqkit.interfaces import mask_of
from seqkit.kernels import (
    gather_last,
    native_best_paths,
    native_chain_gradient,
    native_chain_sums,
    reverse_sequences,
    runs_native,
    upload,
)

LOWEST = -1e300
"""In the place of -inf where it is taken away: -inf less this is still -inf."""


@dataclass(frozen=True)
class Chain:
    """The scores of a batch of chains, in double precision, time first.

    Attributes:
        emissions: (T, B, C), finite; past a sequence's end they mean nothing.
        transitions: (C, C), row before, column after.
        start: (B, C).
        end: (B, C).
        lengths: (B,) int64 on the CPU, each at least 1.
    """

    emissions: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Chain:
        """From (B, T, C), (C, C), (C,) or (B, C) twice, (B,); of any precision."""
        batch, _, classes = emissions.shape
        first, last = (edge.double().expand(batch, classes) for edge in (start, end))
        return cls(emissions.double().transpose(0, 1), transitions.double(), first, last, lengths)

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The attributes in their order."""
        return self.emissions, self.transitions, self.start, self.end, self.lengths

    @property
    def mask(self) -> Tensor:
        """(T, B) bool on the device, True where a step is real."""
        return mask_of(self.lengths, self.emissions.shape[0], self.emissions.device).t()


@dataclass(frozen=True)
class ForwardBackward:
    """Sums over paths, in log space.

    Attributes:
        total: (B,) log Z.
        before: (T, B, C) over all beginnings that are in this state at this step, its emission included. What stands
            past a sequence's end means nothing, here and in `after`.
        after: (T, B, C) over all endings from this state at this step on, its emission included. None: not asked for.
    """

    total: Tensor
    before: Tensor
    after: Tensor | None


def log_partition(chain: Chain) -> Tensor:
    """(B,) log Z, with a gradient that is the marginals (no graph is kept over time, none can be differentiated)."""
    if runs_native(chain.emissions.device):
        return _native_loss(chain, None)
    total: Tensor = _LogPartition.apply(*chain.parts)  # type: ignore[no-untyped-call, unused-ignore]
    return total


def negative_log_likelihood(chain: Chain, paths: Tensor) -> Tensor:
    """(B, T) states -> (B,) log Z less the score of each path, in nats; natively, both and their gradient in one go."""
    if runs_native(chain.emissions.device):
        return _native_loss(chain, paths)
    return log_partition(chain) - path_score(chain, paths)


def path_score(chain: Chain, paths: Tensor) -> Tensor:
    """(B, T) states -> (B,) score of each path up to its sequence's end."""
    states = paths.t()
    said = chain.emissions.gather(2, states[..., None]).squeeze(-1)
    moved = chain.transitions[states[:-1], states[1:]]
    mask = chain.mask
    # Chosen, not multiplied: whatever stands past the end, a NaN included, does not count.
    score = said.masked_fill(~mask, 0.0).sum(0) + moved.masked_fill(~mask[1:], 0.0).sum(0)
    final = gather_last(states[..., None], chain.lengths)
    return score + chain.start.gather(1, states[0][:, None]).squeeze(1) + chain.end.gather(1, final).squeeze(1)


@torch.no_grad()
def sums(chain: Chain, *, both: bool = True) -> ForwardBackward:
    """The sums over paths from both sides, or, with `both=False`, from the beginning only (half the work)."""
    if runs_native(chain.emissions.device):
        total, before, after, _ = native_chain_sums(*chain.parts, with_beta=both)
        return ForwardBackward(total, before, after)
    mask = chain.mask[..., None]
    emissions = chain.emissions.masked_fill(~mask, 0.0)
    if not both:
        before = _run(emissions[:, None], chain.transitions[None], chain.start[None])[:, 0]
        return ForwardBackward(_at_last(before, chain), before, None)
    ran = _run(
        torch.stack([emissions, reverse_sequences(emissions, chain.lengths)], dim=1),
        torch.stack([chain.transitions, chain.transitions.t()]),
        torch.stack([chain.start, chain.end]),
    )
    before, after = ran[:, 0], reverse_sequences(ran[:, 1].contiguous(), chain.lengths)
    return ForwardBackward(_at_last(before, chain), before, after)


def marginals(chain: Chain, found: ForwardBackward) -> Tensor:
    """(T, B, C) probability of each state at each step, zero past the end."""
    assert found.after is not None
    shares = (found.before + found.after).sub_(chain.emissions).sub_(found.total.clamp(min=LOWEST)[:, None]).exp_()
    return shares.masked_fill_(~chain.mask[..., None], 0.0)


@torch.no_grad()
def best_paths(chain: Chain, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k best paths of each sequence, best first: states (B, K, T), zero past the end, and scores (B, K).

    List Viterbi (Seshadri and Sundberg 1994): each state keeps its k best beginnings. Where a sequence has fewer than
    k open paths, the rest have the score -inf.
    """
    time, batch, classes = chain.emissions.shape
    if k == 1 and runs_native(chain.emissions.device):
        paths, best = native_best_paths(chain.emissions, chain.transitions, chain.start, chain.end, chain.lengths)
        return paths[:, None], best[:, None]
    emissions = chain.emissions.masked_fill(~chain.mask[..., None], 0.0)
    scores = torch.full((batch, k, classes), -torch.inf, dtype=torch.float64, device=emissions.device)
    scores[:, 0] = chain.start + emissions[0]
    kept, came = [scores], []
    for t in range(1, time):
        # (B, K, from, to): a beginning is numbered rank * C + state.
        moved = (scores[..., None] + chain.transitions).flatten(1, 2)
        scores, where = moved.max(1, keepdim=True) if k == 1 else moved.topk(k, dim=1)
        scores = scores + emissions[t][:, None]
        kept.append(scores)
        came.append(where.flatten(1))
    last = gather_last(torch.stack(kept).flatten(2), chain.lengths).view(batch, k, classes) + chain.end[:, None]
    total, final = last.flatten(1).topk(k, dim=1)
    ends = upload(chain.lengths - 1, emissions.device)[:, None]
    at, states = final, torch.zeros(time, batch, k, dtype=torch.int64, device=emissions.device)
    for t in range(time - 1, -1, -1):
        if t < time - 1:
            at = torch.where(ends == t, final, came[t].gather(1, at))
        states[t] = at % classes
    states = states.masked_fill(~chain.mask[..., None], 0)
    return states.permute(1, 2, 0), total


def _run(emissions: Tensor, transitions: Tensor, start: Tensor) -> Tensor:
    """(T, N, B, C), (N, C, C), (N, B, C) -> (T, N, B, C): sums over beginnings of N kinds of chain, side by side."""
    steps = torch.empty_like(emissions)
    weights = transitions.exp()
    now = start + emissions[0]
    steps[0] = now
    for t in range(1, emissions.shape[0]):
        top = now.amax(-1, keepdim=True).clamp_(min=LOWEST)
        now = torch.bmm((now - top).exp_(), weights).log_().add_(top).add_(emissions[t])
        steps[t] = now
    return steps


def _at_last(before: Tensor, chain: Chain) -> Tensor:
    return (gather_last(before, chain.lengths) + chain.end).logsumexp(-1)


def _native_loss(chain: Chain, paths: Tensor | None) -> Tensor:
    found: Tensor = _NativeLoss.apply(*chain.parts, paths)  # type: ignore[no-untyped-call, unused-ignore]
    return found


class _NativeLoss(torch.autograd.Function):
    """log Z, less the scores of paths where they are given; the sums from the end belong to the gradient alone."""

    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        total, before, _, scores = native_chain_sums(*given, with_beta=False)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*given, before, total)
        return total if scores is None else total - scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, before, total = ctx.saved_tensors
        return *native_chain_gradient(*given, alpha=before, log_z=total, grad=grads[0]), None, None


class _LogPartition(torch.autograd.Function):
    """log Z with its gradient written out: the expected count of each state and of each transition.

    Backward through the recursion itself would keep every step's (B, C, C) scores and walk the loop again; the sums
    from both sides, run side by side in one loop, give the same numbers in a few large products.
    """

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
    ) -> Tensor:
        chain = Chain(emissions, transitions, start, end, lengths)
        found = sums(chain, both=any(ctx.needs_input_grad))
        if found.after is not None:
            ctx.save_for_backward(emissions, transitions, start, end, found.total, found.before, found.after)
            ctx.lengths = lengths
        return found.total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        emissions, transitions, start, end, total, before, after = ctx.saved_tensors
        chain = Chain(emissions, transitions, start, end, ctx.lengths)
        shares = marginals(chain, ForwardBackward(total, before, after)) * grads[0][:, None]
        # Expected transitions: exp(before[t, i] + transitions[i, j] + after[t + 1, j] - log Z), summed over t and B.
        # Each factor is scaled by its largest entry, so that the sum is one product of two matrices.
        left, right = before[:-1], after[1:]
        tops = left.amax(-1, keepdim=True).clamp_(min=LOWEST), right.amax(-1, keepdim=True).clamp_(min=LOWEST)
        scale = tops[0] + tops[1] - total.clamp(min=LOWEST)[:, None]
        scale = scale.masked_fill_(~chain.mask[1:, :, None], -torch.inf).exp_()
        weighted = (left - tops[0]).exp_() * scale * grads[0][:, None]
        moved = weighted.flatten(0, 1).t() @ (right - tops[1]).exp_().flatten(0, 1) * transitions.exp()
        return shares, moved, shares[0].clone(), gather_last(shares, ctx.lengths), None
