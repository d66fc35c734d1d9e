"""What predictions show beyond a score: confusions, calibration, curves over thresholds, scores by length.

Pure functions from predictions and true targets to numbers, which pictures and reports are made of. They need no torch,
some scikit-learn. Like `seqkit.metrics`, none depends on the order of the examples, unless it returns examples.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqkit.lazy_sequence import LazySequence
from seqkit.metrics import confusion, spans
from seqkit.types import Metric, Prediction, ScoredExamples

NO_SPAN = "(none)"
"""Stands for what is missing: in a row for a span that was predicted and is not there, in a column for one missed."""

OTHER = "(others)"
"""Stands for the classes that are too rare for a row of their own."""

# Confusions


@dataclass(frozen=True)
class Confusion:
    """How often each class was taken for which.

    Attributes:
        labels: (C,) the classes.
        counts: (C, C) int64, rows true, columns predicted.
        unit: what is counted: `examples`, `steps` or `spans`; `examples (intent)` of one part of several answers.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    unit: str

    @property
    def shares(self) -> NDArray[np.float64]:
        """(C, C) the share of each row, which adds up to 1, or is 0 where a class does not occur."""
        totals = self.counts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = self.counts / np.maximum(totals, 1)
        return shares

    def merged(self, limit: int) -> Confusion:
        """At most `limit` classes, in their order: the rarest are added up in a last one, `(others)`."""
        if len(self.labels) <= limit:
            return self
        support = self.counts.sum(axis=1) + self.counts.sum(axis=0)
        keep = np.sort(np.argsort(-support, kind="stable")[: limit - 1])
        group = np.full(len(self.labels), limit - 1)
        group[keep] = np.arange(limit - 1)
        counts = np.zeros((limit, limit), dtype=np.int64)
        np.add.at(counts, (group[:, None], group[None, :]), self.counts)
        return Confusion((*(self.labels[index] for index in keep), OTHER), counts, self.unit)


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of a class, each 0 where there is nothing to divide by, and how often it occurs."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def find_confusion(
    predictions: Sequence[Prediction], targets: Sequence[Any], labels: Sequence[str] | None = None
) -> Confusion | None:
    """The confusion matrix that suits these targets; None where they are no classes.

    Labels are counted by example, and so is the part of several answers that is a label (`label_part`); tags that mark
    spans by span, as in `span_confusion`; other tags by step.

    Args:
        predictions: of whole examples.
        targets: the true ones.
        labels: the classes in their order; those that occur and are not among them come after. None: as they sort.
    """
    if len(targets) == 0:
        return None
    if (name := label_part(targets)) is not None:
        of_part = [prediction.value[name] for prediction in predictions]
        return _count(of_part, [target[name] for target in targets], labels, f"examples ({name})")
    if _is_labels(predictions, targets):
        return _count([prediction.value for prediction in predictions], targets, labels, "examples")
    if not _is_tags(predictions, targets):
        return None
    true = [tag for target in targets for tag in target]
    if any(tag[:1] in "BIES" and tag[1:2] in ("", "-") for tag in set(true)):
        try:
            return span_confusion(predictions, targets)
        except ValueError:  # tags of another kind that look like it
            pass
    return _count([tag for prediction in predictions for tag in prediction.value], true, labels, "steps")


