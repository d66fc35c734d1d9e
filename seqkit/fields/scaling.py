"""Scaling of each sequence by itself: what is subtracted from its rows and what they are divided by; and logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

import numpy as np

from seqkit.types import JSON, Index

Subtract: TypeAlias = Literal["nothing", "mean", "last"]
"""What is subtracted from the rows of a sequence, by channel: nothing, their mean, or the last of them."""

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
    "Reversible instance normalization"), the last value is that of NLinear (Zeng et al. 2023, arXiv:2205.13504).

    Args:
        subtract: nothing, mean or last.
        divide_by: nothing, mean (of the absolute values) or deviation; a divisor that is zero counts as 1.
    """

    subtract: Subtract = "nothing"
    divide_by: DivideBy = "nothing"

    def measure(self, rows: np.ndarray, lengths: Index) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted, and the divisor, for each sequence: (B, C) and (B, C), float64.

        They depend on a sequence's own rows only, to the last bit: sums are taken step by step. Missing numbers (NaN)
        do not count; of a channel without any number, 0 is subtracted.

        Args:
            rows: (B, T, C); past a sequence's end they do not matter.
            lengths: (B,) true lengths.
        """
        is_known = ~np.isnan(rows)
        rows = np.where(is_known, rows, 0.0).astype(np.float64)
        end = np.arange(len(rows)), lengths - 1
        counts = np.maximum(is_known.cumsum(axis=1)[end], 1)
        mean = rows.cumsum(axis=1)[end] / counts
        if self.subtract == "last":
            steps = np.where(is_known, np.arange(rows.shape[1])[:, None], 0)
            newest = np.maximum.accumulate(steps, axis=1)[end]
            offset = np.take_along_axis(rows, newest[:, None], axis=1)[:, 0]
        else:
            offset = mean if self.subtract == "mean" else np.zeros_like(mean)
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

    def facts(self) -> JSON:
        """The options, as JSON."""
        return {"subtract": self.subtract, "divide_by": self.divide_by}

    def __str__(self) -> str:
        words = [f"subtracting the {self.subtract} value"] if self.subtract != "nothing" else []
        words += [f"dividing by the {self.divide_by}"] if self.divide_by != "nothing" else []
        return " and ".join(words) or "nothing"
