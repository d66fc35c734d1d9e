"""What was stored of a split and what was not: cuts, unknown symbols, duplicates. Always counted and always shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, final

import numpy as np

from seqkit.reading import Reading
from seqkit.types import JSON, Field, Limit


@final
@dataclass(frozen=True)
class SplitReport:
    """What was stored of a split, and what was not.

    Attributes:
        split: its name.
        unit: what a step is called.
        examples: examples read.
        rows: rows stored; more than examples where long ones were cut into windows.
        steps: steps stored.
        shortest: steps of the shortest example, before any cut.
        median: half of the examples have at most this many steps, before any cut.
        length_95: 95 of 100 examples have at most this many.
        longest: steps of the longest example.
        limit: the most steps that an example may have, or None.
        truncate: what happens to a longer one.
        cut_examples: examples longer than the limit.
        cut_steps: steps that were cut off and are in no row.
        cut_labels: labels that were cut off with them; of BIO tags only those that are not `O`.
        unknown: steps whose symbol the vocabulary does not know; None if the field has no unknown symbol.
        different_inputs: how many different inputs there are; None: more than `DIFFERENT_COUNTED`.
        target_steps: steps of targets that are sequences of their own, as a translation is; 0 for all others.
        target_unknown: steps of them whose symbol the vocabulary does not know.
        seen_in_train: examples whose whole input is also an input of train; None for train.
        pairs_in_train: examples whose input and target are also an example of train; None for train, and for targets
            that are no sequences of their own.
        quarantined: inputs that could not be encoded and were left out, as the task allows. `examples` does not count
            them.
        quarantined_first: where the first of them are, and what is wrong with each.
        classes: how often each class occurs; empty if the target has no classes.
        class_unit: what is counted there: examples, tags, spans.
        class_score: the score that is the share of these that is right.
        reading: what the readers used and passed over.
    """

    split: str
    unit: str = "steps"
    examples: int = 0
    rows: int = 0
    steps: int = 0
    shortest: int = 0
    median: int = 0
    length_95: int = 0
    longest: int = 0
    limit: int | None = None
    truncate: str | None = None
    cut_examples: int = 0
    cut_steps: int = 0
    cut_labels: int = 0
    unknown: int | None = None
    different_inputs: int | None = None
    target_steps: int = 0
    target_unknown: int = 0
    seen_in_train: int | None = None
    pairs_in_train: int | None = None
    quarantined: int = 0
    quarantined_first: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    class_unit: str = "examples"
    class_score: str = "accuracy"
    reading: Reading = field(default_factory=Reading)

    @classmethod
    def restore(cls, facts: JSON) -> SplitReport:
        """The report whose `facts` these are. Raises ValueError, TypeError or KeyError if they cannot be such facts."""
        first, reading = tuple(facts["quarantined_first"]), Reading.restore(facts["reading"])
        report = cls(**facts | {"quarantined_first": first, "reading": reading})
        sample = cls(report.split)
        for attribute in fields(cls):
            value, default = getattr(report, attribute.name), getattr(sample, attribute.name)
            is_number = type(value) is int and value >= 0
            optional_text = attribute.name == "truncate" and isinstance(value, str)
            if default is None and not (value is None or is_number or optional_text):
                raise ValueError(f"{attribute.name} of a report is {value!r}")
            if isinstance(default, int) and not is_number:
                raise ValueError(f"{attribute.name} of a report is {value!r}")
            if isinstance(default, str | Reading | dict | tuple) and not isinstance(value, type(default)):
                raise ValueError(f"{attribute.name} of a report is {value!r}")
        if not all(isinstance(name, str) and type(count) is int for name, count in report.classes.items()):
            raise ValueError("classes of a report are not counted")
        if not all(isinstance(problem, str) for problem in first):
            raise ValueError("the problems of a report are not text")
        return report

    @property
    def unknown_share(self) -> float:
        """The share of the stored steps that are unknown symbols."""
        return (self.unknown or 0) / max(1, self.steps)

    @property
    def target_unknown_share(self) -> float:
        """The share of the targets' steps that are unknown symbols."""
        return self.target_unknown / max(1, self.target_steps)

    @property
    def cut_share(self) -> float:
        """The share of all steps that were cut off."""
        return self.cut_steps / max(1, self.steps + self.cut_steps)

    def facts(self) -> JSON:
        """Everything as JSON."""
        facts = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        first, classes = list(self.quarantined_first), dict(self.classes)
        return facts | {"quarantined_first": first, "classes": classes, "reading": self.reading.facts()}

    def lines(self) -> list[str]:
        """The report for a human: one line of numbers, and one for each thing to know about."""
        lines = [
            f"{_count(self.examples, 'examples')}, {_count(self.steps, self.unit)}, "
            f"{self.steps / max(1, self.examples):.1f} an example, longest {self.longest:,}"
        ]
        if self.cut_examples:
            lines.append(self._cut())
        if self.unknown:
            lines.append(f"{_count(self.unknown, self.unit)} ({self.unknown_share:.2%}) unknown to the vocabulary")
        if self.seen_in_train:
            lines.append(f"{self._of_examples(self.seen_in_train)} with an input that is also in train")
        if self.quarantined:
            lines.append(f"{_count(self.quarantined, 'examples')} left out, because they cannot be read:")
            lines += self.quarantined_first
            if (more := self.quarantined - len(self.quarantined_first)) > 0:
                lines.append(f"and {more:,} more")
        return [f"{self.split}: {line}" for line in lines]

    def _cut(self) -> str:
        longer = f"{self._of_examples(self.cut_examples)} longer than {_count(self.limit or 0, self.unit)}"
        if self.truncate == "window":
            return f"{longer}, cut into windows: nothing is lost ({self.rows:,} rows)"
        labels = f" and {_count(self.cut_labels, 'labels')}" if self.cut_labels else ""
        return (
            f"{longer}, cut ({self.truncate}): {_count(self.cut_steps, self.unit)} ({self.cut_share:.1%}){labels} lost"
        )

    def _of_examples(self, count: int) -> str:
        return f"{_count(count, 'examples')} ({count / max(1, self.examples):.1%})"