def span_confusion(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> Confusion:
    """Types of spans: a true span is compared with the predicted one of exactly the same steps.

    Where there is none, it counts in the column `(none)`, and a predicted span without a true one in that row. So each
    type's F1 by this matrix (`class_scores`) is `span_f1.<type>` of `seqkit.metrics.span_f1`.

    Raises:
        ValueError: a tag marks no span.
    """
    pairs: list[tuple[str, str]] = []
    for prediction, target in zip(predictions, targets, strict=True):
        true = {(start, end): kind for kind, start, end in spans(target)}
        predicted = {(start, end): kind for kind, start, end in spans(prediction.value)}
        pairs += [(true.get(extent, NO_SPAN), predicted.get(extent, NO_SPAN)) for extent in true.keys() | predicted]
    kinds = sorted({kind for pair in pairs for kind in pair} - {NO_SPAN})
    return _count([predicted for _, predicted in pairs], [true for true, _ in pairs], [*kinds, NO_SPAN], "spans")


def class_scores(matrix: Confusion) -> list[ClassScore]:
    """Precision, recall and F1 of each class of a confusion matrix, `(none)` left out."""
    correct, true, predicted = matrix.counts.diagonal(), matrix.counts.sum(axis=1), matrix.counts.sum(axis=0)
    return [
        ClassScore(
            label,
            float(correct[n] / max(1, predicted[n])),
            float(correct[n] / max(1, true[n])),
            float(2 * correct[n] / max(1, true[n] + predicted[n])),
            int(true[n]),
        )
        for n, label in enumerate(matrix.labels)
        if label != NO_SPAN
    ]


def _count(predicted: Sequence[str], true: Sequence[str], labels: Sequence[str] | None, unit: str) -> Confusion:
    occur = {*predicted, *true}
    order = [*(labels or ()), *sorted(occur - set(labels or ()))]
    if not true:
        return Confusion(tuple(order), np.zeros((len(order), len(order)), dtype=np.int64), unit)
    return Confusion(tuple(order), confusion(true, [Prediction(value) for value in predicted], order), unit)


# Calibration


@dataclass(frozen=True)
class Calibration:
    """How often predictions of a given confidence are right.

    Attributes:
        edges: (n + 1,) of the bins of confidence, from 0 to 1.
        counts: (n,) predictions in each bin.
        confidence: (n,) their mean confidence; NaN in an empty bin.
        accuracy: (n,) the share of them that is right; NaN in an empty bin.
        error: the expected calibration error, 0 to 1.
        unit: what is counted: `examples` or `steps`.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float
    unit: str


def calibration(predictions: Sequence[Prediction], targets: Sequence[Any], *, bins: int = 10) -> Calibration | None:
    """The reliability of confidences in bins of equal width, and the expected calibration error (Guo et al. 2017).

    Tags are counted step by step. Of several answers, the confidence is that of the part that is a label
    (`label_part`), and so is what is right. None where predictions have no confidence, or it is not known of what.
    """
    name = label_part(targets)
    if name is None and any(isinstance(target, Mapping) for target in targets):
        return None
    if name is not None:
        predictions = [replace(prediction, value=prediction.value[name]) for prediction in predictions]
        targets = [target[name] for target in targets]
    confidences, are_right, unit = _confidences(predictions, targets)
    unit = unit if name is None else f"{unit} ({name})"
    if not confidences.size:
        return None
    edges = np.linspace(0.0, 1.0, bins + 1)
    # A bin holds its upper edge, as in the paper, and the first one 0 too.
    which = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = counts > 0
    means = [
        np.divide(np.bincount(which, weights=values, minlength=bins), counts, out=np.full(bins, np.nan), where=filled)
        for values in (confidences, are_right)
    ]
    gaps = np.abs(means[1] - means[0])[filled]
    return Calibration(edges, counts, means[0], means[1], float((gaps * counts[filled]).sum() / counts.sum()), unit)


def _confidences(
    predictions: Sequence[Prediction], targets: Sequence[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
    """(n,) confidences, (n,) 1 where it is right and 0 elsewhere, and what is counted."""
    values: list[float] = []
    hits: list[bool] = []
    unit = "examples"
    for prediction, target in zip(predictions, targets, strict=True):
        if isinstance(prediction.confidence, list):
            unit = "steps"
            if isinstance(target, list | tuple) and len(prediction.confidence) == len(prediction.value) == len(target):
                values += prediction.confidence
                hits += [old == new for old, new in zip(target, prediction.value, strict=True)]
        elif prediction.confidence is not None:
            values.append(prediction.confidence)
            hits.append(is_right(prediction, target))
    confidences = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    finite = np.isfinite(confidences)
    return confidences[finite], np.asarray(hits, dtype=np.float64)[finite], unit


# Curves over thresholds


@dataclass(frozen=True)
class Curve:
    """A curve over all thresholds on the probability of a label, each against the rest.

    Attributes:
        label: the positive label.
        x: (n,) recall, or the false positive rate.
        y: (n,) precision, or the true positive rate.
        area: average precision, or the area under the ROC curve.
        base: the share of examples that are positive.
    """

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: float
    base: float


def precision_recall_curves(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, limit: int = 10, points: int = 200
) -> list[Curve]:
    """Precision over recall. `area` is the average precision, by steps (no interpolation), as `metrics.auprc`.

    Args:
        predictions: with the probabilities of all labels, as `classify` gives them; without, there are no curves.
        targets: a label each, or several.
        limit: labels that have a curve, the most frequent ones.
        points: a curve has at most as many, with its ends.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    curves = []
    for label, is_true, scores in _one_against_rest(predictions, targets, limit):
        precision, recall, _ = precision_recall_curve(is_true, scores)
        keep = _thin(len(recall), points)
        area = float(average_precision_score(is_true, scores))
        curves.append(Curve(label, recall[::-1][keep], precision[::-1][keep], area, float(is_true.mean())))
    return curves


def roc_curves(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, limit: int = 10, points: int = 200
) -> list[Curve]:
    """The true positive rate over the false positive rate. Arguments as in `precision_recall_curves`."""
    from sklearn.metrics import roc_auc_score, roc_curve

    curves = []
    for label, is_true, scores in _one_against_rest(predictions, targets, limit):
        x, y, _ = roc_curve(is_true, scores)
        keep = _thin(len(x), points)
        curves.append(Curve(label, x[keep], y[keep], float(roc_auc_score(is_true, scores)), float(is_true.mean())))
    return curves


def count_curves(predictions: Sequence[Prediction], targets: Sequence[Any]) -> int:
    """How many labels could have a curve."""
    return len(_one_against_rest(predictions, targets, None))


def _one_against_rest(
    predictions: Sequence[Prediction], targets: Sequence[Any], limit: int | None
) -> list[tuple[str, NDArray[np.bool_], NDArray[np.float64]]]:
    """(label, which examples have it, its probability in each): of two labels the second, of more the most frequent.

    Labels that all examples have, or none, are left out.
    """
    if not predictions or not isinstance(predictions[0].scores, Mapping):
        return []
    labels, is_set = list(predictions[0].scores), isinstance(targets[0], list | tuple)
    if not all(_is_distribution(prediction.scores) and list(prediction.scores) == labels for prediction in predictions):
        return []  # details of another kind: the spans of a tagger
    if len(labels) == 2 and not is_set:
        labels = labels[1:]
    rows = []
    for label in labels:
        is_true = np.array([label in target if is_set else label == target for target in targets])
        scores = np.array([_last(prediction.scores[label]) for prediction in predictions], dtype=np.float64)
        if is_true.any() and not is_true.all() and np.isfinite(scores).all():
            rows.append((label, is_true, scores))
    return sorted(rows, key=lambda row: -int(row[1].sum()))[:limit]


def _is_distribution(scores: Any) -> bool:
    """Whether these are probabilities of labels."""
    return isinstance(scores, Mapping) and all(isinstance(_last(value), int | float) for value in scores.values())


def _last(value: Any) -> Any:
    """A probability, or the last one where there is one for each step."""
    return value[-1] if isinstance(value, list) and value else value


def _thin(length: int, points: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, points)).round().astype(np.int64))


