"""Linear chains in log space: the partition function, its gradient, marginals, and the best paths.

A path y of a sequence of T steps has the score

    start[y_0] + sum over t of emissions[t, y_t] + sum over t > 0 of transitions[y_{t-1}, y_t] + end[y_{T-1}]

and the probability exp(score - log Z), Z summing exp(score) over all C^T paths (Lafferty, McCallum and Pereira 2001).
A score of -inf forbids a state or a transition. If every path is forbidden, log Z is -inf and all probabilities are
zero.

Where there are kernels (C++ on a CPU, Triton on a GPU), they do the forward-backward algorithm, the gradient and the
best path, chain by chain. The code here is the reference implementation: it runs over the whole batch
at once, with a loop over time only. Sequences are padded on the right. The forward pass ignores lengths, because no
step after the end can reach one before it; the backward pass runs over sequences that are reversed within their own
lengths. Recursions are in double precision whatever the inputs: they add up hundreds of scores, and exp() of a
difference of two scores can then span 700 nats instead of 87.

Letters: B batch, T time, C classes, K paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqkit.interfaces import mask_of, padding_of
from seqkit.kernels import (
    ChainKernels,
    TritonChoice,
    chain_kernels,
    choose_triton,
    differentiate_with_graph,
    gather_last,
    reverse_sequences,
)
from seqkit.uploads import from_lengths, last_steps, upload

LOWEST = -1e300
"""Replaces -inf where it is subtracted: -inf minus this is still -inf, not NaN."""

SCANNED_CLASSES = 12
"""With more states, a loop over time computes less than a scan, which takes a factor of C more."""

SCANNED_NUMBERS = 1 << 24
"""Numbers of one round of a scan: 128 MiB."""

KERNEL_TOLERANCE = 1e-9
"""Of kernels, which are in double precision as well."""

CHUNK_NUMBERS = 1 << 20
"""Numbers of one chunk of the expected transitions: 8 MiB."""


@dataclass(frozen=True)
class Chain:
    """The scores of a batch of chains, in double precision, time first.

    Attributes:
        emissions: (T, B, C), finite; arbitrary past a sequence's end.
        transitions: (C, C), from the row's state to the column's.
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
        start, end = (scores.double().expand(batch, classes) for scores in (start, end))
        return cls(emissions.double().transpose(0, 1), transitions.double(), start, end, lengths)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The attributes in their order."""
        return self.emissions, self.transitions, self.start, self.end, self.lengths

    @property
    def kernels(self) -> ChainKernels | None:
        """What computes such chains where they are; None: the operations of this module."""
        device, classes = self.emissions.device, self.transitions.shape[0]
        return chain_kernels(device, classes, partial(chains_choice, device, classes))

    @property
    def mask(self) -> Tensor:
        """(T, B) bool on the device, True where a step is real."""
        return mask_of(self.lengths, self.emissions.shape[0], self.emissions.device).t()

    @property
    def padding(self) -> Tensor:
        """(T, B) bool on the device, True where a step is past its sequence's end."""
        return padding_of(self.lengths, self.emissions.shape[0], self.emissions.device).t()


@dataclass(frozen=True)
class ForwardBackward:
    """Sums over paths, in log space. Both alpha and beta are arbitrary past a sequence's end.

    Attributes:
        log_z: (B,).
        alpha: (T, B, C) over all prefixes that end in this state at this step, its emission included.
        beta: (T, B, C) over all suffixes that begin in this state at this step, its emission included (many texts leave
            it out). None: not computed.
    """

    log_z: Tensor
    alpha: Tensor
    beta: Tensor | None


def log_partition(chain: Chain) -> Tensor:
    """(B,) log Z. Its gradient is the marginals, computed without a graph over time unless `create_graph=True`."""
    return _loss(chain, None)


def negative_log_likelihood(chain: Chain, paths: Tensor) -> Tensor:
    """(B, T) states -> (B,) log Z minus the score of each path, in nats."""
    return _loss(chain, paths)