@final
@dataclass(slots=True)
class Counts:
    """The numbers of a report that add up; see `SplitReport`.

    Attributes:
        lengths: how many examples have so many steps, before any cut.
    """

    examples: int = 0
    rows: int = 0
    steps: int = 0
    cut_examples: int = 0
    cut_steps: int = 0
    cut_labels: int = 0
    unknown: int = 0
    target_steps: int = 0
    target_unknown: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)

    def join(self, later: Counts) -> None:
        """Add the numbers of later examples."""
        for attribute in fields(self):
            before, value = getattr(self, attribute.name), getattr(later, attribute.name)
            if isinstance(before, Counter):
                before.update(value)
            else:
                setattr(self, attribute.name, before + value)

    def facts(self) -> dict[str, Any]:
        """The numbers as fields of a `SplitReport`."""
        numbers = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        del numbers["lengths"]
        lengths = sorted(self.lengths)
        up_to = np.cumsum([self.lengths[length] for length in lengths])
        quantiles = {"shortest": 0.0, "median": 0.5, "length_95": 0.95, "longest": 1.0}
        for name, share in quantiles.items():
            at = int(np.searchsorted(up_to, share * self.examples))
            numbers[name] = lengths[at] if lengths else 0
        return numbers | {"classes": dict(self.classes)}


