"""The main types that need no torch: examples, predictions, fields, tasks, and the types of their options.

The types that hold tensors (`Batch`, `Encoded`, `Encoder`, `Head`) are in `seqkit.interfaces`.
Letters: B batch, T time, D width of an input step, H width of a state, C classes, K beams.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol, Self, TypeAlias

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Index: TypeAlias = NDArray[np.int64]
"""(n,) numbers of examples, or lengths."""

JSON: TypeAlias = Any
"""Any value that is equal after `json` has written and read it."""

ProgressCallback: TypeAlias = Callable[[int, int | None, str], None]
"""(how much is done, of how much or None if that is not known yet, what is being done)."""

Drawing: TypeAlias = Sequence[Sequence[tuple[float, float]]]
"""Lines, each of its points (x, y); y grows downwards."""

# Types of keyword-only options. The range is part of the type, so a recipe is checked against it.
Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0.0), Lt(1.0)]
Probability = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]

Truncation: TypeAlias = Literal["head", "tail", "both_ends", "window"]
"""What is read of a sequence that is too long: its beginning, its end, some of both, or all of it in windows."""
WordVectors: TypeAlias = Literal["glove-6b-50d", "glove-6b-100d"] | Path
"""A published file of word vectors, by name, or one of the user's."""
SPLITS = ("train", "dev", "test")

# The first ids of every vocabulary of tokens: they are positions, not spellings.
PAD: Final = 0
UNKNOWN: Final = 1
START: Final = 2
END: Final = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One sequence and its true target, as they were read.

    Attributes:
        input: what the task's input field encodes.
        target: what its target field encodes; None: there is none.
        id: where to find them (`train.tsv:17`).
        given: the text that `input` was made of, if it is not that text itself: of a text that the task has split into
            words. Predictions show it, and find spans in it. Examples are equal whatever it is.
        times: of a series to predict from, the times of the steps that are predicted; None: they are not known.
            Predictions show them.
    """

    input: Any
    target: Any
    id: str
    given: str | None = field(default=None, compare=False)
    times: tuple[str, ...] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class NamedVectors:
    """A sequence of vectors whose channels have names, as the header of a table gives them: a value of `Vectors`.

    A field that has learned the names of its channels takes them from here in its own order, whatever their order is
    here, and refuses other names.

    Attributes:
        rows: (T, C) numbers.
        names: of the C channels.
        where: where the names are, for messages: `walks/17.csv:1`.
    """

    rows: NDArray[Any]
    names: tuple[str, ...]
    where: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedVectors):
            return NotImplemented
        return self.names == other.names and bool(np.array_equal(self.rows, other.rows))


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a split that can be read without the others: a file of several, mostly.

    Attributes:
        name: what ids and messages call it.
        files: all files that it is read from.
        read: gives its examples, in order.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], Iterable[Example]]

    def changed(self, change: Callable[[Iterable[Example]], Iterable[Example]]) -> Shard:
        """The same shard with what `change` makes of its examples."""
        return replace(self, read=lambda: change(self.read()))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head predicts for one example.

    Attributes:
        value: of the same kind as `Example.target`.
        confidence: the model's probability of `value`; a list with one number a step if `value` is a sequence; of a
            mapping of several answers, that of the only one that is a label.
        scores: details that depend on the head: `{label: probability}`, n-best lists, quantiles. JSON only.
    """

    value: Any
    confidence: float | list[float] | None = None
    scores: JSON = None


@dataclass(frozen=True, slots=True)
class Flaw:
    """Takes the place of a value that cannot be read, so that what comes after it is still read.

    It is reported with the id of its example when it is encoded.

    Attributes:
        what: what is wrong with the value: "has 3 columns, but line 1 has 2".
    """

    what: str


Metric: TypeAlias = Callable[[Sequence[Prediction], Sequence[Any]], Mapping[str, float]]
"""A pure function of predictions and true targets, to named scores. One that is marked with
`seqkit.metrics.sees_examples` has the inputs and ids as its third argument: `ScoredExamples`."""


@dataclass(frozen=True, slots=True)
class ScoredExamples:
    """What a metric that is marked with `seqkit.metrics.sees_examples` sees of the examples besides their targets.

    Attributes:
        ids: their ids. That of a window of a series ends in `+960`, the steps of the series before its forecast.
        inputs: their inputs, as the input field decodes them, on access; of a window, its own steps.
        split: the name of the split.
    """

    ids: Sequence[str]
    inputs: Sequence[Any]
    split: str


