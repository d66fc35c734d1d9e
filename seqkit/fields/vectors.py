"""Sequences of vectors: `Vectors` as inputs, and `NextValues`, what comes next in them, as targets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from seqkit.errors import ValueProblem
from seqkit.fields.numeric import Scale, numbers_of, restored_scale, scale_of, scale_state, single_precision
from seqkit.fields.scaling import Scaling, Transform, from_logarithms, to_logarithms
from seqkit.types import JSON, Field, NamedVectors

if TYPE_CHECKING:
    from torch import nn


@final
@dataclass(frozen=True)
class NextValues(Field):
    """The values that come next in the input: its next `horizon` steps. Nothing is stored for it.

    Covariates of the input are not among what is predicted.

    An example is a whole series (`Vectors`); each window of it is an input of its own, of at most `history` steps, with
    the steps after it as its target. Windows are views of the stored series. The last window ends `horizon` steps
    before the series, and others every `stride` steps before it; for test, at each step (a rolling evaluation). A
    prediction for a new series is made from its last window.

    Such an example is `Example(rows, None, id)`: what comes next is in the rows. The first window of dev and test ends
    after `history` steps, and the longest lag of the input more: a split begins so many steps before the first one that
    is to be predicted, and overlaps the split before it.

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
        """(H, C) float32, as the input is: its logarithm, and standardised, if that is."""
        rows = numbers_of(value, missing=True).reshape(-1, self.channels)
        if len(rows) != self.horizon:
            raise ValueError(f"should have {self.horizon} steps, but has {len(rows)}")
        return single_precision(self._source.to_learned(rows), missing=True)

    def decode(self, array: np.ndarray) -> list[float] | list[list[float]]:
        """H numbers in the units of the data, or H lists of C numbers."""
        rows: list[Any] = self._source.to_units(np.asarray(array).reshape(-1, self.channels)).tolist()
        return [row[0] for row in rows] if self.channels == 1 else rows

    @property
    def channels(self) -> int:
        """C, how many values a step has."""
        return self._source.channels

    @property
    def reach(self) -> int:
        """The most steps of a series that a window depends on: its own, and the lags before them."""
        return self.history + max(self._source.lags, default=0)

    @property
    def size(self) -> int:
        """H x C, how many numbers are predicted."""
        return self.horizon * self.channels

    @property
    def knows_future(self) -> bool:
        """Whether a series to predict from goes on with the covariates of the steps that are predicted."""
        return self._source.covariates > 0

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
            Covariates are always standardised.
        scaling: how each sequence is scaled by itself, besides; None: not at all. The rows are stored unscaled, and
            scaled when a batch is made, so windows of one series are scaled one by one without copies.
        patch: steps that are read at once, as one step of the encoder (`seqkit.layers.patches`): of long sequences,
            a day of hours, say. A stream cannot be read in patches.
        missing: a number may be missing (NaN). The model reads zero in its place, and for each channel a second one,
            which is 1 where a number is missing.
        noise: training adds Gaussian noise with this standard deviation to each encoded number (standardised, if they
            are). Not with `patch`, `missing`, `covariates` or `lags`.
        transform: log or log1p: the logarithm of the values (not of covariates), or of 1 more than them, is stored and
            learned, and `decode` undoes it.
        covariates: so many channels, the last ones of a step, are no values but known for the steps that are predicted
            as well, such as prices, days of the week, properties of the series. With `NextValues` only.
        lags: steps; each step also has the values so many steps before it, from before its window too. With
            `NextValues` only.

    With covariates or lags, an input goes on to the end of what is predicted: H more steps, in which the values are
    zero (or marked as missing), covariates and lags are what is known of them, and a last channel is 1 instead of 0. A
    lag that is not known, from before the series or among what is predicted, is zero (or marked).
    """

    width: int | None = None
    standardise: bool = field(default=False, kw_only=True)
    scaling: Scaling | None = field(default=None, kw_only=True)
    patch: int = field(default=1, kw_only=True)
    missing: bool = field(default=False, kw_only=True)
    noise: float = field(default=0.0, kw_only=True)
    transform: Transform | None = field(default=None, kw_only=True)
    covariates: int = field(default=0, kw_only=True)
    lags: tuple[int, ...] = field(default=(), kw_only=True)
    scale: Scale | None = field(default=None, kw_only=True, repr=False)
    found: int | None = field(default=None, kw_only=True, repr=False)
    """The width of the training data, where `width` does not say it."""
    names: tuple[str, ...] | None = field(default=None, kw_only=True, repr=False)
    """The names of the channels in the first training example, if it has some (`NamedVectors`) and `width` is None."""

    def __post_init__(self) -> None:
        if self.noise > 0 and (self.patch > 1 or self.missing or self.reads_ahead):
            raise ValueError("noise is for vectors that are read one by one, without missing numbers or covariates")
        if self.covariates < 0 or any(lag < 1 for lag in self.lags):
            raise ValueError("covariates is a number of channels, and a lag is at least 1 step")
        if self.width is not None and self.covariates >= self.width:
            raise ValueError(f"of {self.width} channels, {self.covariates} are covariates: at least one is a value")

    def fit(self, values: Iterable[Any]) -> Self:
        if self.width is None and self.found is None:
            remaining = iter(values)
            first = next(remaining, None)
            if first is None:
                raise ValueError("training has no value at all")
            names = first.names if isinstance(first, NamedVectors) else None
            rows = numbers_of(first if names is None else first.rows, missing=self.missing)
            if rows.ndim != 2 or rows.size == 0:
                raise ValueError(f"should be (steps, channels) numbers, but has shape {rows.shape}")
            return replace(self, found=rows.shape[1], names=names).fit(chain([first], remaining))
        if not (self.standardise or self.covariates):
            return self
        every = (self._with_logarithms(self._rows(value)) for value in values)
        scale = Scale.fit((rows[np.isfinite(rows).all(axis=1)] for rows in every), self.size)
        return replace(self, scale=scale if self.standardise else scale.of_last(self.covariates))

    def encode(self, value: Any) -> np.ndarray:
        """(T, D) float32.

        Raises:
            ValueError: there is NaN that may not be, infinity, nothing, another width, or a value without logarithm.
        """
        return single_precision(self.to_learned(self._rows(value)), missing=True)

    def to_learned(self, rows: np.ndarray) -> np.ndarray:
        """Rows (..., D), or their values alone (..., C), in the units in which they are learned."""
        rows = self._with_logarithms(rows)
        is_scaled = self.standardise or self.covariates > 0
        return scale_of(self).first(rows.shape[-1]).standardise(rows) if is_scaled else rows

    def to_units(self, rows: np.ndarray) -> np.ndarray:
        """The same in the units of the data, float64."""
        if self.standardise or self.covariates:
            rows = scale_of(self).first(rows.shape[-1]).to_units(rows)
        rows = rows.astype(np.float64)
        if self.transform is not None:
            rows[..., : self.channels] = from_logarithms(self.transform, rows[..., : self.channels])
        return rows

    def _with_logarithms(self, rows: np.ndarray) -> np.ndarray:
        if self.transform is None:
            return rows
        values, rest = rows[..., : self.channels], rows[..., self.channels :]
        return np.concatenate([to_logarithms(self.transform, values), rest], axis=-1)

    @property
    def channels(self) -> int:
        """C, how many values a step has, covariates not counted."""
        return self.size - self.covariates

    @property
    def reads_ahead(self) -> bool:
        """Whether an input goes on to the end of what is predicted."""
        return bool(self.covariates or self.lags)

    @property
    def input_size(self) -> int:
        """How many numbers a step has where a model reads it."""
        size = (self.size + len(self.lags) * self.channels) * (2 if self.missing else 1)
        return size + 1 if self.reads_ahead else size

    def mark_missing(self, rows: np.ndarray) -> np.ndarray:
        """(..., D) -> (..., 2 D) float32: zeros for what is missing, ones that say so. Unchanged if nothing may be."""
        if not self.missing:
            return rows
        is_missing = np.isnan(rows)
        return np.concatenate([np.where(is_missing, 0.0, rows), is_missing], axis=-1, dtype=np.float32)

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Raises TypeError for a sequence that is scaled by itself or read with covariates, which needs all of it."""
        if self.reads_ahead:
            raise TypeError("covariates and lags go on to the end of what is predicted, which needs all of a sequence")
        if self.scaling is not None:
            raise TypeError(f"a sequence is scaled by {self.scaling}, which needs all of it")
        return (None, None) if piece is None or len(piece) == 0 else (self.mark_missing(self.encode(piece)), None)

    def describe(self) -> Mapping[str, JSON]:
        """The names of the channels, the logarithm, how each sequence is scaled by itself, where there are such.

        And that missing numbers are marked.
        """
        facts: dict[str, JSON] = {} if self.names is None else {"channels": list(self.names)}
        facts |= {} if self.transform is None else {"transform": self.transform}
        facts |= {} if self.scaling is None else {"scaling": self.scaling.facts()}
        return facts | ({"marks_missing": True} if self.missing else {})

    def decode(self, array: np.ndarray) -> list[list[float]]:
        numbers: list[list[float]] = self.to_units(np.asarray(array).reshape(-1, self.size)).tolist()
        return numbers

    @property
    def size(self) -> int:
        width = self.width if self.width is not None else self.found
        if width is None:
            raise RuntimeError("the field is not fitted yet")
        return width

    def state(self) -> JSON:
        scale = scale_state(self.scale)
        if self.found is None:
            return scale
        names = {} if self.names is None else {"names": list(self.names)}
        return {"width": self.found, "scale": scale} | names

    def restore(self, state: JSON) -> Self:
        if self.width is None and state is not None:
            names = tuple(state["names"]) if "names" in state else None
            return replace(self, found=state["width"], scale=restored_scale(state["scale"]), names=names)
        return replace(self, scale=restored_scale(state))

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        """Raises TypeError for vectors with covariates or lags."""
        if self.reads_ahead:
            raise TypeError("inputs with covariates or lags depend on a window's place in its series: not exported")
        rows = generator.standard_normal((steps, self.size), dtype=np.float32)
        return self.mark_missing(np.where(generator.random(rows.shape) < 0.1, np.nan, rows)) if self.missing else rows

    def layer(self, dim: int) -> nn.Module:
        from seqkit.layers.embedding import Projection
        from seqkit.layers.patches import Patches

        size = self.input_size
        return Projection(size, dim, noise=self.noise) if self.patch == 1 else Patches(size, dim, self.patch)

    def parse(self, line: str) -> Any:
        """A line of JSON: a list of steps, each a list of numbers."""
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("should be a JSON list of steps, each a list of numbers") from None

    def _rows(self, value: Any) -> np.ndarray:
        value = self._in_order(value) if isinstance(value, NamedVectors) else value
        rows = numbers_of(value, missing=self.missing or self.covariates > 0)
        if rows.size == 0:
            raise ValueError("is empty")
        if rows.ndim != 2 or rows.shape[1] != self.size:
            raise ValueError(f"should be (steps, {self.size}) numbers, but has shape {rows.shape}")
        if self.covariates:
            self._check_known(rows)
        return rows

    def _in_order(self, value: NamedVectors) -> np.ndarray:
        """(T, D) the channels of a value in the order of the names that training had.

        Raises:
            ValueProblem: a name is missing, or unknown.
        """
        if self.names is None or value.names == self.names:
            return value.rows
        missing = [name for name in self.names if name not in value.names]
        unknown = [name for name in value.names if name not in self.names]
        if missing or unknown:
            parts = [f"has no channel {_quoted(missing)}"] * bool(missing)
            parts += [f"has an unknown channel {_quoted(unknown)}"] * bool(unknown)
            raise ValueProblem(
                value.where, f"{' and '.join(parts)}; the first sequence of train has {', '.join(self.names)}"
            )
        return value.rows[:, [value.names.index(name) for name in self.names]]

    def _check_known(self, rows: np.ndarray) -> None:
        """Raises ValueError if a covariate is missing, or a value before the steps at the end that have none."""
        if np.isnan(rows[:, self.channels :]).any():
            step = int(np.isnan(rows[:, self.channels :]).any(axis=1).argmax())
            raise ValueError(f"has no number at step {step + 1} for a covariate, which must be known at every step")
        past = rows[: len(rows) - count_future(rows[:, : self.channels]), : self.channels]
        if np.isnan(past).any() and not self.missing:
            raise ValueError(f"has no value at step {int(np.isnan(past).any(axis=1).argmax()) + 1}")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def count_future(values: np.ndarray) -> int:
    """How many steps at the end of (T, C) have no values at all: what is to be predicted."""
    is_known = ~np.isnan(values).all(axis=1)
    return len(values) - (int(np.flatnonzero(is_known)[-1]) + 1 if is_known.any() else 0)