def path_score(chain: Chain, paths: Tensor) -> Tensor:
    """(B, T) states -> (B,) score of each path up to its sequence's end."""
    states = paths.t()
    emissions = chain.emissions.gather(2, states[..., None]).squeeze(-1)
    transitions = chain.transitions[states[:-1], states[1:]]
    padding = chain.padding
    # Filled, not multiplied by zero: padding may hold NaN.
    score = emissions.masked_fill(padding, 0.0).sum(0) + transitions.masked_fill(padding[1:], 0.0).sum(0)
    final = gather_last(states[..., None], chain.lengths)
    return score + chain.start.gather(1, states[0][:, None]).squeeze(1) + chain.end.gather(1, final).squeeze(1)


@torch.no_grad()
def forward_backward(chain: Chain, *, with_beta: bool = True) -> ForwardBackward:
    """The forward-backward algorithm; with `with_beta=False` the forward half alone."""
    if chain.kernels is not None:
        log_z, alpha, beta, _ = chain.kernels.sums(*chain.tensors, with_beta=with_beta)
        return ForwardBackward(log_z, alpha, beta)
    emissions = chain.emissions.masked_fill(chain.padding[..., None], 0.0)
    if not with_beta:
        alpha = _run_forward(emissions[:, None], chain.transitions[None], chain.start[None])[:, 0]
        return ForwardBackward(_log_z(alpha, chain), alpha, None)
    alpha, beta = _both_directions(chain, emissions)
    return ForwardBackward(_log_z(alpha, chain), alpha, beta)


