"""Paired bootstrap and approximate randomisation over the units of a test set, and the noise of seeds.

Two sides were scored on the same examples. The bootstrap (Efron and Tibshirani 1993; paired: Koehn 2004) draws units
with replacement, the same for both sides: its percentiles are the interval of the difference. Approximate randomisation
(Noreen 1989; Riezler and Maxwell 2005) exchanges the sides' answers of random units: the share of such exchanges with a
difference at least as large is the p-value. A unit is what was drawn independently: a sentence, or a speaker with all
recordings.

Both ask whether these models differ on other examples of the kind. Whether two recipes differ also depends on what
another seed would have given: that is Student's or Welch's t-test over the seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from seqkit.reports.decomposition import Decomposed

Array = NDArray[np.float64]

DRAWS: Final = 10_000
"""Resamples, of scores that are sums."""

SLOW_DRAWS: Final = 1_000
"""Resamples, of other scores: each is computed anew."""

LEVEL: Final = 0.05
"""Of significance; the intervals are of 1 - LEVEL."""

_CHUNK: Final = 8_000_000
"""Numbers drawn at a time."""


class Sample(Protocol):
    """The answers of one side, of all its runs, to the same units."""

    @property
    def units(self) -> int:
        """How many units there are."""
        ...

    def scores(self, weights: Array) -> Array:
        """(R,) the mean score over the side's runs if each unit counts as often as `weights` (R, units) say."""
        ...


@dataclass(frozen=True)
class Sums:
    """A side whose score is a function of sums.

    Attributes:
        counts: (S, U, k) of S runs and U units.
        combine: (..., k) -> (...).
    """

    counts: Array
    combine: Callable[[Array], Array]

    @classmethod
    def of(cls, runs: Sequence[Decomposed], groups: NDArray[np.int64]) -> Sums:
        """The runs of a side.

        Args:
            runs: each with a row of counts for each example.
            groups: (n,) the number of the unit that each example belongs to.
        """
        units = int(groups.max()) + 1
        counts = np.zeros((len(runs), units, runs[0].counts.shape[1]))
        for sums, run in zip(counts, runs, strict=True):
            np.add.at(sums, groups, run.counts)
        return cls(counts, runs[0].combine)

    @property
    def units(self) -> int:
        return int(self.counts.shape[1])

    def scores(self, weights: Array) -> Array:
        scores: Array = np.mean([self.combine(weights @ run) for run in self.counts], axis=0)
        return scores


@dataclass(frozen=True)
class Recomputed:
    """A side whose score is computed anew from the examples of each resample.

    Attributes:
        metrics: of each run: the score of examples with these numbers.
        members: the numbers of the examples in each unit.
    """

    metrics: Sequence[Callable[[NDArray[np.int64]], float]]
    members: Sequence[NDArray[np.int64]]

    @property
    def units(self) -> int:
        return len(self.members)

    def scores(self, weights: Array) -> Array:
        rows = []
        for row in weights.astype(np.int64):
            chosen = np.repeat(np.arange(len(row)), row).tolist()
            examples = np.concatenate([self.members[unit] for unit in chosen])
            rows.append(float(np.mean([metric(examples) for metric in self.metrics])))
        return np.array(rows)


@dataclass(frozen=True)
class Interval:
    """A score or a difference, with the interval that holds it with probability 1 - LEVEL."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


@dataclass(frozen=True)
class PairedTest:
    """The difference between two sides, second minus first.

    Attributes:
        difference: with the interval of the paired bootstrap.
        p: of approximate randomisation; of the bootstrap, where the two cannot be exchanged.
        draws: resamples.
        units: that were resampled.
    """

    difference: Interval
    p: float
    draws: int
    units: int

    def shows_difference(self, p: float | None = None) -> bool:
        """Whether a difference is shown: p (adjusted, if given) is below LEVEL, and the interval is without 0."""
        return (self.p if p is None else p) < LEVEL and self.difference.excludes_zero


@dataclass(frozen=True)
class SeedTest:
    """What the runs of two sides differ by, beside what runs of one side differ by among themselves.

    Attributes:
        difference: of the means, second minus first, with its interval.
        p: of Welch's t-test, or of Student's where one side has one run.
        spread: standard deviation (n - 1) of the runs of each side; None of one run.
    """

    difference: Interval
    p: float
    spread: tuple[float | None, float | None]


def draw_weights(units: int, draws: int, rng: np.random.Generator) -> Iterator[Array]:
    """(r, units) in pieces: how often each unit is in a resample of as many units, drawn with replacement."""
    size = max(1, min(draws, _CHUNK // max(1, units)))
    for start in range(0, draws, size):
        count = min(size, draws - start)
        drawn = rng.integers(0, units, (count, units)) + np.arange(count)[:, None] * units
        yield np.bincount(drawn.reshape(-1), minlength=count * units).reshape(count, units).astype(np.float64)


def resample(samples: Sequence[Sample], *, seed: int = 0, draws: int | None = None) -> list[Array]:
    """The scores (R,) of each side on the same resamples: of all scores of all sides, units are drawn once.

    Args:
        samples: over the same units; of scores that are all sums, or all computed anew.
        seed: of the draws.
        draws: R; None: as many as the kind of the samples allows.
    """
    rng, draws = np.random.default_rng(seed), draws or default_draws(samples[0])
    rows = [[sample.scores(weights) for sample in samples] for weights in draw_weights(samples[0].units, draws, rng)]
    return [np.concatenate(columns) for columns in zip(*rows, strict=True)]


def bootstrap(sample: Sample, *, drawn: Array | None = None, draws: int | None = None) -> Interval:
    """A side's score with its percentile interval; `drawn` is what `resample` gave for it, if that is at hand."""
    return _interval(_score(sample), drawn if drawn is not None else resample([sample], draws=draws)[0])