class Field(ABC):
    """One side of an example, and how it becomes numbers and back. Immutable: `fit` and `restore` return new fields.

    A field is either ragged (one row a time step: `encode` gives (T, ...)) or fixed (`encode` gives the same shape for
    every value). Once it is fitted, all arrays that it encodes have the same type, and rows of the same shape.
    """

    ragged: ClassVar[bool] = True
    derived: ClassVar[bool] = False
    """True for a target that follows from the input (`Next`): nothing is stored for it."""

    aligned: ClassVar[bool] = False
    """True for a target with one row for each input step (`Tags`): it is cut at the same steps as the input."""

    unit: str = "steps"
    """What time steps are called in reports: words, characters, frames."""

    unknown: int | None = None
    """The id of symbols that are not in the training data, if there is one. Reports count how often it occurs."""

    def fit(self, values: Iterable[Any]) -> Self:
        """A field that has learned from these values (vocabulary, labels, mean and spread), in any order."""
        return self

    @abstractmethod
    def encode(self, value: Any) -> np.ndarray:
        """(T, ...) if ragged, else a fixed shape. Raises ValueError for a value that it cannot encode: "is empty"."""

    @abstractmethod
    def decode(self, array: np.ndarray) -> Any:
        """The value again, as far as the field keeps it."""

    def drawing(self, value: Any) -> Drawing | None:
        """A value as what a pen draws, lines of points, for reports and TensorBoard; None if values are no drawings."""
        return None

    sample_rate: int | None = None
    """For input fields whose `decode` gives sound, (N,) samples within -1 to 1: how many are a second."""

    def canonical(self, value: Any) -> Any:
        """The value in the form in which `encode` reads it: text in its Unicode normalisation form.

        Predictions are compared with targets in this form, and values that it changes are counted and reported.
        """
        return value

    class_unit: str = "examples"
    """What `count_classes` counts: examples, tags, spans."""

    class_score: str = "accuracy"
    """For target fields: the score that is the share of `class_unit` that is right. A model is warned of if it is no
    better than that of the most frequent class."""

    def count_unknown(self, array: np.ndarray) -> int:
        """How many steps of an encoded value are symbols that are not in the training data."""
        return 0 if self.unknown is None else int(np.count_nonzero(array == self.unknown))

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        """How often each class occurs in these encoded values, for reports; empty for fields without classes."""
        return {}

    @property
    @abstractmethod
    def size(self) -> int:
        """How many symbols, classes or channels there are: the width of a head or of the input of an input layer."""

    def state(self) -> JSON:
        """What `fit` learned, as JSON."""
        return None

    def encoding_state(self) -> JSON:
        """What `encode` depends on of what `fit` learned: stored shards are good as long as it is the same."""
        return self.state()

    def restore(self, state: JSON) -> Self:
        """The fitted field again: `field.restore(fitted.state())` equals `fitted`."""
        return self

    def of(self, source: Field) -> Self:
        """For derived targets: the same field with the fitted input field that it follows from."""
        return self

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        """For input fields: a random encoded value of so many steps, with which exports are checked."""
        raise TypeError(f"{type(self).__name__} has no `sample`, so that an export cannot be compared with the model")

    def describe(self) -> Mapping[str, JSON]:
        """What a program without seqkit must know to encode values, beside the options and the state of the field."""
        return {}

    def layer(self, dim: int) -> nn.Module:
        """For input fields: a module `(x, lengths) -> (steps (B, T', dim), lengths (B,))`. It may shorten time.

        If the module has a method `start()`, that is called before a new model is trained, to load what training
        starts from. If it has a method `views(x, lengths)`, that gives tensors like x: other ways to write the same
        inputs (the other strand of DNA), and predictions are averaged over them.

        To be read in pieces (`feed`), it has `pointwise = True` if each step depends on its own row alone, or a method
        `advance(x, kept, end)` for one sequence: x (T, ...) are its new rows, perhaps none, and `kept` is what the
        method returned with them before, a tuple of tensors, empty at the beginning. It returns the steps that are
        certain now, (T', dim), and what it keeps. It raises `UsageError` if it cannot work on pieces.
        """
        raise TypeError(f"{type(self).__name__} is not an input field: it has no layer")

    def fit_files(self) -> Sequence[Path]:
        """The files that `fit` and a new model's `layer` read: once the field is fitted, they need not be there."""
        return ()

    def parse(self, line: str) -> Any:
        """One line of `seqkit predict` as an input value."""
        return line

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Encode a value that comes in pieces: for input fields of models that read streams.

        The rows of all pieces, one after the other, are what `encode` gives for the whole value.

        Args:
            piece: the next piece, which may be empty; None: nothing new.
            kept: what this method returned with the piece before; None at the beginning.
            end: whether the value ends with this piece.

        Returns:
            The rows that are certain now, (T, ...), None if there are none; and what has to be kept, JSON, None if
            nothing has to be.

        Raises:
            ValueError: the piece cannot be encoded.
            TypeError: such values cannot be read in pieces.
        """
        raise TypeError(f"an input of the kind {type(self).__name__} cannot be read in pieces: it has no `feed`")


@dataclass(frozen=True, slots=True)
class Limit:
    """The longest input, in steps, and what happens to a longer one. What is cut off is always counted and reported.

    `head` keeps the first steps, `tail` the last, `both_ends` the first half and the last half. `window` keeps
    everything: the input is cut into windows, and one prediction is made of the predictions for the windows.
    """

    max_length: int
    truncate: Truncation = "head"


class FileReader(Protocol):
    """Reads the examples of a file or a folder that is not part of the recipe's data: `Task.read_file`."""

    def __call__(self, path: Path, split: str | None, labelled: bool, /) -> Iterable[Example]:
        """The examples, prepared as `Task.read` prepares those of a split, lazily.

        Args:
            path: the file or the folder, wherever it is.
            split: which split of a folder that has several; None: the user did not say.
            labelled: True: each example has its target, and it is an error if that is missing. False: targets are not
                needed (they are ignored), and an example that cannot be read is one with a `Flaw` for its input.

        Raises:
            DataError: the file cannot be read, or an example of it if `labelled`.
            UsageError: the task does not read such files.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be learned: where examples come from, what they consist of, with which head, and how it is scored.

    Attributes:
        read: `read(split)` yields the examples of "train", "dev" or "test", lazily and in a fixed order.
        input: the input field, not fitted (it is fitted on train only).
        target: the target field, not fitted.
        head: the default head, as a recipe would write it: `"classify"` or `{"use": "classify", "pool": "max"}`.
        metric: scores of predictions against targets; None: the loss is the score (language models).
        best: the dev score that chooses the checkpoint, and of equal ones the one with the lower loss; `min:name` or
            `max:name` for scores that are not in `seqkit.metrics.LOWER_IS_BETTER`.
        splits: the splits that exist; "train" always does.
        limit: longest input and truncation.
        window: for next-step targets: train on lanes of consecutive windows of this many steps with the state
            carried (truncated back-propagation through time). None: each example is one sequence.
        files: the files that a split is read from, if `read` depends on nothing else but the task's options. The cache
            is keyed by their content. None: the examples themselves are hashed.
        shards: the parts of a split, which are stored one by one, so that a changed or new one is encoded alone. One
            after the other they are the examples of `read`, and their files are those of `files`. None, or no parts:
            the split is stored as one.
        parse: one line of `seqkit predict` as an input value; None: the input field's own `parse`.
        parse_by_words: what `parse` makes of a text is what it makes of its words (what blanks and tabs separate), one
            after the other. Then a stream reads such text as it comes.
        parse_target: a target that a Python program gives to `Model.evaluate`, as `read` would give it: as tokens, for
            example. Raises ValueError for one that is wrong. None: targets are taken as they are.
        finish: `finish(input, prediction)` makes of a prediction what the user is shown, given the input as read: plain
            text from tokens, for example. None: the prediction is shown as it is. With `finish`, predictions are scored
            against the targets as they were read (finished in the same way), not as the target field decodes them.
        notes: what else the user should know about the data before training, a line each: examples that contradict each
            other, for example. None: nothing.
        bad_inputs: what happens to an input that its field cannot encode: it is an error (`refuse`; all of them are
            reported together), or it is left out of the split, reported and counted (`quarantine`).
        about: facts for the run folder and the model: dataset, licence, source.
        read_file: reads other files of the kind that the task trains from, see `FileReader`. None: `seqkit evaluate`
            has no `--data`, and `seqkit predict` reads lines of text only.
        suffixes: `seqkit predict` gives files whose names end so (`.tsv`, and `.tsv.gz` too) to `read_file`; all other
            files are text with one input a line. An empty one, "", stands for folders.
        locate: `locate(line)` gives the first character of each step that `parse` makes of a line of text, and the one
            after its last. With it, predicted spans are shown with their place in the text.
        scores: the names of the scores of `metric`, as far as they are known before there are data, so that a recipe
            that expects another one is refused at once; `span_f1.*` stands for all names that begin so. None: they are
            not known.
        unit: what examples are drawn in, and how the id of an example says which one it belongs to: `("speaker", f)`,
            where `f(id)` is the speaker, or None for an example that stands alone. Comparisons resample whole units.
            None: each example is drawn by itself.
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
    shards: Callable[[str], Sequence[Shard]] | None = None
    parse: Callable[[str], Any] | None = None
    parse_by_words: bool = False
    parse_target: Callable[[Any], Any] | None = None
    finish: Callable[[Any, Prediction], Prediction] | None = None
    notes: Callable[[], Iterable[str]] | None = None
    bad_inputs: Literal["refuse", "quarantine"] = "refuse"
    about: Mapping[str, JSON] = field(default_factory=dict)
    read_file: FileReader | None = None
    suffixes: tuple[str, ...] = ()
    locate: Callable[[str], Sequence[tuple[int, int]]] | None = None
    scores: tuple[str, ...] | None = None
    unit: tuple[str, Callable[[str], str | None]] | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A factory chosen by name, with its options: those that the recipe gave, and the defaults of the others."""

    use: str
    options: Mapping[str, Any] = field(default_factory=dict)
