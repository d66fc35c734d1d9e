"""The nouns of seqkit that need no torch: examples, predictions, fields, tasks and the options they take.

The nouns that hold tensors (`Batch`, `Encoded`, `Encoder`, `Head`) are in `seqkit.interfaces`.
Letters: B batch, T time, D width of an input step, H width of a state, C classes, K beams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Index: TypeAlias = NDArray[np.int64]
"""(n,) numbers of examples, or lengths."""

JSON: TypeAlias = Any
"""Anything that `json` writes and reads back equal."""

# Types for keyword-only options: the range is part of the type, so a recipe is checked against it.
Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0.0), Lt(1.0)]
Probability = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]

Truncation: TypeAlias = Literal["head", "tail", "both_ends", "window"]
SPLITS = ("train", "dev", "test")

# The first ids of every vocabulary of tokens: they are positions, not spellings.
PAD: Final = 0
UNKNOWN: Final = 1
START: Final = 2
END: Final = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence and what is true of it, as read. `id` says where a human finds it (`train.tsv:17`)."""

    input: Any
    target: Any
    id: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head says of one example.

    Attributes:
        value: of the same kind as `Example.target`.
        confidence: the model's probability of `value`; a list with one number a step where `value` is a sequence.
        scores: what stands behind it, by head: `{label: probability}`, n-best lists, quantiles. JSON only.
    """

    value: Any
    confidence: float | list[float] | None = None
    scores: JSON = None


Metric: TypeAlias = Callable[[Sequence[Prediction], Sequence[Any]], Mapping[str, float]]
"""A pure function of predictions and true targets, to named scores."""


class Field(ABC):
    """One side of an example, to and from numbers. Immutable: `fit` and `restore` return new fields.

    A field is either ragged (one row a time step: `encode` gives (T, ...)) or fixed (`encode` gives the same shape
    for every value). Encoded arrays have a fixed dtype and fixed trailing shape once the field is fitted.
    """

    ragged: ClassVar[bool] = True
    derived: ClassVar[bool] = False
    """True for a target that follows from the input (`Next`): nothing is stored for it."""

    aligned: ClassVar[bool] = False
    """True for a target with one row an input step (`Tags`): where an input is cut, it is cut at the same steps."""

    unit: str = "steps"
    """What time steps are called in reports: words, characters, frames."""

    unknown: int | None = None
    """The id that stands for a symbol that training has not seen, where there is one: the store counts it."""

    def fit(self, values: Iterable[Any]) -> Self:
        """A field that knows these values (vocabulary, label set, mean and spread). Order of values is irrelevant."""
        return self

    @abstractmethod
    def encode(self, value: Any) -> np.ndarray:
        """(T, ...) if ragged, else a fixed shape. Raises ValueError with a plain sentence for a bad value."""

    @abstractmethod
    def decode(self, array: np.ndarray) -> Any:
        """The value again, as far as the field keeps it."""

    def count_unknown(self, array: np.ndarray) -> int:
        """How many steps of an encoded value are symbols that training has not seen; 0 where there is no such thing."""
        return 0 if self.unknown is None else int(np.count_nonzero(array == self.unknown))

    @property
    @abstractmethod
    def size(self) -> int:
        """How many symbols, classes or channels there are: what a head or an input layer must be wide for."""

    def state(self) -> JSON:
        """What `fit` learned, as JSON."""
        return None

    def restore(self, state: JSON) -> Self:
        """The fitted field again: `field.restore(fitted.state())` equals `fitted`."""
        return self

    def of(self, source: Field) -> Self:
        """For derived targets: the same field, knowing the fitted input field that it follows from."""
        return self

    def layer(self, dim: int) -> nn.Module:
        """For input fields: a module `(x, lengths) -> (steps (B, T', dim), lengths (B,))`. It may shorten time.

        A module with a method `start()` is told so before a new model is trained, to read what it starts from.
        One with a method `views(x, lengths)` gives tensors like x, the same inputs written otherwise (DNA from its
        other strand): predictions are averaged over them.
        """
        raise TypeError(f"{type(self).__name__} is not an input field: it has no layer")

    def parse(self, line: str) -> Any:
        """One line of `seqkit predict` as an input value."""
        return line


@dataclass(frozen=True, slots=True)
class Limit:
    """The longest input, in steps, and what happens to a longer one. Cuts are counted and reported, always.

    `head` keeps the first steps, `tail` the last, `both_ends` the first half and the last half;
    `window` keeps everything: the input is cut into windows, and predictions are stitched together again.
    """

    max_length: int
    truncate: Truncation = "head"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learned, as a value: where examples come from, what they are, which head, how it is scored.

    Attributes:
        read: `read(split)` yields the examples of "train", "dev" or "test", lazily and in a fixed order.
        input: the input field, unfitted (it is fitted on train only).
        target: the target field, unfitted.
        head: the default head, as a recipe would write it: `"classify"` or `{"use": "classify", "pool": "max"}`.
        metric: scores of predictions against targets; None where the loss is the score (language models).
        best: the dev score that chooses the checkpoint; `min:name` or `max:name` for scores that
            `seqkit.metrics.LOWER_IS_BETTER` does not know.
        splits: the splits that exist; "train" always does.
        limit: longest input and truncation.
        window: for next-step targets: train on lanes of consecutive windows of this many steps with the state
            carried (truncated back-propagation through time). None: each example is one sequence.
        files: the files behind a split, if they are all that `read` depends on (beside the task's options);
            they key the cache. None: the examples themselves are hashed.
        parse: one line of `seqkit predict` as an input value; None: the input field's own `parse`.
        finish: `finish(input, prediction)` as the user is to have it, given the input as read: tokens put together to
            plain text, say. None: as the head says it. With it, predictions are scored against the targets as read
            (each finished likewise), not against what the target field has kept of them.
        notes: gives what else there is to know of the data before training, a line each: examples that contradict each
            other, say. None: nothing.
        bad_inputs: what an input is that its field cannot encode: an error (`refuse`, all of them told at once), or
            left out of the split, told and counted (`quarantine`).
        about: facts for the run folder and the model: dataset, licence, source.
    """

    read: Callable[[str], Iterable[Example]]
    input: Field
    target: Field
    head: str | Mapping[str, Any]
    metric: Metric | None = None
    best: str
    splits: tuple[str, ...] = SPLITS
    limit: Limit | None = None
    window: int | None = None
    files: Callable[[str], Sequence[Path]] | None = None
    parse: Callable[[str], Any] | None = None
    finish: Callable[[Any, Prediction], Prediction] | None = None
    notes: Callable[[], Iterable[str]] | None = None
    bad_inputs: Literal["refuse", "quarantine"] = "refuse"
    about: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """A registered or built-in factory chosen by name, with the options that the recipe gave or left at default."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
