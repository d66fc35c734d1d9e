"""Scaling of each sequence by itself: what is subtracted from its rows, seasons too, and divided by; and logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

import numpy as np

from seqkit.types import JSON, Index

Subtract: TypeAlias = Literal["nothing", "mean", "last", "smoothed"]
"""What is subtracted from the rows of a sequence, by channel: nothing, their mean, the last of them, or their level by
exponential smoothing."""

DivideBy: TypeAlias = Literal["nothing", "mean", "deviation"]
"""What the rows of a sequence are divided by: nothing, their mean distance from zero, or their standard deviation."""


Transform: TypeAlias = Literal["log", "log1p"]
"""What is learned in place of each value: its logarithm, or that of 1 more than it."""

_LARGEST: Final = 700.0
"""A logarithm beyond this is taken as this when it is undone: more is no number in double precision."""


def to_logarithms(transform: Transform, rows: np.ndarray) -> np.ndarray:
    """The logarithms of rows (T, C); NaN stays NaN.

    Raises:
        ValueError: a value has none.
    """
    least = 0.0 if transform == "log" else -1.0
    is_wrong = rows <= least
    if is_wrong.any():
        step, channel = (int(position[0]) for position in is_wrong.nonzero())
        place = f"step {step + 1}" + (f", channel {channel + 1}" if rows.shape[1] > 1 else "")
        hint = "take log1p, of which 0 is 0, or no logarithm" if transform == "log" else "take no logarithm"
        raise ValueError(f"has {rows[step, channel]:g} at {place}, and {transform} needs more than {least:g}: {hint}")
    return np.asarray(np.log(rows) if transform == "log" else np.log1p(rows))


def from_logarithms(transform: Transform, rows: np.ndarray) -> np.ndarray:
    """The values of which these are the logarithms."""
    rows = np.minimum(rows, _LARGEST)
    return np.asarray(np.exp(rows) if transform == "log" else np.expm1(rows))


@final
@dataclass(frozen=True)
class Scaling:
    """How the rows of a sequence are scaled by numbers of the sequence itself, by channel. Invertible.

    Neural forecasts of series of different sizes need it: the mean absolute value as a divisor is that of DeepAR
    (Salinas et al. 2020, arXiv:1704.04110), mean and deviation are those of instance normalisation (Kim et al. 2022,
    "Reversible instance normalization"), the last value is that of NLinear (Zeng et al. 2023, arXiv:2205.13504). Smyl
    2020 (doi:10.1016/j.ijforecast.2019.03.017) smooths levels and seasons exponentially, and trains how.

    Args:
        subtract: nothing, mean, last, or smoothed: the mean of the rows with weights (1 - smoothing)^age.
        divide_by: nothing, mean (of the absolute values) or deviation; a divisor that is zero counts as 1.
        seasons: lengths of seasons, in steps. The seasonal pattern of each is then subtracted from the rows, and of the
            next values; see `measure_seasons`.
        smoothing: how fast the weights of `smoothed` fall.
    """

    subtract: Subtract = "nothing"
    divide_by: DivideBy = "nothing"
    seasons: tuple[int, ...] = ()
    smoothing: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 < self.smoothing < 1.0:
            raise ValueError("smoothing is between 0 and 1")
        if any(season < 2 for season in self.seasons):
            raise ValueError("a season has at least 2 steps")

    def measure(self, rows: np.ndarray, lengths: Index) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted, and the divisor, for each sequence: (B, C) and (B, C), float64.

        They depend on a sequence's own rows only, to the last bit: sums are taken step by step. Missing numbers (NaN)
        do not count; of a channel without any number, 0 is subtracted.

        Args:
            rows: (B, T, C); past a sequence's end they do not matter.
            lengths: (B,) true lengths.
        """
        offset = self._level(rows, lengths)
        is_known = ~np.isnan(rows)
        rows = np.where(is_known, rows, 0.0).astype(np.float64)
        end = np.arange(len(rows)), lengths - 1
        counts = np.maximum(is_known.cumsum(axis=1)[end], 1)
        mean = rows.cumsum(axis=1)[end] / counts
        if self.divide_by == "nothing":
            return offset, np.ones_like(mean)
        if self.divide_by == "mean":
            divisor = np.abs(rows).cumsum(axis=1)[end] / counts
        else:
            squares = np.where(is_known, (rows - mean[:, None]) ** 2, 0.0)
            divisor = np.sqrt(squares.cumsum(axis=1)[end] / counts)
        # Rounding gives a constant channel a tiny deviation, which is noise.
        divisor[divisor <= 1e-12 * np.abs(mean)] = 1.0
        return offset, divisor

    def _level(self, rows: np.ndarray, lengths: Index) -> np.ndarray:
        """What is subtracted: (B, C) from (B, T, C)."""
        is_known = ~np.isnan(rows)
        rows = np.where(is_known, rows, 0.0).astype(np.float64)
        end, steps = (np.arange(len(rows)), lengths - 1), np.arange(rows.shape[1])
        if self.subtract == "nothing":
            return np.zeros((len(rows), rows.shape[2]))
        if self.subtract == "last":
            newest = np.maximum.accumulate(np.where(is_known, steps[:, None], 0), axis=1)[end]
            return np.asarray(np.take_along_axis(rows, newest[:, None], axis=1)[:, 0])
        if self.subtract == "mean":
            return np.asarray(rows.cumsum(axis=1)[end] / np.maximum(is_known.cumsum(axis=1)[end], 1))
        weights = is_known * ((1.0 - self.smoothing) ** np.maximum(lengths[:, None] - 1 - steps, 0))[..., None]
        total = weights.cumsum(axis=1)[end]
        return np.asarray((weights * rows).cumsum(axis=1)[end] / np.where(total > 0.0, total, 1.0))

    def measure_seasons(self, rows: np.ndarray, lengths: Index) -> list[np.ndarray]:
        """The seasonal pattern of each sequence, (B, m, C) float64 for each season of m steps.

        A pattern is the mean over the k whole seasons at the end of a sequence of how far each step is from the mean of
        its season. It is shrunk by max(0, 1 - (w / k) / b), with b its variance and w that of single
        seasons around it, after James and Stein 1961 (for seasons, Miller and Williams 2003,
        doi:10.1016/S0169-2070(02)00077-8): what may be chance is not taken for a season. Of less than two seasons it is
        zero. A second season is measured on what the first leaves. Last, a number is added to the pattern so that
        `subtract`, of the sequence without its seasons, is zero.

        Like `measure`, it depends on a sequence's own rows only, to the last bit, and missing numbers do not count.

        Args:
            rows: (B, T, C) scaled by `measure`; past a sequence's end they do not matter.
            lengths: (B,) true lengths.
        """
        patterns: list[np.ndarray] = []
        steps = np.arange(rows.shape[1]) - lengths[:, None]
        rows = rows.astype(np.float64)
        for season in self.seasons:
            pattern = np.zeros((len(rows), season, rows.shape[2]))
            for count in np.unique(lengths // season):
                if count >= 2:
                    chosen = np.flatnonzero(lengths // season == count)
                    last = lengths[chosen, None] - count * season + np.arange(count * season)
                    pattern[chosen] = _pattern(rows[chosen[:, None], last].reshape(len(chosen), count, season, -1))
            pattern += self._level(rows - seasons_at([pattern], steps), lengths)[:, None]
            patterns.append(pattern)
            rows = rows - seasons_at([pattern], steps)
        return patterns

    def facts(self) -> JSON:
        """The options, as JSON."""
        facts: JSON = {"subtract": self.subtract, "divide_by": self.divide_by}
        facts |= {"smoothing": self.smoothing} if self.subtract == "smoothed" else {}
        return facts | ({"seasons": list(self.seasons)} if self.seasons else {})

    def __str__(self) -> str:
        words = [f"subtracting the {self.subtract} value"] if self.subtract != "nothing" else []
        words += [f"dividing by the {self.divide_by}"] if self.divide_by != "nothing" else []
        words += ["subtracting its seasons"] if self.seasons else []
        return " and ".join(words) or "nothing"


def seasons_at(patterns: Sequence[np.ndarray], steps: Index) -> np.ndarray:
    """(B, N, C): the sum of seasonal patterns (B, m, C) at some steps.

    Args:
        patterns: of `Scaling.measure_seasons`.
        steps: (N,) or (B, N), counted from the end of each sequence: -1 is its last step, 0 the next one.
    """
    places = [np.broadcast_to(steps % pattern.shape[1], (len(pattern), steps.shape[-1])) for pattern in patterns]
    values = [
        np.take_along_axis(pattern, place[..., None], axis=1) for pattern, place in zip(patterns, places, strict=True)
    ]
    return np.asarray(sum(values))


def _pattern(rows: np.ndarray) -> np.ndarray:
    """(B, m, C), of k >= 2 seasons (B, k, m, C)."""
    is_known = ~np.isnan(rows)
    rows = np.where(is_known, rows, 0.0)
    means = _total(rows, 2) / np.maximum(_total(is_known, 2), 1)
    rows = np.where(is_known, rows - means[:, :, None], 0.0)
    counts = _total(is_known, 1)
    pattern = _total(rows, 1) / np.maximum(counts, 1)
    pattern = np.where(counts > 0, pattern - (_total(pattern, 1) / pattern.shape[1])[:, None], 0.0)
    around = np.where(is_known, rows - pattern[:, None], 0.0)
    known, (k, m) = _total(counts, 1), rows.shape[1:3]
    within = _total(_total(around**2, 1), 1) / np.maximum(known - k - m + 1, 1)
    between = _total(pattern**2, 1) / (m - 1)
    chance = within * m / np.maximum(known, 1)
    share = np.maximum(0.0, 1.0 - chance / np.where(between > 0.0, between, 1.0))
    return np.asarray(pattern * share[:, None])


def _total(array: np.ndarray, axis: int) -> np.ndarray:
    """The sum, taken step by step, so that it is the same to the last bit in any batch."""
    return np.asarray(array.cumsum(axis=axis).take(-1, axis=axis))