def paired_test(
    first: Sample,
    second: Sample,
    *,
    drawn: tuple[Array, Array] | None = None,
    seed: int = 0,
    draws: int | None = None,
) -> PairedTest:
    """Whether the second side's score differs from the first's on units like these.

    Args:
        first, second: the sides.
        drawn: what `resample` gave for them, if that is at hand.
        seed: of the draws.
        draws: how many there are; None: as many as the kind of the samples allows.

    Raises:
        ValueError: the two have not the same number of units.
    """
    if first.units != second.units:
        raise ValueError(f"{first.units} units on one side and {second.units} on the other")
    draws = draws or default_draws(first)
    observed = _score(second) - _score(first)
    before, after = drawn if drawn is not None else resample([first, second], seed=seed, draws=draws)
    differences = after - before
    if isinstance(first, Sums) and isinstance(second, Sums):
        p = _randomisation(first, second, observed, np.random.default_rng([seed, 1]), draws)
    else:
        finite = differences[np.isfinite(differences)]
        tail = min((finite <= 0).sum(), (finite >= 0).sum()) if len(finite) else draws
        p = min(1.0, 2 * (float(tail) + 1) / (draws + 1))
    return PairedTest(_interval(observed, differences), p, draws, first.units)


def default_draws(sample: Sample) -> int:
    """How many resamples are drawn of this side."""
    return DRAWS if isinstance(sample, Sums) else SLOW_DRAWS


def _randomisation(first: Sums, second: Sums, observed: float, rng: np.random.Generator, draws: int) -> float:
    """The share of exchanges whose difference is at least as large as the observed one, either way.

    Runs are exchanged in pairs; where one side has more of them, the mean of its runs stands for each.
    """
    a, b = first.counts, second.counts
    if len(a) != len(b):
        a, b = a.mean(axis=0, keepdims=True), b.mean(axis=0, keepdims=True)
        observed = float(_mean_score(b.sum(axis=1), second.combine) - _mean_score(a.sum(axis=1), first.combine))
    extreme = 0
    size = max(1, min(draws, _CHUNK // max(1, first.units)))
    for start in range(0, draws, size):
        shape = (min(size, draws - start), first.units)
        exchanged = rng.integers(0, 2, shape, dtype=np.int8).astype(np.float64)
        moved = [exchanged @ (other - one) for one, other in zip(a, b, strict=True)]
        new_first = np.mean([first.combine(one.sum(axis=0) + move) for one, move in zip(a, moved, strict=True)], axis=0)
        new_second = np.mean(
            [second.combine(other.sum(axis=0) - move) for other, move in zip(b, moved, strict=True)], axis=0
        )
        # Differences that are equal but for rounding count: otherwise p would depend on the order of a sum.
        extreme += int((np.abs(new_second - new_first) >= abs(observed) - 1e-12).sum())
    return (extreme + 1) / (draws + 1)


def _mean_score(sums: Array, combine: Callable[[Array], Array]) -> float:
    return float(np.mean(combine(sums)))


def _score(sample: Sample) -> float:
    """With each unit once."""
    return float(sample.scores(np.ones((1, sample.units)))[0])


def _interval(value: float, drawn: Array) -> Interval:
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return Interval(value, math.nan, math.nan)
    low, high = np.quantile(finite, [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(value, float(low), float(high))


def seed_test(first: Sequence[float], second: Sequence[float]) -> SeedTest | None:
    """Whether the means of two groups of runs differ by more than runs of one group do; None of one run each.

    With several runs on both sides it is Welch's test; with one run on a side, its spread is taken to be the other's.
    """
    if len(first) < 2 and len(second) < 2:
        return None
    from scipy.stats import t as student

    counts = (len(first), len(second))
    spread = tuple(float(np.std(values, ddof=1)) if len(values) > 1 else None for values in (first, second))
    if spread[0] is not None and spread[1] is not None:
        parts = [deviation**2 / count for deviation, count in zip((spread[0], spread[1]), counts, strict=True)]
        error = math.sqrt(sum(parts))
        below = sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
        freedom = sum(parts) ** 2 / below if below > 0 else float(sum(counts) - 2)
    else:
        known = spread[0] if spread[0] is not None else spread[1]
        assert known is not None
        error = known * math.sqrt(1 / counts[0] + 1 / counts[1])
        freedom = float(max(counts) - 1)
    difference = float(np.mean(second) - np.mean(first))
    if error == 0.0:  # every run of a side has the same score
        return SeedTest(Interval(difference, difference, difference), float(difference == 0.0), (spread[0], spread[1]))
    half = float(student.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * student.sf(abs(difference) / error, freedom))
    return SeedTest(Interval(difference, difference - half, difference + half), p, (spread[0], spread[1]))


def holm(values: Sequence[float]) -> list[float]:
    """P-values of several comparisons, adjusted so that a wrong claim is as rare as for one (Holm 1979)."""
    order = np.argsort(values)
    adjusted = [0.0] * len(values)
    most = 0.0
    for rank, index in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = most
    return adjusted
