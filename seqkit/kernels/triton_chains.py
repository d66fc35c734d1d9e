"""Sums over paths, their gradient, and best paths of linear chains as kernels for a GPU, in Triton.

One program runs one chain from its first step to its last; the transitions and the state stay on the chip, and a step
reads its emissions and writes its results. All is in double precision and in log space, and each sum has its own
largest term taken off, as in `seqkit.heads.crf_algorithms`, which computes the same in PyTorch. What programs add up
over chains is written chain by chain and added by torch, so results do not depend on how programs are scheduled.

Args of all kernels:

    emissions: (T, B, C) double, rows of `by_time` and `by_chain` numbers, one after the other in a row.
    transitions: (C, C), from the row's state to the column's.
    start, end: (B, C).
    lengths: (B,) int64, each at least 1.
    steps: T.
    C: the number of states; WIDTH: the power of two that holds it.

alpha is (B, T, C): of all beginnings that end in a state, the step's emission included; beta the same of all ends that
begin in it.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _log_sum_exp(x, AXIS: tl.constexpr):
    """Of the rows (axis 0) or the columns (axis 1) of a matrix; a sum of nothing but -inf is -inf."""
    largest = tl.max(x, AXIS)
    largest = tl.where(largest == -float("inf"), 0.0, largest)
    return largest + tl.log(tl.sum(tl.exp(x - tl.expand_dims(largest, AXIS)), AXIS))


@triton.jit
def _transition_matrix(transitions, C: tl.constexpr, WIDTH: tl.constexpr):
    """(WIDTH, WIDTH), -inf from and to states that there are not."""
    i, j = tl.arange(0, WIDTH)[:, None], tl.arange(0, WIDTH)[None, :]
    return tl.load(transitions + i * C + j, mask=(i < C) & (j < C), other=-float("inf"))


@triton.jit
def chain_sums(emissions, by_time, by_chain, transitions, start, end, lengths, paths, alpha, log_z, scores, steps,
               HAS_PATHS: tl.constexpr, C: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """alpha, log Z (B,), and the scores (B,) of paths (B, T)."""
    chain = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + chain)
    k = tl.arange(0, WIDTH)
    inside = k < C
    matrix = _transition_matrix(transitions, C, WIDTH)
    row = emissions + chain * by_chain
    out = alpha + chain * steps * C
    state = tl.load(start + chain * C + k, mask=inside, other=-float("inf"))
    state += tl.load(row + k, mask=inside, other=0.0)
    tl.store(out + k, state, mask=inside)
    for _ in range(1, length):
        row += by_time
        out += C
        state = _log_sum_exp(state[:, None] + matrix, 0) + tl.load(row + k, mask=inside, other=0.0)
        tl.store(out + k, state, mask=inside)
    state += tl.load(end + chain * C + k, mask=inside, other=-float("inf"))
    largest = tl.max(state, 0)
    largest = tl.where(largest == -float("inf"), 0.0, largest)
    tl.store(log_z + chain, largest + tl.log(tl.sum(tl.exp(state - largest), 0)))
    if HAS_PATHS:
        row = emissions + chain * by_chain
        before = tl.load(paths + chain * steps)
        score = tl.load(start + chain * C + before) + tl.load(row + before)
        for t in range(1, length):
            row += by_time
            here = tl.load(paths + chain * steps + t)
            score += tl.load(transitions + before * C + here) + tl.load(row + here)
            before = here
        tl.store(scores + chain, score + tl.load(end + chain * C + before))


@triton.jit
def chain_ends(emissions, by_time, by_chain, transitions, end, lengths, beta, steps,
               C: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """beta."""
    chain = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + chain)
    k = tl.arange(0, WIDTH)
    inside = k < C
    matrix = _transition_matrix(transitions, C, WIDTH)
    row = emissions + chain * by_chain + (length - 1) * by_time
    out = beta + (chain * steps + length - 1) * C
    state = tl.load(end + chain * C + k, mask=inside, other=-float("inf"))
    state += tl.load(row + k, mask=inside, other=0.0)
    tl.store(out + k, state, mask=inside)
    for _ in range(1, length):
        row -= by_time
        out -= C
        state = _log_sum_exp(state[None, :] + matrix, 1) + tl.load(row + k, mask=inside, other=0.0)
        tl.store(out + k, state, mask=inside)


@triton.jit
def chain_gradient(emissions, by_time, by_chain, transitions, end, lengths, paths, alpha, log_z, weights,
                   grad_emissions, grad_transitions, grad_start, grad_end, steps,
                   HAS_PATHS: tl.constexpr, C: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """The gradients of weights (B,) times log Z, less the scores of paths: (B, T, C), (B, C, C), (B, C), (B, C)."""
    chain = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + chain)
    weight, total = tl.load(weights + chain), tl.load(log_z + chain)
    total = tl.where(total == -float("inf"), -1e300, total)  # every path is forbidden: all shares are zero
    i, j = tl.arange(0, WIDTH)[:, None], tl.arange(0, WIDTH)[None, :]
    k = tl.arange(0, WIDTH)
    inside = k < C
    matrix = _transition_matrix(transitions, C, WIDTH)
    moves = tl.zeros((WIDTH, WIDTH), dtype=tl.float64)
    row = emissions + chain * by_chain + (length - 1) * by_time
    place = (chain * steps + length - 1) * C
    of_step = tl.load(row + k, mask=inside, other=0.0)
    state = tl.load(end + chain * C + k, mask=inside, other=-float("inf")) + of_step
    for s in range(length):
        before = tl.load(alpha + place + k, mask=inside, other=-float("inf"))
        share = tl.exp(before + state - of_step - total) * weight
        if HAS_PATHS:
            here = tl.load(paths + chain * steps + length - 1 - s)
            share -= tl.where(k == here, weight, 0.0)
        tl.store(grad_emissions + place + k, share, mask=inside)
        if s == 0:
            tl.store(grad_end + chain * C + k, share, mask=inside)
        if s == length - 1:
            tl.store(grad_start + chain * C + k, share, mask=inside)
        else:
            row -= by_time
            place -= C
            before = tl.load(alpha + place + k, mask=inside, other=-float("inf"))
            ends = state[None, :] + matrix
            moves += tl.exp(before[:, None] - total + ends) * weight
            if HAS_PATHS:
                origin = tl.load(paths + chain * steps + length - 2 - s)
                moves -= tl.where((i == origin) & (j == here), weight, 0.0)
            of_step = tl.load(row + k, mask=inside, other=0.0)
            state = _log_sum_exp(ends, 1) + of_step
    tl.store(grad_transitions + chain * C * C + i * C + j, moves, mask=(i < C) & (j < C))


@triton.jit
def chain_best_paths(emissions, by_time, by_chain, transitions, start, end, lengths, backpointers, paths, scores, steps,
                     C: tl.constexpr, WIDTH: tl.constexpr):  # fmt: skip
    """The best paths (B, T) and their scores (B,); backpointers (B, T, C) int32 are room to work in.

    Of equally good paths the one whose last state is lowest, then the one before it, and so on (Viterbi 1967).
    """
    chain = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + chain)
    k = tl.arange(0, WIDTH)
    inside = k < C
    matrix = _transition_matrix(transitions, C, WIDTH)
    row = emissions + chain * by_chain
    pointers = backpointers + chain * steps * C
    score = tl.load(start + chain * C + k, mask=inside, other=-float("inf"))
    score += tl.load(row + k, mask=inside, other=0.0)
    for t in range(1, length):
        row += by_time
        best, origin = tl.max(score[:, None] + matrix, 0, return_indices=True, return_indices_tie_break_left=True)
        tl.store(pointers + t * C + k, origin, mask=inside)
        score = best + tl.load(row + k, mask=inside, other=0.0)
    score += tl.load(end + chain * C + k, mask=inside, other=-float("inf"))
    best, state = tl.max(score, 0, return_indices=True, return_indices_tie_break_left=True)
    tl.store(scores + chain, best)
    tl.debug_barrier()  # what all threads have written is read by all
    out = paths + chain * steps + length - 1
    pointers += (length - 1) * C
    for _ in range(1, length):
        tl.store(out, state.to(tl.int64))
        state = tl.load(pointers + state)
        out -= 1
        pointers -= C
    tl.store(out, state.to(tl.int64))
