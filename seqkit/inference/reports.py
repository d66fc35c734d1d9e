"""Precision, recall and F1 of each class, and which class was taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from seqkit.errors import UsageError
from seqkit.inference.evaluate import EvaluationResult
from seqkit.metrics import spans
from seqkit.spans import OUTSIDE, Scheme, convert, type_of
from seqkit.types import JSON, Field

_WIDEST_NAME: Final = 28
_MOST_CLASSES: Final = 40
"""Of more classes, only the most frequent confusions are printed instead of the matrix."""
_CONFUSIONS_SHOWN: Final = 20


@dataclass(frozen=True)
class ClassCounts:
    """How often a class was right, predicted, and true."""

    correct: int
    predicted: int
    true: int

    @property
    def precision(self) -> float:
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.correct / (self.predicted + self.true) if self.predicted + self.true else 0.0


@dataclass(frozen=True)
class ClassReport:
    """The counts of each class, and the confusion matrix.

    Attributes:
        task: the task's name.
        classes: by name: labels, or types of spans.
        confusion: {(true, predicted): how often}; of spans, by word. None for label sets.
        unit: what is counted in `classes`: examples, spans, words.
    """

    task: str
    classes: dict[str, ClassCounts]
    confusion: Counter[tuple[str, str]] | None
    unit: str

    def facts(self) -> JSON:
        """The report as JSON; row i, column j of `counts` is how often labels[i] was predicted as labels[j]."""
        classes = {
            name: {
                "precision": counts.precision,
                "recall": counts.recall,
                "f1": counts.f1,
                "true": counts.true,
                "predicted": counts.predicted,
            }
            for name, counts in self.classes.items()
        }
        facts: dict[str, JSON] = {"unit": self.unit, "classes": classes}
        if self.confusion is not None:
            labels = self._labels()
            counts = [[self.confusion[true, predicted] for predicted in labels] for true in labels]
            facts["confusion"] = {"labels": labels, "counts": counts}
        return facts

    def lines(self) -> list[str]:
        """The report for a human, at most 80 columns wide."""
        names = [_short(name) for name in self.classes]
        width = max([len(self.unit), *map(len, names)])
        lines = [f"{self.task}: {self.unit}", f"{'':<{width}}  precision  recall      F1      true  predicted"]
        for name, counts in zip(names, self.classes.values(), strict=True):
            lines.append(
                f"{name:<{width}}  {counts.precision:9.4f}  {counts.recall:6.4f}  {counts.f1:6.4f}  "
                f"{counts.true:8,}  {counts.predicted:9,}"
            )
        if self.confusion is not None:
            lines += ["", *self._matrix_lines(self.confusion)]
        return lines

    def _labels(self) -> list[str]:
        """The classes of the matrix: those of the table, and what else is predicted or true."""
        assert self.confusion is not None
        return list(dict.fromkeys([*self.classes, *sorted({label for pair in self.confusion for label in pair})]))

    def _matrix_lines(self, confusion: Counter[tuple[str, str]]) -> list[str]:
        labels = self._labels()
        cell = max(len(f"{count:,}") for count in confusion.values()) if confusion else 1
        cell = max(cell, len(str(len(labels)))) + 1
        width = max(map(len, map(_short, labels)))
        if len(labels) > _MOST_CLASSES or width + 6 + cell * len(labels) > 80:
            return self._frequent_confusions(confusion)
        lines = ["confusion: a row is the true class, a column the predicted one"]
        lines.append(f"{'':<{width + 4}}" + "".join(f"{number:>{cell}}" for number in range(1, len(labels) + 1)))
        for number, true in enumerate(labels, 1):
            cells = "".join(f"{confusion[true, predicted]:>{cell},}" for predicted in labels)
            lines.append(f"{number:>3} {_short(true):<{width}}{cells}")
        return lines

    def _frequent_confusions(self, confusion: Counter[tuple[str, str]]) -> list[str]:
        wrong = Counter({pair: count for pair, count in confusion.items() if pair[0] != pair[1]})
        lines = [f"the most frequent of {wrong.total():,} confusions (--json has the whole matrix)"]
        for (true, predicted), count in wrong.most_common(_CONFUSIONS_SHOWN):
            lines.append(f"{count:>8,}  {_short(true)} taken for {_short(predicted)}")
        return lines


def class_report(task: str, result: EvaluationResult, target: Field) -> ClassReport:
    """The report of a scored split: by label, by label of label sets, by type of span, or by tag.

    Args:
        task: the task's name, for messages.
        result: with predictions.
        target: the fitted target field.

    Raises:
        UsageError: the target has no classes.
    """
    values = [prediction.value for prediction in result.predictions]
    if not hasattr(target, "labels"):
        raise UsageError(f"--report: the target of task {task} is a {type(target).__name__}, which has no classes")
    if not target.aligned:
        if values and isinstance(values[0], list | tuple):
            return ClassReport(task, _set_counts(values, result.targets), None, "examples")
        return _label_report(task, values, result.targets, "examples")
    scheme: Scheme | None = getattr(target, "scheme", None)
    pairs = list(zip(values, result.targets, strict=True))
    if scheme is None:
        predicted = [tag for value, _ in pairs for tag in value]
        return _label_report(task, predicted, [tag for _, true in pairs for tag in true], "words")
    kinds = Counter(
        (type_of(true, scheme) or OUTSIDE, type_of(predicted, scheme) or OUTSIDE)
        for value, target_tags in pairs
        for predicted, true in zip(value, target_tags, strict=True)
    )
    return ClassReport(task, _span_counts(pairs, scheme), kinds, "spans")


def _label_report(task: str, predicted: Sequence[str], true: Sequence[str], unit: str) -> ClassReport:
    confusion = Counter(zip(true, predicted, strict=True))
    correct = Counter({label: count for (label, other), count in confusion.items() if label == other})
    return ClassReport(task, _counts(correct, Counter(predicted), Counter(true)), confusion, unit)


def _set_counts(values: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]) -> dict[str, ClassCounts]:
    correct = Counter(
        label for value, target in zip(values, targets, strict=True) for label in set(value) & set(target)
    )
    return _counts(correct, _count_all(values), _count_all(targets))


def _span_counts(pairs: Iterable[tuple[Any, Any]], scheme: Scheme) -> dict[str, ClassCounts]:
    correct, predicted, true = Counter[str](), Counter[str](), Counter[str]()
    for value, target in pairs:
        if scheme == "plain":
            value, target = convert(value, "plain", "iob2"), convert(target, "plain", "iob2")
        predicted_spans, true_spans = set(spans(value)), set(spans(target))
        correct.update(kind for kind, _, _ in predicted_spans & true_spans)
        predicted.update(kind for kind, _, _ in predicted_spans)
        true.update(kind for kind, _, _ in true_spans)
    return _counts(correct, predicted, true)


def _counts(correct: Counter[str], predicted: Counter[str], true: Counter[str]) -> dict[str, ClassCounts]:
    names = sorted({*predicted, *true})
    return {name: ClassCounts(correct[name], predicted[name], true[name]) for name in names}


def _count_all(sets: Iterable[Iterable[str]]) -> Counter[str]:
    return Counter(label for labels in sets for label in labels)


def _short(name: str) -> str:
    return name if len(name) <= _WIDEST_NAME else name[: _WIDEST_NAME - 1] + "…"
