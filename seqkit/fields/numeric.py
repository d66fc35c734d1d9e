"""Numbers as targets: `Values` of a sequence, `StepValues` of each step; and what fields of numbers have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self, final

import numpy as np

from seqkit.types import JSON, Field

_BLOCK = 1 << 16
"""Rows are collected to about so many numbers before they enter the running mean."""


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel in the training data. A constant channel has deviation 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, rows: Iterable[np.ndarray], size: int) -> Scale:
        """From arrays (n, size), block by block (Chan, Golub and LeVeque 1979), so any amount of data fits in memory.

        Raises:
            ValueError: there are no rows.
        """
        count, mean, squares = 0, np.zeros(size), np.zeros(size)
        for block in _blocks(rows):
            n, block_mean = len(block), block.mean(axis=0)
            shift = block_mean - mean
            squares += ((block - block_mean) ** 2).sum(axis=0) + shift**2 * (count * n / (count + n))
            mean += shift * (n / (count + n))
            count += n
        if not count:
            raise ValueError("training has no value at all")
        deviation = np.sqrt(squares / count)
        # Rounding gives a constant channel a tiny deviation, which is noise.
        deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0
        return cls(tuple(mean.tolist()), tuple(deviation.tolist()))

    def first(self, count: int) -> Scale:
        """That of the first channels."""
        return Scale(self.mean[:count], self.deviation[:count])

    def of_last(self, count: int) -> Scale:
        """The same for the last channels, and one that leaves the others as they are."""
        rest = len(self.mean) - count
        return Scale((0.0,) * rest + self.mean[rest:], (1.0,) * rest + self.deviation[rest:])

    def standardise(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows - np.array(self.mean)) / np.array(self.deviation))

    def to_units(self, rows: np.ndarray) -> np.ndarray:
        """The rows in the units of the data, float64."""
        return np.asarray(rows.astype(np.float64) * np.array(self.deviation) + np.array(self.mean))


@final
@dataclass(frozen=True)
class Values(Field):
    """A number, or a fixed count of numbers, to be predicted: (C,) float32, C = 1 for a single number.

    Args:
        width: None: a value is one number. C: a value is a list of C numbers.
        standardise: subtract the mean and divide by the standard deviation of the training data; `decode` undoes it.
    """

    ragged: ClassVar[bool] = False
    unit = "values"

    width: int | None = None
    standardise: bool = field(default=True, kw_only=True)
    scale: Scale | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        if not self.standardise:
            return self
        return replace(self, scale=Scale.fit((self._row(value)[None] for value in values), self.size))

    def encode(self, value: Any) -> np.ndarray:
        """(C,) float32. Raises ValueError for NaN, infinity, anything that is not a number, or a wrong count."""
        return single_precision(scale_of(self).standardise(self._row(value)) if self.standardise else self._row(value))

    def decode(self, array: np.ndarray) -> float | list[float]:
        """The number, or list of numbers, in the units of the data."""
        row = np.asarray(array).reshape(self.size)
        numbers = (scale_of(self).to_units(row) if self.standardise else row.astype(np.float64)).tolist()
        return float(numbers[0]) if self.width is None else [float(number) for number in numbers]

    @property
    def size(self) -> int:
        return 1 if self.width is None else self.width

    def state(self) -> JSON:
        return scale_state(self.scale)

    def restore(self, state: JSON) -> Self:
        return replace(self, scale=restored_scale(state))

    def _row(self, value: Any) -> np.ndarray:
        row = numbers_of(value)
        if row.shape != (() if self.width is None else (self.width,)):
            expected = "one number" if self.width is None else f"a list of {self.width} numbers"
            raise ValueError(f"should be {expected}, but has shape {row.shape}")
        return row.reshape(self.size)


@final
@dataclass(frozen=True)
class StepValues(Field):
    """A number, or a fixed count of numbers, for every step of the input: (T, C) float32.

    A value is a list or an array. NaN is a number that is not known: it takes no part in losses. `Prediction.value` is
    a list, too, as long as the target: a metric that wants single numbers is given those of all steps.

    Args:
        width: None: a value is a list of numbers. C: a value is a list of lists of C numbers.
        standardise: subtract the mean and divide by the standard deviation of the training data; `decode` undoes it.
    """

    aligned: ClassVar[bool] = True
    unit = "values"

    width: int | None = None
    standardise: bool = field(default=True, kw_only=True)
    scale: Scale | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        if not self.standardise:
            return self
        rows = (self._rows(value) for value in values)
        return replace(self, scale=Scale.fit((row[np.isfinite(row).all(axis=1)] for row in rows), self.size))

    def encode(self, value: Any) -> np.ndarray:
        """(T, C) float32. Raises ValueError for infinity, anything that is not a number, or a wrong width."""
        rows = self._rows(value)
        return single_precision(scale_of(self).standardise(rows) if self.standardise else rows, missing=True)

    def decode(self, array: np.ndarray) -> list[float] | list[list[float]]:
        """The numbers in the units of the data."""
        rows = np.asarray(array).reshape(-1, self.size)
        rows = scale_of(self).to_units(rows) if self.standardise else rows.astype(np.float64)
        numbers: list[Any] = (rows[:, 0] if self.width is None else rows).tolist()
        return numbers

    @property
    def size(self) -> int:
        return 1 if self.width is None else self.width

    def state(self) -> JSON:
        return scale_state(self.scale)

    def restore(self, state: JSON) -> Self:
        return replace(self, scale=restored_scale(state))

    def _rows(self, value: Any) -> np.ndarray:
        rows = numbers_of(value, missing=True)
        if rows.size == 0:
            raise ValueError("is empty")
        if rows.shape != ((len(rows),) if self.width is None else (len(rows), self.width)):
            expected = "one number" if self.width is None else f"{self.width} numbers"
            raise ValueError(f"should have {expected} a step, but has shape {rows.shape}")
        return rows.reshape(-1, self.size)


def numbers_of(value: Any, *, missing: bool = False) -> np.ndarray:
    """The numbers as float64, in the shape of the value. Raises ValueError unless all are finite numbers.

    Args:
        missing: NaN is allowed: a number that is not known.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"has steps of different widths{_odd_step(value)}") from None
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"should be numbers, but is {'missing' if value is None else repr(value)[:60]}")
    array = array.astype(np.float64)
    is_wrong = np.isinf(array) if missing else ~np.isfinite(array)
    if is_wrong.any():
        raise ValueError(f"has {array[is_wrong][0]}{_places(is_wrong)}, which is not a finite number")
    return array