# Lengths


@dataclass(frozen=True)
class LengthScore:
    """The score of the examples that have `low` to `high` steps, both included, and how many they are."""

    low: int
    high: int
    count: int
    score: float


def score_by_length(
    lengths: Sequence[int],
    predictions: Sequence[Prediction],
    targets: Sequence[Any],
    metric: Metric,
    name: str,
    *,
    examples: ScoredExamples | None = None,
    bins: int = 8,
) -> list[LengthScore]:
    """A score in groups of examples of about the same length, about equally many in each; shorter ones come first.

    Args:
        lengths: steps of each example's input.
        predictions: of the same examples.
        targets: of the same examples.
        metric: the task's.
        name: which of its scores.
        examples: of the same examples, ids and inputs, for a metric that sees them.
        bins: at most as many groups; examples of equal length are in one.
    """
    order = np.asarray(lengths, dtype=np.int64)
    groups = []
    for low, high in length_ranges(order, bins):
        rows = np.flatnonzero((order >= low) & (order <= high)).tolist()
        chosen: list[Any] = [[predictions[row] for row in rows], [targets[row] for row in rows]]
        if examples is not None and getattr(metric, "sees_examples", False):
            ids = [examples.ids[row] for row in rows]
            chosen.append(ScoredExamples(ids, _Selection(examples.inputs, rows), examples.split))
        try:
            score = metric(*chosen).get(name, math.nan)
        except ValueError:  # of these few examples the score is not defined
            score = math.nan
        groups.append(LengthScore(low, high, len(rows), float(score)))
    return groups


