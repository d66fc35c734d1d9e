"""Linear chains by enumerating every path: the slow twin of `seqkit.heads.crf_algorithms`."""

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
    """Every path that is not barred, and its score."""
    paths = product(range(len(start)), repeat=len(emissions))
    every = {path: score(path, emissions, transitions, start, end) for path in paths}
    return {path: value for path, value in every.items() if value > -math.inf}


def log_partition(every: dict[Path, float]) -> float:
    top = max(every.values())
    return top + math.log(math.fsum(math.exp(value - top) for value in every.values()))


def probability(every: dict[Path, float], first: int, states: Path) -> float:
    """That exactly these states stand at the steps from `first` on."""
    total = log_partition(every)
    return math.fsum(
        math.exp(value - total) for path, value in every.items() if path[first : first + len(states)] == states
    )


def ranked(every: dict[Path, float], k: int) -> list[tuple[Path, float]]:
    """The k best paths, best first."""
    return sorted(every.items(), key=lambda item: -item[1])[:k]
