"""Numbers: `Values`, `StepValues` and `NextValues` as targets, `Vectors` as inputs with one row a time step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from seqkit.fields.scaling import Scaling
from seqkit.types import JSON, Field

if TYPE_CHECKING:
    from torch import nn

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
        return _single_precision(_scale(self).standardise(self._row(value)) if self.standardise else self._row(value))

    def decode(self, array: np.ndarray) -> float | list[float]:
        """The number, or list of numbers, in the units of the data."""
        row = np.asarray(array).reshape(self.size)
        numbers = (_scale(self).to_units(row) if self.standardise else row.astype(np.float64)).tolist()
        return float(numbers[0]) if self.width is None else [float(number) for number in numbers]

    @property
    def size(self) -> int:
        return 1 if self.width is None else self.width

    def state(self) -> JSON:
        return _state(self.scale)

    def restore(self, state: JSON) -> Self:
        return replace(self, scale=_restored_scale(state))

    def _row(self, value: Any) -> np.ndarray:
        row = _numbers(value)
        if row.shape != (() if self.width is None else (self.width,)):
            expected = "one number" if self.width is None else f"a list of {self.width} numbers"
            raise ValueError(f"should be {expected}, but has shape {row.shape}")
        return row.reshape(self.size)


@final
@dataclass(frozen=True)
class StepValues(Field):
    """A number, or a fixed count of numbers, for every step of the input: (T, C) float32.

    A value is a list or an array. NaN is a number that is not known: it takes no part in losses.

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
        return _single_precision(_scale(self).standardise(rows) if self.standardise else rows, missing=True)

    def decode(self, array: np.ndarray) -> list[float] | list[list[float]]:
        """The numbers in the units of the data."""
        rows = np.asarray(array).reshape(-1, self.size)
        rows = _scale(self).to_units(rows) if self.standardise else rows.astype(np.float64)
        numbers: list[Any] = (rows[:, 0] if self.width is None else rows).tolist()
        return numbers

    @property
    def size(self) -> int:
        return 1 if self.width is None else self.width

    def state(self) -> JSON:
        return _state(self.scale)

    def restore(self, state: JSON) -> Self:
        return replace(self, scale=_restored_scale(state))

    def _rows(self, value: Any) -> np.ndarray:
        rows = _numbers(value, missing=True)
        if rows.size == 0:
            raise ValueError("is empty")
        if rows.shape != ((len(rows),) if self.width is None else (len(rows), self.width)):
            expected = "one number" if self.width is None else f"{self.width} numbers"
            raise ValueError(f"should have {expected} a step, but has shape {rows.shape}")
        return rows.reshape(-1, self.size)


@final
@dataclass(frozen=True)
class NextValues(Field):
    """The values that come next in the input: its next `horizon` steps. Nothing is stored for it.

    An example is a whole series (`Vectors`); each window of it is an input of its own, of at most `history` steps, with
    the steps after it as its target. Windows are views of the stored series. The last window ends `horizon` steps
    before the series, and others every `stride` steps before it; for test, at each step (a rolling evaluation). A
    prediction for a new series is made from its last window.

    Args:
        horizon: H, the steps that are predicted.
        history: the most steps of an input.
        shortest: the fewest in training, at the beginning of a series; None: `history`, or all of a shorter series. For
            dev and test always None: what is predicted there is what comes after the past that was read.
        stride: steps from one window to the next in train and dev.
    """

    derived: ClassVar[bool] = True
    ragged: ClassVar[bool] = False
    unit = "values"

    horizon: int = 1
    history: int = field(default=100, kw_only=True)
    shortest: int | None = field(default=None, kw_only=True)
    stride: int = field(default=1, kw_only=True)
    source: Vectors | None = field(default=None, kw_only=True, repr=False)

    def of(self, source: Field) -> Self:
        if not isinstance(source, Vectors):
            raise TypeError(f"the next values of an input are those of Vectors, not of {type(source).__name__}")
        return replace(self, source=source)

    def encode(self, value: Any) -> np.ndarray:
        """(H, C) float32, standardised as the input is."""
        rows = _numbers(value, missing=True).reshape(-1, self.channels)
        if len(rows) != self.horizon:
            raise ValueError(f"should have {self.horizon} steps, but has {len(rows)}")
        source = self._source
        return _single_precision(_scale(source).standardise(rows) if source.standardise else rows, missing=True)

    def decode(self, array: np.ndarray) -> list[float] | list[list[float]]:
        """H numbers in the units of the data, or H lists of C numbers."""
        rows = self._source.decode(np.asarray(array))
        return [row[0] for row in rows] if self.channels == 1 else rows

    @property
    def channels(self) -> int:
        """C, how many values a step has."""
        return self._source.size

    @property
    def size(self) -> int:
        """H x C, how many numbers are predicted."""
        return self.horizon * self.channels

    @property
    def _source(self) -> Vectors:
        if self.source is None:
            raise RuntimeError("a next-step target needs its input field first: `NextValues(24).of(input)`")
        return self.source