class _Selection(LazySequence[Any]):
    """Some of the items of a sequence, each of them asked for on access."""

    def __init__(self, items: Sequence[Any], numbers: Sequence[int]) -> None:
        self._items, self._numbers = items, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def item(self, i: int) -> Any:
        return self._items[self._numbers[i]]


def length_ranges(lengths: Iterable[int], bins: int) -> list[tuple[int, int]]:
    """At most `bins` ranges (shortest, longest) that hold about equally many of the lengths, and all of them."""
    ordered = np.sort(np.asarray(list(lengths), dtype=np.int64))
    if not ordered.size:
        return []
    upper = np.unique(ordered[np.ceil(np.arange(1, bins + 1) * len(ordered) / bins).astype(int) - 1])
    ranges = []
    for number, high in enumerate(upper):
        inside = ordered[ordered <= high] if number == 0 else ordered[(ordered <= high) & (ordered > upper[number - 1])]
        ranges.append((int(inside[0]), int(high)))
    return ranges


@dataclass(frozen=True)
class LengthHistogram:
    """How long the inputs are.

    Attributes:
        edges: (n + 1,) of the bins, in steps.
        counts: (n,).
        limit: the longest input that is read whole; None: all are.
        longer: how many are longer than that.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    limit: int | None
    longer: int


def length_histogram(
    lengths: Iterable[int], limit: int | None = None, *, longer: int | None = None, bins: int = 40
) -> LengthHistogram:
    """Counts of lengths in at most `bins` bins of whole steps, all of the same width.

    Args:
        lengths: of the inputs.
        limit: the longest that is read whole.
        longer: how many are longer, where `lengths` are those after the cut; None: these lengths say it.
        bins: at most as many.
    """
    values = np.asarray(list(lengths), dtype=np.int64)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    width = max(1, math.ceil((high - low + 1) / bins))
    edges = np.arange(low, high + width + 1, width, dtype=np.float64) - 0.5
    counts, _ = np.histogram(values, edges)
    if longer is None:
        longer = 0 if limit is None else int((values > limit).sum())
    return LengthHistogram(edges, counts, limit, longer)


# Examples that teach most


def is_right(prediction: Prediction, target: Any) -> bool:
    """Whether the whole value is the target."""
    value = prediction.value
    return list(value) == list(target) if isinstance(target, list | tuple) else bool(value == target)


def number_errors(predictions: Sequence[Prediction], targets: Sequence[Any]) -> NDArray[np.float64] | None:
    """(n,) the mean absolute error of each example, NaN where nothing is known of it; None where these are no numbers.

    Args:
        predictions: a number each, or lists of numbers, or lists of lists.
        targets: in the same shapes; NaN is a number that is not known.
    """
    if not predictions:
        return None
    errors = np.full(len(predictions), math.nan)
    for number, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        if not _is_float(prediction.value):
            return None
        try:
            value, true = np.asarray(prediction.value, np.float64), np.asarray(target, np.float64)
        except (TypeError, ValueError):  # no numbers, or as many as the model liked: points of a drawing
            return None
        if value.shape != true.shape:
            return None
        known = np.abs(value - true)[~np.isnan(true)]
        errors[number] = known.mean() if known.size else math.nan
    return errors


def _is_float(value: Any) -> bool:
    """Whether it is a number, or a list of numbers, or of lists of them; whole numbers may be names of something."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, float)