def _both_directions(chain: Chain, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha and beta, from emissions that are 0 past a sequence's end."""
    # The backward pass is a forward pass over reversed sequences; the two run side by side.
    sums = _run_forward(
        torch.stack([emissions, reverse_sequences(emissions, chain.lengths)], dim=1),
        torch.stack([chain.transitions, chain.transitions.t()]),
        torch.stack([chain.start, chain.end]),
    )
    return sums[:, 0], reverse_sequences(sums[:, 1].contiguous(), chain.lengths)


def log_marginals(chain: Chain) -> Tensor:
    """(T, B, C) logarithms of the marginals, arbitrary past the end; with gradients, over a graph of all steps.

    For scores that are finite. This is the reference implementation on every device.
    """
    emissions = chain.emissions.masked_fill(chain.padding[..., None], 0.0)
    alpha, beta = _both_directions(chain, emissions)
    return alpha + beta - emissions - _log_z(alpha, chain)[:, None]


def marginals(chain: Chain, sums: ForwardBackward) -> Tensor:
    """(T, B, C) probability of each state at each step, zero past the end."""
    assert sums.beta is not None
    log_probs = (sums.alpha + sums.beta).sub_(chain.emissions).sub_(sums.log_z.clamp(min=LOWEST)[:, None])
    return log_probs.exp_().masked_fill_(chain.padding[..., None], 0.0)


@torch.no_grad()
def best_paths(chain: Chain, k: int = 1) -> tuple[Tensor, Tensor]:
    """The k best paths of each sequence, best first: states (B, K, T), zero past the end, and scores (B, K).

    List Viterbi (Seshadri and Sundberg 1994): each state keeps its k best prefixes. If a sequence has fewer than k
    paths that are not forbidden, the others have the score -inf. Of equally good paths the one comes first whose last
    state is lowest, then the one before it, and so on.
    """
    time, batch, classes = chain.emissions.shape
    if k == 1 and chain.kernels is not None:
        paths, best = chain.kernels.best_paths(*chain.tensors)
        return paths[:, None], best[:, None]
    emissions = chain.emissions.masked_fill(chain.padding[..., None], 0.0)
    scores = torch.full((batch, k, classes), -torch.inf, dtype=torch.float64, device=emissions.device)
    scores[:, 0] = chain.start + emissions[0]
    step_scores, backpointers = [scores], []
    for t in range(1, time):
        # (B, K, from, to): a backpointer is rank * C + state.
        extended = (scores[..., None] + chain.transitions).flatten(1, 2)
        scores, backpointer = _best(extended, k)
        scores = scores + emissions[t][:, None]
        step_scores.append(scores)
        backpointers.append(backpointer.flatten(1))
    last = gather_last(torch.stack(step_scores).flatten(2), chain.lengths).view(batch, k, classes) + chain.end[:, None]
    totals, final = _best(last.flatten(1), k)
    ends = from_lengths(last_steps, chain.lengths, time, emissions.device)[:, None]
    pointer, states = final, torch.zeros(time, batch, k, dtype=torch.int64, device=emissions.device)
    for t in range(time - 1, -1, -1):
        if t < time - 1:
            pointer = torch.where(ends == t, final, backpointers[t].gather(1, pointer))
        states[t] = pointer % classes
    states = states.masked_fill(chain.padding[..., None], 0)
    return states.permute(1, 2, 0), totals


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of dimension 1 and their indices; of equal ones, the lowest index comes first."""
    if k == 1:
        return scores.max(1, keepdim=True)
    values, index = scores.sort(dim=1, descending=True, stable=True)  # topk promises no order of equal ones
    return values[:, :k], index[:, :k]


def _run_forward(emissions: Tensor, transitions: Tensor, start: Tensor) -> Tensor:
    """(T, N, B, C), (N, C, C), (N, B, C) -> (T, N, B, C) alpha of N batches with transitions of their own.

    Each sum has its own largest term taken off, so it is right for any finite scores. One product with
    exp(transitions) would be faster, and wrong once scores are some 700 nats apart.
    """
    classes = emissions.shape[-1]
    if emissions.is_cuda and classes <= SCANNED_CLASSES and not torch.is_grad_enabled():
        return scan_forward(emissions, transitions, start)
    alphas = [start + emissions[0]]
    for t in range(1, emissions.shape[0]):
        alphas.append(_log_sum_exp(alphas[-1][..., None] + transitions[:, None], -2) + emissions[t])
    return torch.stack(alphas)


def scan_forward(emissions: Tensor, transitions: Tensor, start: Tensor) -> Tensor:
    """The same in a number of operations that grows with log T (Hillis and Steele 1986, doi:10.1145/7902.7903).

    A step is a matrix of scores, from a state to a state. After n rounds, each holds the sums over the paths of the 2^n
    steps that end there. A step's sums are put together in the same way whatever T is.
    """
    time, _, _, classes = emissions.shape
    first = (start + emissions[0])[None, ..., None, :].expand(-1, -1, -1, classes, -1)
    sums = torch.cat([first, transitions[:, None] + emissions[1:, ..., None, :]])  # (T, N, B, C, C)
    rows = max(1, SCANNED_NUMBERS // max(1, time * classes**3))
    flat = sums.flatten(1, 2)
    parts = [_scan(part) for part in torch.split(flat, rows, dim=1)]
    alpha = (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))[:, :, 0]
    return alpha.reshape(emissions.shape)


def _scan(sums: Tensor) -> Tensor:
    """(T, N, C, C) scores of steps -> the same of all steps up to each; all rows of the first one are equal."""
    shift = 1
    while shift < len(sums):
        longer = (sums[:-shift, ..., None] + sums[shift:, :, None]).logsumexp(-2)
        sums = torch.cat([sums[:shift], longer])
        shift *= 2
    return sums


def recorded_best_path(chain: Chain) -> Tensor:
    """(B, T) the best path of each sequence, whatever past its end; also while `torch.export` records it."""
    if not torch.compiler.is_exporting():
        paths, _ = best_paths(chain, 1)
        return paths[:, 0]
    from torch._higher_order_ops.scan import scan

    states = torch.arange(chain.transitions.shape[0])
    # A search has no gradient, and torch's loop would look for one.
    emissions, transitions, start, end = (scores.detach() for scores in chain.tensors[:4])

    def forward(score: Tensor, step: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        of_step, is_first, is_real = step
        best, previous = (score[:, :, None] + transitions).max(dim=1)
        new_score = torch.where(is_first, score, best) + of_step
        return torch.where(is_real, new_score, score), torch.where(is_real, previous, states)

    def backward(state: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        return previous.gather(1, state), state.clone()

    time = emissions.shape[0]
    is_first = (torch.arange(time) == 0)[:, None, None].expand(time, emissions.shape[1], 1)
    is_real = mask_of(chain.lengths, time).t()[..., None]
    score, previous = scan(forward, start.clone(), (emissions, is_first.clone(), is_real.clone()))
    last = (score + end).argmax(dim=1, keepdim=True)
    path: Tensor
    _, path = scan(backward, last, previous, reverse=True)
    return path.squeeze(-1).t()


def chains_choice(device: torch.device, classes: int) -> TritonChoice:
    """Whether kernels in Triton compute chains of so many states on `device`, and why."""
    return choose_triton(
        device, f"random fields of {classes} states", partial(_chains_case, classes), tolerance=KERNEL_TOLERANCE
    )


def _chains_case(classes: int, device: torch.device) -> dict[str, Tensor]:
    """All that heads ask of chains, of several lengths, one of them with a start that is forbidden."""
    generator = torch.Generator().manual_seed(classes)
    shapes = ((4, 3, classes), (classes, classes), (3, classes), (3, classes))
    scores = [3 * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    paths = torch.randint(0, classes, (3, 4), generator=generator)
    if classes > 1:
        scores[2][1, 0], paths[1, 0] = -torch.inf, classes - 1
    inputs = emissions, transitions, start, end = [upload(tensor, device).requires_grad_() for tensor in scores]
    chain = Chain(emissions, transitions, start, end, torch.tensor([4, 1, 3]))
    weights = upload(torch.tensor([1.0, 2.0, 3.0]).double(), device)
    losses = {
        "log Z of random fields": log_partition(chain),
        "the loss of random fields": negative_log_likelihood(chain, upload(paths, device)),
    }
    results = dict(losses)
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, inputs, weights)
        results |= {f"the gradient of {name} by its argument {i}": gradient for i, gradient in enumerate(gradients)}
    best, best_scores = best_paths(chain)
    with torch.no_grad():
        marginal = marginals(chain, forward_backward(chain))
    return results | {"marginals": marginal, "the best path": best, "the score of the best path": best_scores}


def _log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """The same as `torch.logsumexp`, except that a sum of nothing but -inf has the gradient zero, not NaN."""
    if not torch.is_grad_enabled():
        return x.logsumexp(dim)
    is_open = (x != -torch.inf).any(dim)
    sums = x.masked_fill(~is_open.unsqueeze(dim), 0.0).logsumexp(dim)
    return sums.masked_fill(~is_open, -torch.inf)


def _log_z(alpha: Tensor, chain: Chain) -> Tensor:
    """(T, B, C) -> (B,)."""
    return _log_sum_exp(gather_last(alpha, chain.lengths) + chain.end, -1)


def _loss(chain: Chain, paths: Tensor | None) -> Tensor:
    """(B,) log Z, minus the scores of the paths if there are some."""
    loss: Tensor
    if chain.kernels is not None:
        loss = _KernelLoss.apply(chain.kernels, *chain.tensors, paths)  # type: ignore[no-untyped-call, unused-ignore]
    else:
        loss = _ChainLoss.apply(*chain.tensors, paths)  # type: ignore[no-untyped-call, unused-ignore]
    return loss


def _differentiable_log_partition(
    lengths: Tensor, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """log Z of the scores of a `Chain`, in operations that torch can differentiate any number of times."""
    chain = Chain(emissions, transitions, start, end, lengths)
    emissions = chain.emissions.masked_fill(chain.padding[..., None], 0.0)
    return _log_z(_run_forward(emissions[:, None], chain.transitions[None], chain.start[None])[:, 0], chain)


def _differentiable_loss(
    lengths: Tensor, paths: Tensor | None, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    log_z = _differentiable_log_partition(lengths, emissions, transitions, start, end)
    return log_z if paths is None else log_z - path_score(Chain(emissions, transitions, start, end, lengths), paths)


class _KernelLoss(torch.autograd.Function):
    """log Z, minus the scores of the paths if there are some. Beta is computed for the gradient only."""

    @staticmethod
    def forward(ctx: Any, kernels: ChainKernels, *inputs: Tensor) -> Tensor:
        log_z, alpha, _, scores = kernels.sums(*inputs, with_beta=False)
        if any(ctx.needs_input_grad):
            ctx.kernels = kernels  # the backward pass may run in a thread that chooses otherwise
            ctx.save_for_backward(*inputs, alpha, log_z)
        return log_z if scores is None else log_z - scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, alpha, log_z = ctx.saved_tensors
        if torch.is_grad_enabled():
            *scores, lengths, paths = inputs
            function = partial(_differentiable_loss, lengths, paths)
            return None, *differentiate_with_graph(function, scores, grads), None, None
        return None, *ctx.kernels.gradient(*inputs, alpha=alpha, log_z=log_z, grad=grads[0]), None, None


class _ChainLoss(torch.autograd.Function):
    """log Z, minus the scores of the paths if there are some, with an explicit gradient: expected less true counts.

    Differentiating the recursion would keep the (B, C, C) scores of every step and run the loop once more. Alpha and
    beta, computed side by side in one loop, give the same numbers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        emissions: Tensor,
        transitions: Tensor,
        start: Tensor,
        end: Tensor,
        lengths: Tensor,
        paths: Tensor | None,
    ) -> Tensor:
        chain = Chain(emissions, transitions, start, end, lengths)
        sums = forward_backward(chain, with_beta=any(ctx.needs_input_grad))
        if sums.beta is not None:
            ctx.save_for_backward(emissions, transitions, start, end, sums.log_z, sums.alpha, sums.beta, paths)
            ctx.lengths = lengths
        return sums.log_z if paths is None else sums.log_z - path_score(chain, paths)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, start, end, log_z, alpha, beta, paths = ctx.saved_tensors
        if torch.is_grad_enabled():
            function = partial(_differentiable_loss, ctx.lengths, paths)
            return *differentiate_with_graph(function, [emissions, transitions, start, end], grads), None, None
        chain = Chain(emissions, transitions, start, end, ctx.lengths)
        sums = ForwardBackward(log_z, alpha, beta)
        grad_emissions = marginals(chain, sums)
        grad_transitions = _expected_transitions(chain, sums, grads[0])
        if paths is not None:
            true = torch.zeros_like(grad_emissions)
            true.scatter_(2, paths.t()[..., None], chain.mask[..., None].to(true.dtype))
            grad_emissions = grad_emissions - true
            of_batch = true * grads[0][:, None]
            grad_transitions = grad_transitions - of_batch[:-1].flatten(0, 1).t() @ true[1:].flatten(0, 1)
        grad_emissions = grad_emissions * grads[0][:, None]
        grad_end = gather_last(grad_emissions, ctx.lengths)
        return grad_emissions, grad_transitions, grad_emissions[0], grad_end, None, None


def _expected_transitions(chain: Chain, sums: ForwardBackward, weights: Tensor) -> Tensor:
    """(C, C) expected number of each transition, summed over the chains with their weights (B,)."""
    assert sums.beta is not None
    # exp(alpha[t, i] + transitions[i, j] + beta[t + 1, j] - log Z), some steps at a time.
    alpha, beta, padding = sums.alpha[:-1], sums.beta[1:], chain.padding[1:]
    start = alpha - sums.log_z.clamp(min=LOWEST)[:, None]
    expected: Tensor | None = None
    _, batch, classes = alpha.shape
    chunk = max(1, CHUNK_NUMBERS // max(1, batch * classes * classes))
    for t in range(0, len(alpha), chunk):
        steps = slice(t, t + chunk)
        log_probs = start[steps, ..., None] + chain.transitions + beta[steps, :, None]
        probs = log_probs.exp_().masked_fill_(padding[steps, :, None, None], 0.0)
        count = torch.einsum("tbij,b->ij", probs, weights)
        expected = count if expected is None else expected + count
    return torch.zeros_like(chain.transitions) if expected is None else expected
