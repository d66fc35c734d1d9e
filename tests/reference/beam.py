"""Beam search by its words, one example at a time, and the search through everything: slow and plain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

LogProbs = Callable[[Sequence[int]], Sequence[float]]
"""From the symbols said so far to the logarithm of each next symbol's probability."""

Found = tuple[float, float, list[int]]
"""Score, total, symbols without the end."""


def normalised(total: float, length: int, alpha: float) -> float:
    """Wu et al. 2016, equation 14, without coverage; the end counts."""
    return total / (((5 + length) ** alpha) / ((5 + 1) ** alpha))


def exhaustive(
    log_probs: LogProbs, symbols: Sequence[int], *, end: int, limit: int, alpha: float = 0.0, min_length: int = 0
) -> list[Found]:
    """Every text of at most `limit` symbols with its end, the best first."""
    found: list[Found] = []

    def grow(text: list[int], total: float) -> None:
        shares = log_probs(text)
        if len(text) >= min_length:
            whole = total + shares[end]
            found.append((normalised(whole, len(text) + 1, alpha), whole, text))
        if len(text) + 1 < limit:
            for symbol in symbols:
                grow([*text, symbol], total + shares[symbol])

    grow([], 0.0)
    return sorted(found, key=lambda each: -each[0])


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
) -> list[Found]:
    """As `seqkit.decoding.beam_search.beam_search` says that it goes about it, written from that text."""
    going: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[Found] = []
    for length in range(1, limit + 1):
        grown: list[tuple[float, list[int], int]] = []
        for total, text in going:
            shares = log_probs(text)
            at_limit = length == limit
            for symbol in (end,) if at_limit else (*symbols, end):
                if symbol != end or len(text) >= min_length:
                    grown.append((total + shares[symbol], text, symbol))
        grown.sort(key=lambda each: -each[0])
        for total, text, symbol in grown[:beams]:
            if symbol == end:
                finished.append((normalised(total, length, alpha), total, text))
        going = [(total, [*text, symbol]) for total, text, symbol in grown if symbol != end][:beams]
        if len(finished) >= beams or not going:
            break
        ranked = sorted((each[0] for each in finished), reverse=True)
        worst = ranked[best - 1] if len(ranked) >= best else -inf
        if worst >= normalised(going[0][0], limit, alpha):
            break
    return sorted(finished, key=lambda each: -each[0])[:best]