def errors_first(predictions: Sequence[Prediction], targets: Sequence[Any]) -> list[int]:
    """The numbers of the examples: wrong ones first, beginning with the most confident; then the most doubtful ones.

    Of numbers, which are hardly ever right, those with the largest mean absolute error first.
    """
    if (errors := number_errors(predictions, targets)) is not None:
        return list(map(int, np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")))

    def rank(number: int) -> tuple[bool, float, int]:
        prediction = predictions[number]
        confidence = 0.0 if prediction.confidence is None else float(np.mean(prediction.confidence or 0.0))
        right = is_right(prediction, targets[number])
        return right, confidence if right else -confidence, number

    return sorted(range(len(predictions)), key=rank)


def examples_to_draw(predictions: Sequence[Prediction], targets: Sequence[Any], count: int = 3) -> list[int]:
    """The numbers of examples whose lists of numbers are worth a drawing: some spread evenly, and the worst ones.

    Args:
        predictions: of a split.
        targets: of the same examples.
        count: of each kind.

    Returns:
        Those that are spread evenly, then those with the largest errors; none where predictions are no lists.
    """
    evenly = examples_spread_evenly(predictions, targets, count)
    return list(dict.fromkeys([*evenly, *errors_first(predictions, targets)[:count]])) if evenly else []


def examples_spread_evenly(predictions: Sequence[Prediction], targets: Sequence[Any], count: int) -> list[int]:
    """The numbers of `count` examples, or of fewer, that are always the same; none where predictions are no lists of
    numbers.
    """
    if not predictions or not isinstance(predictions[0].value, list) or number_errors(predictions, targets) is None:
        return []
    evenly = np.linspace(0, len(predictions) - 1, count + 2)[1:-1].round().astype(int).tolist()
    return list(dict.fromkeys(evenly))


def describe_difference(target: Any, prediction: Any) -> str:
    """Where a prediction is not the target: steps of a sequence, words of a text; "wrong" for anything else.

    An empty text if they are equal.
    """
    if prediction == target:
        return ""
    if isinstance(target, Mapping) and isinstance(prediction, Mapping) and target.keys() == prediction.keys():
        parts = {name: _difference_of_part(target[name], prediction[name]) for name in target}
        return "; ".join(f"{name}: {difference}" for name, difference in parts.items() if difference)
    if isinstance(target, str) and isinstance(prediction, str) and (" " in target or " " in prediction):
        before, after = target.split(), prediction.split()
        return "; ".join(
            f"{' '.join(before[i:j]) or '(nothing)'} → {' '.join(after[k:m]) or '(nothing)'}"
            for kind, i, j, k, m in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes()
            if kind != "equal"
        )
    if isinstance(target, list | tuple) and isinstance(prediction, list | tuple) and len(target) == len(prediction):
        pairs = enumerate(zip(target, prediction, strict=True), start=1)
        return "; ".join(f"step {step}: {old} → {new}" for step, (old, new) in pairs if old != new)
    return "wrong"


def _difference_of_part(target: Any, prediction: Any) -> str:
    """As `describe_difference`; of labels, which is taken for which."""
    difference = describe_difference(target, prediction)
    return f"{target} → {prediction}" if difference == "wrong" else difference


# Kinds of targets


def label_part(targets: Sequence[Any]) -> str | None:
    """Of targets that are several answers, {name: answer}, the name of the only one that is a label, a text.

    None where they are no mappings with the same names, or have no such part, or several.
    """
    if not targets or not all(isinstance(target, Mapping) and target.keys() == targets[0].keys() for target in targets):
        return None
    names = [name for name in targets[0] if all(isinstance(target[name], str) for target in targets)]
    return names[0] if len(names) == 1 else None


def _is_labels(predictions: Sequence[Prediction], targets: Sequence[Any]) -> bool:
    """Whether the answers are single labels: texts with the probability of each, which sentences do not have."""
    return all(isinstance(target, str) for target in targets) and all(
        isinstance(prediction.value, str)
        and _is_distribution(prediction.scores)
        and prediction.value in prediction.scores
        for prediction in predictions
    )


def _is_tags(predictions: Sequence[Prediction], targets: Sequence[Any]) -> bool:
    """Whether the answers are tags: as many as there are in the target, each a text. Sets of labels are not."""
    return all(
        not isinstance(prediction.confidence, float)
        and isinstance(target, list | tuple)
        and isinstance(prediction.value, list | tuple)
        and len(target) == len(prediction.value)
        and all(isinstance(tag, str) for tag in (*target, *prediction.value))
        for prediction, target in zip(predictions, targets, strict=True)
    ) and any(len(target) for target in targets)