class ReportBuilder:
    """Counts examples one by one, decides which of their steps are stored, and makes the report.

    Args:
        split: its name.
        input: the fitted input field.
        target: the fitted target field, or None if there are no targets.
        limit: the limit that inputs are cut to.

    Attributes:
        split: its name.
        counts: the numbers so far.
        is_uncut: whether the last example is stored with all its steps, as one row.
        counts_unknown_at_once: unknown symbols are not counted here, example by example, but by the caller, for many
            rows together, which is faster. It is so for fields that do not override `Field.count_unknown`.
    """

    def __init__(self, split: str, input: Field, target: Field | None, limit: Limit | None) -> None:
        self.split = split
        self.limit = limit
        self.counts = Counts()
        self.is_uncut = True
        has_unknown = input.unknown is not None
        self.counts_unknown_at_once = has_unknown and type(input).count_unknown is Field.count_unknown
        self._counts_unknown = has_unknown and not self.counts_unknown_at_once
        self._input = input
        self._ragged = input.ragged
        self._max_length = limit.max_length if limit else None
        self._target = target
        self._counts_classes = target is not None and type(target).count_classes is not Field.count_classes
        self._counts_target_steps = target is not None and target.ragged and not target.aligned and not target.derived
        self._targets: list[np.ndarray] = []
        self._labels: list[str] | None = getattr(target, "labels", []) if target and target.aligned else None

    @property
    def examples(self) -> int:
        """How many examples have been counted."""
        return self.counts.examples

    def add(self, x: np.ndarray, y: np.ndarray | None) -> Sequence[Any]:
        """Count one example. Returns for each row that is to be stored an index of its steps."""
        length = len(x) if self._ragged else 1
        counts = self.counts
        counts.examples += 1
        counts.lengths[length] += 1
        if y is not None and (self._counts_classes or self._counts_target_steps):
            self._targets.append(y)
        self.is_uncut = self._max_length is None or length <= self._max_length
        if self.is_uncut:
            counts.rows += 1
            counts.steps += length
            if self._counts_unknown:
                counts.unknown += self._input.count_unknown(x[0:length])
            return (slice(0, length),)
        selections = select_steps(length, self.limit)
        stored = sum(len(x[selection]) for selection in selections)
        counts.rows += len(selections)
        counts.steps += stored
        counts.cut_examples += 1
        counts.cut_steps += length - stored
        if stored < length and y is not None and self._labels is not None:
            is_label = self._is_label(y)
            kept = sum(int(is_label[selection].sum()) for selection in selections)
            counts.cut_labels += int(is_label.sum()) - kept
        if self._counts_unknown:
            counts.unknown += sum(self._input.count_unknown(x[selection]) for selection in selections)
        return selections

    def count_targets(self) -> None:
        """Count classes, or steps and unknown symbols, in the targets since the last call: many at a time is faster."""
        if not self._targets or self._target is None:
            return
        if self._counts_classes:
            self.counts.classes.update(self._target.count_classes(self._targets))
        if self._counts_target_steps:
            self.counts.target_steps += sum(map(len, self._targets))
            self.counts.target_unknown += self._target.count_unknown(np.concatenate(self._targets))
        self._targets.clear()

    def report(self, **more: Any) -> SplitReport:
        """The report; `more` are the fields of `SplitReport` that are not counted here."""
        self.count_targets()
        counts = self.counts.facts() | {"unknown": None if self._input.unknown is None else self.counts.unknown}
        return SplitReport(
            self.split,
            unit=self._input.unit,
            class_unit=self._target.class_unit if self._target else "examples",
            class_score=self._target.class_score if self._target else "accuracy",
            limit=self.limit.max_length if self.limit else None,
            truncate=self.limit.truncate if self.limit else None,
            **counts,
            **more,
        )

    def _is_label(self, y: np.ndarray) -> np.ndarray:
        """(T,) bool: which rows of an aligned target count as labels; of BIO tags those that are not `O`."""
        if self._labels and "O" in self._labels:
            return np.asarray(y != self._labels.index("O"))
        return np.ones(len(y), dtype=bool)


def select_steps(length: int, limit: Limit | None) -> list[Any]:
    """An index of the steps of each row that is stored of an example; no row is longer than the limit."""
    if limit is None or length <= limit.max_length:
        return [slice(0, length)]
    max_length = limit.max_length
    if limit.truncate == "head":
        return [slice(0, max_length)]
    if limit.truncate == "tail":
        return [slice(length - max_length, length)]
    if limit.truncate == "both_ends":
        first = (max_length + 1) // 2
        return [np.r_[0:first, length - (max_length - first) : length]]
    return [slice(start, min(start + max_length, length)) for start in range(0, length, max_length)]


def _count(n: int, things: str) -> str:
    return f"{n:,} {things.removesuffix('s') if n == 1 else things}"
