"""What was stored of a split and what was not: cuts, unknown symbols, repeats. Counted always, told always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

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
        longest: steps of the longest example, before any cut.
        limit: the most steps an example may have, or None.
        truncate: what happens to a longer one.
        cut_examples: examples longer than the limit.
        cut_steps: steps that were cut off and are in no row.
        cut_labels: labels that were cut off with them; of BIO tags only those that are not `O`.
        unknown: steps that are a symbol unknown to the vocabulary; None where the field has no such thing.
        seen_in_train: examples whose input is also an input of train, to the last step; None for train.
        quarantined: inputs that could not be encoded and were left out, as the task allows; no part of `examples`.
        quarantined_first: where the first of them are, and what is wrong with each.
    """

    split: str
    unit: str = "steps"
    examples: int = 0
    rows: int = 0
    steps: int = 0
    longest: int = 0
    limit: int | None = None
    truncate: str | None = None
    cut_examples: int = 0
    cut_steps: int = 0
    cut_labels: int = 0
    unknown: int | None = None
    seen_in_train: int | None = None
    quarantined: int = 0
    quarantined_first: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # JSON has given a list.
        object.__setattr__(self, "quarantined_first", tuple(self.quarantined_first))

    @property
    def unknown_share(self) -> float:
        """The share of the stored steps that are unknown symbols."""
        return (self.unknown or 0) / max(1, self.steps)

    @property
    def cut_share(self) -> float:
        """The share of all steps that were cut off."""
        return self.cut_steps / max(1, self.steps + self.cut_steps)

    def facts(self) -> JSON:
        """The numbers as JSON."""
        return asdict(self) | {"quarantined_first": list(self.quarantined_first)}

    def lines(self) -> list[str]:
        """The report for a human: one line, and one more for each thing to know about."""
        told = [
            f"{_count(self.examples, 'examples')}, {_count(self.steps, self.unit)}, "
            f"{self.steps / max(1, self.examples):.1f} an example, longest {self.longest:,}"
        ]
        if self.cut_examples:
            told.append(self._cut())
        if self.unknown:
            told.append(f"{_count(self.unknown, self.unit)} ({self.unknown_share:.2%}) unknown to the vocabulary")
        if self.seen_in_train:
            told.append(f"{self._of_examples(self.seen_in_train)} with an input that is also in train")
        if self.quarantined:
            told.append(f"{_count(self.quarantined, 'examples')} left out, because they cannot be read:")
            told += self.quarantined_first
            if (more := self.quarantined - len(self.quarantined_first)) > 0:
                told.append(f"and {more:,} more")
        return [f"{self.split}: {line}" for line in told]

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
    """The numbers of a report that add up; see `SplitReport`."""

    examples: int = 0
    rows: int = 0
    steps: int = 0
    longest: int = 0
    cut_examples: int = 0
    cut_steps: int = 0
    cut_labels: int = 0
    unknown: int = 0

    def join(self, later: Counts) -> None:
        """Those of later examples, too."""
        for name, value in asdict(later).items():
            own = getattr(self, name)
            setattr(self, name, max(own, value) if name == "longest" else own + value)


class ReportBuilder:
    """A report in the making.

    Args:
        split: its name.
        input: the fitted input field.
        target: the fitted target field, or None where there are no targets.
        limit: the limit that inputs are cut to.

    Attributes:
        counts: the numbers so far.
        whole: whether the last example was stored as it is.
        deferred: unknown symbols are not counted one example at a time, but by the caller, of all rows together. So it
            is for fields that count as `Field` does.
    """

    def __init__(self, split: str, input: Field, target: Field | None, limit: Limit | None) -> None:
        self.limit = limit
        self.counts = Counts()
        self.whole = True
        self.deferred = input.unknown is not None and type(input).count_unknown is Field.count_unknown
        self._split = split
        self._input = input
        self._ragged = input.ragged
        self._knows = input.unknown is not None and not self.deferred
        self._most = limit.max_length if limit else None
        self._labels: list[str] | None = getattr(target, "labels", []) if target and target.aligned else None

    @property
    def examples(self) -> int:
        """How many were counted so far."""
        return self.counts.examples

    def parts(self, x: np.ndarray, y: np.ndarray | None) -> Sequence[Any]:
        """Count one example, and say which parts of it are to be stored: an index each."""
        length = len(x) if self._ragged else 1
        counts = self.counts
        counts.examples += 1
        counts.longest = max(counts.longest, length)
        self.whole = self._most is None or length <= self._most
        if self.whole:
            counts.rows += 1
            counts.steps += length
            if self._knows:
                counts.unknown += self._input.count_unknown(x[0:length])
            return (slice(0, length),)
        parts = cuts(length, self.limit)
        stored = sum(len(x[part]) for part in parts)
        counts.rows += len(parts)
        counts.steps += stored
        counts.cut_examples += 1
        counts.cut_steps += length - stored
        if stored < length and y is not None and self._labels is not None:
            telling = self._telling(y)
            counts.cut_labels += int(telling.sum()) - sum(int(telling[part].sum()) for part in parts)
        if self._knows:
            counts.unknown += sum(self._input.count_unknown(x[part]) for part in parts)
        return parts

    def report(self, **more: Any) -> SplitReport:
        counts = asdict(self.counts) | {"unknown": None if self._input.unknown is None else self.counts.unknown}
        return SplitReport(
            self._split,
            unit=self._input.unit,
            limit=self.limit.max_length if self.limit else None,
            truncate=self.limit.truncate if self.limit else None,
            **counts,
            **more,
        )

    def _telling(self, y: np.ndarray) -> np.ndarray:
        """Which rows of an aligned target say something: of BIO tags those that are not `O`, of others all."""
        if self._labels and "O" in self._labels:
            return np.asarray(y != self._labels.index("O"))
        return np.ones(len(y), dtype=bool)


def cuts(length: int, limit: Limit | None) -> list[Any]:
    """The parts of an example that are stored: an index each, none of them longer than the limit."""
    if limit is None or length <= limit.max_length:
        return [slice(0, length)]
    most = limit.max_length
    if limit.truncate == "head":
        return [slice(0, most)]
    if limit.truncate == "tail":
        return [slice(length - most, length)]
    if limit.truncate == "both_ends":
        first = (most + 1) // 2
        return [np.r_[0:first, length - (most - first) : length]]
    return [slice(a, min(a + most, length)) for a in range(0, length, most)]


def _count(n: int, things: str) -> str:
    return f"{n:,} {things.removesuffix('s') if n == 1 else things}"