def _places(is_wrong: np.ndarray) -> str:
    """` at step 5, channel 3 (and 2 more)`: where the first of some wrong numbers is, in an array of steps."""
    if is_wrong.ndim not in (1, 2):
        return ""
    first = [int(place) + 1 for place in np.argwhere(is_wrong)[0]]
    more = int(is_wrong.sum()) - 1
    place = f" at step {first[0]:,}" if is_wrong.ndim == 1 else f" at step {first[0]:,}, channel {first[1]:,}"
    return place + (f" (and {more:,} more)" if more else "")


def _odd_step(value: Any) -> str:
    """`: the width of step 5 is 2, that of step 1 is 3`: the first step that is not as wide as the first."""
    try:
        widths = [np.size(step) for step in value]
    except (TypeError, ValueError):
        return ""
    odd = next((number for number, width in enumerate(widths) if width != widths[0]), None)
    return "" if odd is None else f": the width of step {odd + 1:,} is {widths[odd]:,}, that of step 1 is {widths[0]:,}"


def single_precision(array: np.ndarray, *, missing: bool = False) -> np.ndarray:
    """float32. Raises ValueError for a number that is too large for it, and for NaN unless it may be missing."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    is_wrong = np.isinf(single) if missing else ~np.isfinite(single)
    if is_wrong.any():
        raise ValueError(f"has {array[is_wrong][0]}, which is too large for single precision")
    return single


def _blocks(rows: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """The same rows in fewer, larger arrays."""
    collected: list[np.ndarray] = []
    size = 0
    for array in rows:
        collected.append(array)
        size += array.size
        if size >= _BLOCK:
            yield np.concatenate(collected)
            collected, size = [], 0
    if collected:
        yield np.concatenate(collected)


class Scaled(Protocol):
    """A field that has learned a scale."""

    @property
    def scale(self) -> Scale | None: ...


def scale_of(field: Scaled) -> Scale:
    """What a field has learned. Raises RuntimeError if it is not fitted."""
    if field.scale is None:
        raise RuntimeError("the field is not fitted yet")
    return field.scale


def scale_state(scale: Scale | None) -> JSON:
    """A scale as JSON."""
    return None if scale is None else {"mean": list(scale.mean), "deviation": list(scale.deviation)}


def restored_scale(state: JSON) -> Scale | None:
    """The scale again."""
    return None if state is None else Scale(tuple(state["mean"]), tuple(state["deviation"]))
