"""The loss of connectionist temporal classification (Graves et al. 2006), over a batch at once, on a CPU and a GPU.

A text of U symbols is written with blanks around and between its symbols, S = 2 U + 1 positions. An alignment goes
through these positions, one a step: it stays, goes on by one, or goes on by two from a symbol to another one that
differs. The probability of the text is the sum over all alignments.

The sums of the beginnings (alpha) and of the ends (beta) of alignments are the same recursion: beta is alpha of the
sequence read backwards, with its text read backwards, each within its own length. So both run side by side, in one loop
over time, in double precision. The gradient is what alpha and beta say of each position, summed over the positions of a
class by a product with the one-hot text: no sum depends on the order in which a GPU's threads come, and nothing waits
for the device. Two kernels in Triton do the same where they agree, and C++ does on a CPU.
`torch.nn.functional.ctc_loss` on CUDA does both; on a CPU without a compiler it is used.

Letters: B batch, T steps, C classes with the blank first, U symbols of the longest text, S = 2 U + 1.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seqkit.decoding.ctc_beam_search import BLANK
from seqkit.kernels import (
    MAX_POSITIONS,
    TritonChoice,
    alignment_options,
    choose_triton,
    has_native_alignments,
    native_alignment_gradient,
    native_alignment_sums,
    triton_alignment_shares,
    triton_alignment_sums,
)
from seqkit.uploads import from_lengths, inside, last_steps, real_lengths, upload


def ctc_nats(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor, *, has_short: bool = False) -> Tensor:
    """(B,) the negative log-probability of each text; infinite if its sequence has too few steps for it.

    Args:
        log_probs: (B, T, C), arbitrary past a sequence's end.
        texts: (B, U) classes, arbitrary past a text's end.
        lengths: (B,) steps, on the CPU.
        counts: (B,) symbols, on the CPU.
        has_short: whether some sequences have too few steps. Torch's loss then counts them as zero.
    """
    if has_native_alignments(log_probs.device):
        nats: Tensor = _NativeNats.apply(log_probs, texts, lengths, counts)  # type: ignore[no-untyped-call, unused-ignore]
        return nats
    if log_probs.device.type == "cpu":
        return functional.ctc_loss(
            log_probs.transpose(0, 1),
            texts,
            lengths,
            counts,
            blank=BLANK,
            reduction="none",
            zero_infinity=has_short,
        )
    return forward_backward_nats(log_probs, texts, lengths, counts)


def forward_backward_nats(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """The same by the recursion of this module, on any device. A text without an alignment has the gradient zero."""
    width = texts.shape[1]
    has_kernels = 2 * width < MAX_POSITIONS and alignments_choice(log_probs.device, width).is_triton
    function = _KernelNats if has_kernels else _Nats
    nats: Tensor = function.apply(log_probs, texts, lengths, counts)  # type: ignore[no-untyped-call, unused-ignore]
    return nats


def alignments_choice(device: torch.device, width: int) -> TritonChoice:
    """Whether kernels in Triton compute CTC of texts of at most `width` symbols on `device`, and why."""
    positions = alignment_options(width, BLANK)["WIDTH"]  # what they are compiled for
    symbols = positions // 2 - 1
    return choose_triton(device, f"CTC of up to {symbols:,} symbols", partial(_case, symbols), tolerance=1e-6)


def _case(symbols: int, device: torch.device) -> dict[str, Tensor]:
    """A text of so many symbols, some of them twice in a row, half of it, an empty one, and one with too few steps."""
    generator = torch.Generator().manual_seed(symbols)
    steps = symbols + symbols // 8 + 3
    scores = torch.randn(4, steps, 4, generator=generator).log_softmax(-1)
    texts = 1 + (torch.arange(symbols) - torch.arange(symbols) // 8).remainder(3).expand(4, -1)
    lengths = torch.tensor([steps, steps - 1, 3, symbols - 1])
    counts = torch.tensor([symbols, symbols // 2, 0, symbols])
    log_probs = upload(scores, device).requires_grad_()
    nats = forward_backward_nats(log_probs, upload(texts, device), lengths, counts)
    weights = upload(torch.tensor([1.0, 2.0, 3.0, 4.0]), device)
    (gradient,) = torch.autograd.grad(nats, log_probs, weights)
    return {"the loss of CTC": nats, "the gradient of CTC": gradient}


@torch.no_grad()
def nats_without_gradient(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    """The same values without a gradient, in memory that does not grow with T; `counts` may be on the device.

    `texts` may be as wide as there are steps.
    """
    batch, steps, _ = log_probs.shape
    device = log_probs.device
    positions = _positions(texts)
    skips = _skips(texts, log_probs)
    last = from_lengths(last_steps, lengths, steps, device)[:, None]
    states = _begin(batch, positions.shape[1], log_probs)
    at_end = states
    for t in range(steps):
        emission = log_probs[:, t].double().gather(1, positions)
        if t == 0:
            states = _first(states, emission)
        else:
            states[:, 2:] = _advance(states, skips) + emission
        at_end = torch.where(last == t, states, at_end)
    return -_total(at_end, upload(counts, device)).to(log_probs.dtype)


class _Nats(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        steps, width, device = log_probs.shape[1], texts.shape[1], log_probs.device
        # (2 B, ...): all sequences, and all of them backwards.
        backwards = from_lengths(backward_steps, lengths, steps, device)
        text_backwards = from_lengths(backward_steps, counts, width, device)
        both_texts = torch.cat([texts, texts.gather(1, text_backwards)]) if width else texts.repeat(2, 1)
        positions = _positions(both_texts)
        emissions = _emissions(log_probs, positions, backwards)
        alpha = _run(emissions, _skips(both_texts, log_probs))
        batch = log_probs.shape[0]
        last = from_lengths(last_steps, lengths, steps, device)
        at_end = alpha[:, :batch].gather(0, last[None, :, None].expand(1, -1, alpha.shape[2])).squeeze(0)
        log_probability = _total(at_end, from_lengths(real_lengths, counts, width, device))
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(log_probs, texts, emissions, alpha, log_probability)
            ctx.lengths, ctx.counts = lengths, counts
        return -log_probability.to(log_probs.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        _refuse_second_derivative()
        log_probs, texts, emissions, alpha, log_probability = ctx.saved_tensors
        (batch, steps, _), width, device = log_probs.shape, texts.shape[1], log_probs.device
        backwards = from_lengths(backward_steps, ctx.lengths, steps, device)
        positions_backwards = from_lengths(backward_positions, ctx.counts, width, device)
        # Beta in the order of time and of the positions: what the reversed half computed, reversed again.
        beta = alpha[:, batch:, 2:]
        beta = beta.gather(0, backwards.t()[..., None].expand(-1, -1, beta.shape[2]))
        beta = beta.gather(2, positions_backwards.expand(steps, -1, -1))
        total = log_probability.masked_fill(log_probability == -torch.inf, torch.inf)  # no alignment: all are zero
        share = alpha[:, :batch, 2:] + beta - emissions[:, :batch] - total[:, None]
        # Both halves may be -inf, and so may the emission: such a position has no share.
        share = share.nan_to_num(nan=-torch.inf).exp()
        is_real = from_lengths(inside, ctx.lengths, steps, device).t()[..., None]
        is_position = from_lengths(inside_positions, ctx.counts, width, device)[None]
        share = share.masked_fill(~(is_real & is_position), 0.0).transpose(0, 1)  # (B, T, S)
        by_class = _by_class(share, texts, log_probs.shape[2])
        return (by_class * -grads[0].double()[:, None, None]).to(log_probs.dtype), None, None, None


class _KernelNats(torch.autograd.Function):
    """The same by kernels, a launch for alpha and one for the rest."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        totals, alpha = triton_alignment_sums(log_probs, texts, lengths, counts, blank=BLANK)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(log_probs, texts, alpha, totals)
            ctx.lengths, ctx.counts = lengths, counts
        return -totals.to(log_probs.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        _refuse_second_derivative()
        log_probs, texts, alpha, totals = ctx.saved_tensors
        share = triton_alignment_shares(
            log_probs, texts, ctx.lengths, ctx.counts, alpha=alpha, totals=totals, weights=-grads[0], blank=BLANK
        )
        return _by_class(share, texts, log_probs.shape[2]).to(log_probs.dtype), None, None, None


class _NativeNats(torch.autograd.Function):
    """The same in C++."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
        with_alpha = ctx.needs_input_grad[0]
        totals, alpha = native_alignment_sums(log_probs, texts, lengths, counts, blank=BLANK, with_alpha=with_alpha)
        if with_alpha:
            ctx.save_for_backward(log_probs, texts, lengths, counts, alpha, totals)
        return -totals.to(log_probs.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        _refuse_second_derivative()
        *inputs, alpha, totals = ctx.saved_tensors
        gradient = native_alignment_gradient(*inputs, blank=BLANK, alpha=alpha, totals=totals, weights=grads[0])
        return gradient, None, None, None


def _by_class(share: Tensor, texts: Tensor, classes: int) -> Tensor:
    """(B, T, S) of the positions -> (B, T, C) of their classes."""
    if texts.shape[1]:
        one_hot = functional.one_hot(texts.clamp(0, classes - 1), classes).double()
        by_class = torch.bmm(share[:, :, 1::2], one_hot)
    else:
        by_class = share.new_zeros(*share.shape[:2], classes)
    by_class[:, :, BLANK] += share[:, :, 0::2].sum(dim=2)
    return by_class


def _refuse_second_derivative() -> None:
    """The gradient is written out by hand: under `create_graph=True` its own gradient would be missing without a word.

    Raises:
        RuntimeError: a graph of the gradient is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("the loss of ctc has no second derivative: take its gradient without create_graph=True")


def backward_steps(lengths: Tensor, padded_length: int) -> Tensor:
    """A rule of `seqkit.uploads`: (B, T) which step comes to each place when sequences are reversed; padding stays."""
    t = torch.arange(padded_length)[None, :]
    return torch.where(t < lengths[:, None], lengths[:, None] - 1 - t, t)


def backward_positions(counts: Tensor, width: int) -> Tensor:
    """A rule: (B, S) the same for the positions of texts with their blanks."""
    return backward_steps(2 * counts + 1, 2 * width + 1)


def inside_positions(counts: Tensor, width: int) -> Tensor:
    """A rule: (B, S) bool, True at the positions that a text has."""
    return inside(2 * counts + 1, 2 * width + 1)


def _positions(texts: Tensor) -> Tensor:
    """(B, U) -> (B, S) the class of each position."""
    positions = texts.new_full((texts.shape[0], 2 * texts.shape[1] + 1), BLANK)
    positions[:, 1::2] = texts
    return positions


def _skips(texts: Tensor, like: Tensor) -> Tensor:
    """(B, U) -> (B, S) what it costs to come from the position before the last: 0 where that is allowed, else -inf."""
    skips = torch.full((texts.shape[0], 2 * texts.shape[1] + 1), -torch.inf, dtype=torch.float64, device=like.device)
    if texts.shape[1] > 1:
        skips[:, 3::2] = skips[:, 3::2].masked_fill(texts[:, 1:] != texts[:, :-1], 0.0)
    return skips


def _emissions(log_probs: Tensor, positions: Tensor, backwards: Tensor) -> Tensor:
    """(T, 2 B, S) log-probabilities of the positions at each step, then those of the reversed sequences."""
    steps, classes = log_probs.shape[1:]
    reversed_log_probs = log_probs.gather(1, backwards[..., None].expand(-1, -1, classes))
    both = torch.cat([log_probs, reversed_log_probs]).transpose(0, 1).double()
    return both.gather(2, positions.expand(steps, -1, -1))


def _begin(batch: int, width: int, like: Tensor) -> Tensor:
    """(B, 2 + S) of -inf: two positions that no alignment is in stand before the first."""
    return torch.full((batch, 2 + width), -torch.inf, dtype=torch.float64, device=like.device)


def _first(states: Tensor, emission: Tensor) -> Tensor:
    """The states after the first step: at the first blank or the first symbol."""
    states[:, 2:4] = emission[:, :2]
    return states


def _advance(states: Tensor, skips: Tensor) -> Tensor:
    """(B, 2 + S) -> (B, S) the sums of what leads to each position, without the step's own emission."""
    stay, next_one, skip = states[:, 2:], states[:, 1:-1], states[:, :-2]
    return torch.logaddexp(torch.logaddexp(stay, next_one), skip + skips)


def _run(emissions: Tensor, skips: Tensor) -> Tensor:
    """(T, N, S), (N, S) -> (T, N, 2 + S) alpha."""
    steps, rows, width = emissions.shape
    alpha = emissions.new_full((steps, rows, 2 + width), -torch.inf)
    _first(alpha[0], emissions[0])
    for t in range(1, steps):
        torch.add(_advance(alpha[t - 1], skips), emissions[t], out=alpha[t, :, 2:])
    return alpha


def _total(at_end: Tensor, counts: Tensor) -> Tensor:
    """(B, 2 + S) after the last step -> (B,) log-probability: alignments end at the last symbol or the last blank."""
    last = 2 * counts[:, None] + 2
    return torch.logaddexp(at_end.gather(1, last), at_end.gather(1, last - 1)).squeeze(1)
