"""Linear chains by enumerating all paths: the reference for `seqkit.heads.crf_algorithms`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

Row = Sequence[float]
Path = tuple[int, ...]


def score(path: Path, emissions: Sequence[Row], transitions: Sequence[Row], start: Row, end: Row) -> float:
    """The score of one path of one sequence."""
    total = start[path[0]] + end[path[-1]]
    for step, state in enumerate(path):
        total += emissions[step][state]
        if step:
            total += transitions[path[step - 1]][state]
    return total


def scores(emissions: Sequence[Row], transitions: Sequence[Row], start: Row, end: Row) -> dict[Path, float]:
    """The score of each path that is not forbidden."""
    paths = product(range(len(start)), repeat=len(emissions))
    result = {path: score(path, emissions, transitions, start, end) for path in paths}
    return {path: value for path, value in result.items() if value > -math.inf}


def log_partition(paths: dict[Path, float]) -> float:
    """log Z."""
    top = max(paths.values())
    return top + math.log(math.fsum(math.exp(value - top) for value in paths.values()))


def probability(paths: dict[Path, float], first: int, states: Path) -> float:
    """The probability of exactly these states at the steps from `first` on."""
    total = log_partition(paths)
    return math.fsum(
        math.exp(value - total) for path, value in paths.items() if path[first : first + len(states)] == states
    )


def ranked(paths: dict[Path, float], k: int) -> list[tuple[Path, float]]:
    """The k best paths, best first."""
    return sorted(paths.items(), key=lambda item: -item[1])[:k]
