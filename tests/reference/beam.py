"""Beam search as its documentation describes it, one example at a time, and exhaustive search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

LogProbs = Callable[[Sequence[int]], Sequence[float]]
"""From the symbols so far to the logarithm of each next symbol's probability."""

Result = tuple[float, float, list[int]]
"""Score, total, symbols without the end."""


def normalised(total: float, length: int, alpha: float) -> float:
    """Wu et al. 2016, equation 14, without coverage; the end counts."""
    return total / (((5 + length) ** alpha) / ((5 + 1) ** alpha))


def exhaustive(
    log_probs: LogProbs, symbols: Sequence[int], *, end: int, limit: int, alpha: float = 0.0, min_length: int = 0
) -> list[Result]:
    """Every text of at most `limit` symbols with its end, the best first."""
    results: list[Result] = []

    def extend(text: list[int], total: float) -> None:
        next_log_probs = log_probs(text)
        if len(text) >= min_length:
            end_total = total + next_log_probs[end]
            results.append((normalised(end_total, len(text) + 1, alpha), end_total, text))
        if len(text) + 1 < limit:
            for symbol in symbols:
                extend([*text, symbol], total + next_log_probs[symbol])

    extend([], 0.0)
    return sorted(results, key=lambda result: -result[0])


def beam_search(
    log_probs: LogProbs,
    symbols: Sequence[int],
    *,
    end: int,
    limit: int,
    beams: int,
    alpha: float = 0.0,
    best: int = 1,
    min_length: int = 0,
    early_stop: bool = False,
) -> list[Result]:
    """As the docstring of `seqkit.decoding.beam_search.beam_search` describes it."""
    unfinished: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[Result] = []
    greedy: list[int] | None = []
    for length in range(1, limit + 1):
        candidates: list[tuple[float, list[int], int]] = []
        for total, text in unfinished:
            next_log_probs = log_probs(text)
            at_limit = length == limit
            for symbol in (end,) if at_limit else (*symbols, end):
                if symbol != end or len(text) >= min_length:
                    candidates.append((total + next_log_probs[symbol], text, symbol))
        candidates.sort(key=lambda candidate: -candidate[0])
        of_greedy = next((candidate for candidate in candidates if candidate[1] == greedy), None)
        for candidate in candidates[:beams] + [other for other in candidates[beams:] if other is of_greedy]:
            total, text, symbol = candidate
            if symbol == end:
                finished.append((normalised(total, length, alpha), total, text))
        continuing = [candidate for candidate in candidates if candidate[2] != end]
        kept = continuing[:beams]
        greedy = None
        if of_greedy is not None and of_greedy in continuing:
            kept = kept if of_greedy in kept else [*kept[:-1], of_greedy]
            greedy = [*of_greedy[1], of_greedy[2]]
        unfinished = [(total, [*text, symbol]) for total, text, symbol in kept]
        if ((early_stop or beams == 1) and len(finished) >= beams) or not unfinished:
            break
        ranked = sorted((result[0] for result in finished), reverse=True)
        worst = ranked[best - 1] if len(ranked) >= best else -inf
        if worst >= normalised(unfinished[0][0], limit, alpha):
            break
    return sorted(finished, key=lambda result: -result[0])[:best]
