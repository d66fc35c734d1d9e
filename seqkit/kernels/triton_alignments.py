"""The sums over alignments of connectionist temporal classification as kernels for a GPU, in Triton.

One program runs one sequence from its first step to its last. A text of U symbols has S = 2 U + 1 positions, a blank
before, between and after its symbols; the state is one number for each, in double precision and in log space, as in
`seqkit.heads.ctc_algorithms`, which computes the same in PyTorch.

Args of both kernels:

    log_probs: (B, T, C); texts: (B, U) int64 classes; lengths, counts: (B,) int64, steps and symbols.
    alpha: (B, T, S), -inf where no alignment is.
    totals: (B,) log-probabilities, -inf for a text that has no alignment.
    BLANK: its class; WIDTH: the power of two that holds S.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _add(a, b, c):
    """log(exp a + exp b + exp c); -inf if all of them are."""
    largest = tl.maximum(tl.maximum(a, b), c)
    largest = tl.where(largest == -float("inf"), 0.0, largest)
    return largest + tl.log(tl.exp(a - largest) + tl.exp(b - largest) + tl.exp(c - largest))


@triton.jit
def _shifted(x, k, by: tl.constexpr, WIDTH: tl.constexpr):
    """What stands `by` positions on; -inf where nothing does."""
    place = k + by
    inside = (place >= 0) & (place < WIDTH)
    return tl.where(inside, tl.gather(x, tl.where(inside, place, 0), 0), -float("inf"))


@triton.jit
def _classes(texts, sequence, width, k, count, BLANK: tl.constexpr):
    """The class of each position, and whether it is a symbol other than the one before it."""
    is_symbol = (k % 2 == 1) & (k < 2 * count)
    symbol = tl.load(texts + sequence * width + k // 2, mask=is_symbol, other=BLANK)
    has_before = is_symbol & (k > 1)
    before = tl.load(texts + sequence * width + k // 2 - 1, mask=has_before, other=BLANK)
    return symbol, has_before & (symbol != before)


@triton.jit
def alignment_sums(log_probs, texts, lengths, counts, alpha, totals, steps, classes, width,
                   BLANK: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    sequence = tl.program_id(0).to(tl.int64)
    length, count = tl.load(lengths + sequence), tl.load(counts + sequence)
    k = tl.arange(0, WIDTH)
    inside = k < 2 * count + 1
    symbol, may_skip = _classes(texts, sequence, width, k, count, BLANK)
    row = log_probs + sequence * steps * classes
    out = alpha + sequence * steps * (2 * width + 1)
    emission = tl.load(row + symbol, mask=inside, other=-float("inf")).to(tl.float64)
    state = tl.where(k < 2, emission, -float("inf"))
    tl.store(out + k, state, mask=inside)
    for _ in range(1, length):
        row += classes
        out += 2 * width + 1
        skipped = tl.where(may_skip, _shifted(state, k, -2, WIDTH), -float("inf"))
        emission = tl.load(row + symbol, mask=inside, other=-float("inf")).to(tl.float64)
        state = _add(state, _shifted(state, k, -1, WIDTH), skipped) + emission
        tl.store(out + k, state, mask=inside)
    final = tl.where((k == 2 * count) | (k == 2 * count - 1), state, -float("inf"))
    largest = tl.max(final, 0)
    largest = tl.where(largest == -float("inf"), 0.0, largest)
    tl.store(totals + sequence, largest + tl.log(tl.sum(tl.exp(final - largest), 0)))


@triton.jit
def alignment_shares(log_probs, texts, lengths, counts, alpha, totals, weights, shares, steps, classes, width,
                     BLANK: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """shares (B, T, S): the probability that an alignment is at a position at a step, times weights (B,)."""
    sequence = tl.program_id(0).to(tl.int64)
    length, count = tl.load(lengths + sequence), tl.load(counts + sequence)
    total, weight = tl.load(totals + sequence), tl.load(weights + sequence)
    total = tl.where(total == -float("inf"), float("inf"), total)  # no alignment at all: all shares are zero
    k = tl.arange(0, WIDTH)
    inside = k < 2 * count + 1
    symbol, may_skip = _classes(texts, sequence, width, k, count, BLANK)
    # From a position one may skip to the second next if that one may be skipped to.
    may_leap = _shifted(tl.where(may_skip, 0.0, -float("inf")).to(tl.float64), k, 2, WIDTH)
    row = log_probs + (sequence * steps + length - 1) * classes
    place = (sequence * steps + length - 1) * (2 * width + 1)
    emission = tl.load(row + symbol, mask=inside, other=-float("inf")).to(tl.float64)
    state = tl.where((k == 2 * count) | (k == 2 * count - 1), emission, -float("inf"))
    for s in range(length):
        both = tl.load(alpha + place + k, mask=inside, other=-float("inf")) + state
        # Where no alignment is, the emission may be -inf as well, and a difference of the two is no number.
        share = tl.exp(tl.where(both == -float("inf"), both, both - emission - total)) * weight
        tl.store(shares + place + k, share, mask=inside)
        if s < length - 1:
            row -= classes
            place -= 2 * width + 1
            emission = tl.load(row + symbol, mask=inside, other=-float("inf")).to(tl.float64)
            leaping = _shifted(state, k, 2, WIDTH) + may_leap
            state = _add(state, _shifted(state, k, 1, WIDTH), leaping) + emission