@final
@dataclass(frozen=True)
class Vectors(Field):
    """A sequence of vectors, (T, D) float32: sensor channels, precomputed features. A value is a list or an array.

    Args:
        width: D, the channels of a step; None: as many as the training data has.
        standardise: subtract the mean and divide by the standard deviation of each channel in the training data.
        scaling: how each sequence is scaled by itself, besides; None: not at all. The rows are stored unscaled, and
            scaled when a batch is made, so windows of one series are scaled one by one without copies.
        patch: steps that are read at once, as one step of the encoder (`seqkit.layers.patches`): of long sequences,
            a day of hours, say. A stream cannot be read in patches.
        missing: a number may be missing (NaN). The model reads zero in its place, and for each channel a second one,
            which is 1 where a number is missing.
        noise: training adds Gaussian noise with this standard deviation to each encoded number (standardised, if they
            are). Not with `patch` or `missing`.
    """

    width: int | None = None
    standardise: bool = field(default=False, kw_only=True)
    scaling: Scaling | None = field(default=None, kw_only=True)
    patch: int = field(default=1, kw_only=True)
    missing: bool = field(default=False, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)
    scale: Scale | None = field(default=None, kw_only=True, repr=False)
    found: int | None = field(default=None, kw_only=True, repr=False)
    """The width of the training data, where `width` does not say it."""

    def __post_init__(self) -> None:
        if self.noise > 0 and (self.patch > 1 or self.missing):
            raise ValueError("noise is for vectors that are read one by one, without missing numbers")

    def fit(self, values: Iterable[Any]) -> Self:
        if self.width is None and self.found is None:
            remaining = iter(values)
            first = next(remaining, None)
            if first is None:
                raise ValueError("training has no value at all")
            rows = _numbers(first, missing=self.missing)
            if rows.ndim != 2 or rows.size == 0:
                raise ValueError(f"should be (steps, channels) numbers, but has shape {rows.shape}")
            return replace(self, found=rows.shape[1]).fit(chain([first], remaining))
        if not self.standardise:
            return self
        every = (self._rows(value) for value in values)
        complete = (row[np.isfinite(row).all(axis=1)] for row in every) if self.missing else every
        return replace(self, scale=Scale.fit(complete, self.size))

    def encode(self, value: Any) -> np.ndarray:
        """(T, D) float32. Raises ValueError for NaN (unless it may be), infinity, an empty list, or a wrong width."""
        rows = self._rows(value)
        return _single_precision(_scale(self).standardise(rows) if self.standardise else rows, missing=self.missing)

    def mark_missing(self, rows: np.ndarray) -> np.ndarray:
        """(..., D) -> (..., 2 D) float32: zeros for what is missing, ones that say so. Unchanged if nothing may be."""
        if not self.missing:
            return rows
        is_missing = np.isnan(rows)
        return np.concatenate([np.where(is_missing, 0.0, rows), is_missing], axis=-1, dtype=np.float32)

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Raises TypeError for a sequence that is scaled by itself, which needs all of it."""
        if self.scaling is not None:
            raise TypeError(f"a sequence is scaled by {self.scaling}, which needs all of it")
        return (None, None) if piece is None or len(piece) == 0 else (self.mark_missing(self.encode(piece)), None)

    def describe(self) -> Mapping[str, JSON]:
        """How each sequence is scaled by itself, where it is, and that missing numbers are marked."""
        facts: dict[str, JSON] = {} if self.scaling is None else {"scaling": self.scaling.facts()}
        return facts | ({"marks_missing": True} if self.missing else {})

    def decode(self, array: np.ndarray) -> list[list[float]]:
        rows = np.asarray(array).reshape(-1, self.size)
        rows = _scale(self).to_units(rows) if self.standardise else rows.astype(np.float64)
        numbers: list[list[float]] = rows.tolist()
        return numbers

    @property
    def size(self) -> int:
        width = self.width if self.width is not None else self.found
        if width is None:
            raise RuntimeError("the field is not fitted yet")
        return width

    def state(self) -> JSON:
        return _state(self.scale) if self.found is None else {"width": self.found, "scale": _state(self.scale)}

    def restore(self, state: JSON) -> Self:
        if self.width is None and state is not None:
            return replace(self, found=state["width"], scale=_restored_scale(state["scale"]))
        return replace(self, scale=_restored_scale(state))

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        rows = generator.standard_normal((steps, self.size), dtype=np.float32)
        return self.mark_missing(np.where(generator.random(rows.shape) < 0.1, np.nan, rows)) if self.missing else rows

    def layer(self, dim: int) -> nn.Module:
        from seqkit.layers.embedding import Projection
        from seqkit.layers.patches import Patches

        size = self.size * (2 if self.missing else 1)
        return Projection(size, dim, noise=self.noise) if self.patch == 1 else Patches(size, dim, self.patch)

    def parse(self, line: str) -> Any:
        """A line of JSON: a list of steps, each a list of numbers."""
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("should be a JSON list of steps, each a list of numbers") from None

    def _rows(self, value: Any) -> np.ndarray:
        rows = _numbers(value, missing=self.missing)
        if rows.size == 0:
            raise ValueError("is empty")
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ValueError(f"should be (steps, {self.size}) numbers, but has shape {rows.shape}")
        return rows


def _numbers(value: Any, *, missing: bool = False) -> np.ndarray:
    """The numbers as float64, in the shape of the value. Raises ValueError unless all are finite numbers.

    Args:
        missing: NaN is allowed: a number that is not known.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("has steps of different widths") from None
    if array.dtype.kind not in "iuf" and array.size:
        raise ValueError(f"should be numbers, but is {'missing' if value is None else repr(value)[:60]}")
    array = array.astype(np.float64)
    is_wrong = np.isinf(array) if missing else ~np.isfinite(array)
    if is_wrong.any():
        raise ValueError(f"has {array[is_wrong][0]}, which is not a finite number")
    return array


def _single_precision(array: np.ndarray, *, missing: bool = False) -> np.ndarray:
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


def _scale(field: Values | StepValues | Vectors) -> Scale:
    if field.scale is None:
        raise RuntimeError("the field is not fitted yet")
    return field.scale


def _state(scale: Scale | None) -> JSON:
    return None if scale is None else {"mean": list(scale.mean), "deviation": list(scale.deviation)}


def _restored_scale(state: JSON) -> Scale | None:
    return None if state is None else Scale(tuple(state["mean"]), tuple(state["deviation"]))
