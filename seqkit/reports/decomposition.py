"""Scores of a corpus as sums over its examples, so that thousands of resamples cost one product of matrices.

Each example has a row of counts, and a score is a function of their sums: accuracy of (right, 1), span F1 of (correct,
predicted, true), an error rate of (edits, symbols). Which function belongs to a score is known by its name; whether it
is the same score is then checked against the number that the run has recorded, because a plugin may call something else
by a name of seqkit's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from seqkit.forecasts import smape
from seqkit.metrics import edit_distance, spans
from seqkit.types import Prediction

Array = NDArray[np.float64]

MANY_CLASSES: Final = 200
"""With more classes than this, a macro-averaged score is not decomposed."""

TOLERANCE: Final = 1e-5
"""So near is a decomposed score to the recorded one; predictions are kept with six digits."""


@dataclass(frozen=True)
class Decomposed:
    """A score as a function of sums over examples.

    Attributes:
        counts: (n, k), a row for each example.
        combine: (..., k) sums to (...) scores; NaN where there is nothing to divide by.
    """

    counts: Array
    combine: Callable[[Array], Array]

    @property
    def score(self) -> float:
        """Of all examples."""
        return float(self.combine(self.counts.sum(axis=0)))


def decompose(
    name: str, predictions: Sequence[Prediction], targets: Sequence[Any], labels: Sequence[str] = ()
) -> Decomposed | None:
    """The score of this name, decomposed; None if it is not known how.

    Args:
        name: of the score: `macro_f1`, `span_f1.PER`.
        predictions: of all examples.
        targets: the true ones.
        labels: classes that have columns though they do not occur here, so that several models have the same columns.
    """
    base, _, kind = name.partition(".")
    make = _MAKERS.get(base)
    try:
        return make(predictions, targets, labels if base in _BY_CLASS else kind) if make and len(predictions) else None
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):  # values of another kind
        return None


def decompose_mean(scores: Sequence[float]) -> Decomposed:
    """A score that is the mean of the scores (n,) of single examples; those that are NaN have none."""
    values = np.asarray(scores, dtype=np.float64)
    known = np.isfinite(values)
    return Decomposed(np.stack([np.where(known, values, 0.0), known], axis=1).astype(np.float64), _ratio)


def decompose_sums(rows: Array) -> Decomposed:
    """A score that is a sum over examples divided by another; rows (n, 2) are what each of them adds to both."""
    return Decomposed(rows, _ratio)


def _ratio(sums: Array) -> Array:
    """The first sum divided by the second."""
    return _divide(sums[..., 0], sums[..., 1])


def _divide(above: Array, below: Array) -> Array:
    quotient: Array = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below != 0)
    return quotient


def _f1(sums: Array) -> Array:
    """Of (correct, predicted, true); 0 where nothing is predicted and nothing true."""
    both = sums[..., 1] + sums[..., 2]
    return np.divide(2 * sums[..., 0], both, out=np.zeros(np.shape(both)), where=both != 0)


def _precision(sums: Array) -> Array:
    return sums[..., 0] / np.maximum(1, sums[..., 1])


def _recall(sums: Array) -> Array:
    return sums[..., 0] / np.maximum(1, sums[..., 2])


def _accuracy(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    """By example; of tags by step, which is what tasks of tags mean by it."""
    is_tags = all(
        isinstance(target, list | tuple) and isinstance(prediction.confidence, list) and len(target)
        for prediction, target in zip(predictions, targets, strict=True)
    )
    rows = []
    for prediction, target in zip(predictions, targets, strict=True):
        if is_tags:
            hits = [old == new for old, new in zip(prediction.value, target, strict=True)]
            rows.append((sum(hits), len(hits)))
        elif isinstance(target, list | tuple):
            rows.append((_same_set(prediction.value, target), 1))
        else:
            rows.append((prediction.value == target, 1))
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


def _same_set(value: Any, target: Any) -> bool:
    return list(value) == list(target) or set(value) == set(target)


def _exact(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    rows = []
    for prediction, target in zip(predictions, targets, strict=True):
        value = prediction.value
        if isinstance(value, str) and isinstance(target, str):
            rows.append((value.split() == target.split(), 1))
        else:
            rows.append((list(value) == list(target), 1))
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


def labels_of(values: Iterable[Any]) -> set[str]:
    """The labels in predicted or true values: single ones, sets, or one a step."""
    return {label for value in values for label in _labels(value)}


def _class_rows(
    values: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], labels: Sequence[str]
) -> tuple[Array, Mapping[str, int]]:
    """(n, 3, C): of each class correct (still 0), predicted and true; and the number of each class."""
    known = sorted({*labels, *labels_of(values), *labels_of(targets)})
    if len(known) > MANY_CLASSES:
        raise ValueError("too many classes")
    number = {label: i for i, label in enumerate(known)}
    rows = np.zeros((len(values), 3, len(known)))
    for row, value, target in zip(rows, values, targets, strict=True):
        for label in value:
            row[1, number[label]] += 1
        for label in target:
            row[2, number[label]] += 1
    return rows, number


def _macro_f1(predictions: Sequence[Prediction], targets: Sequence[Any], labels: Any) -> Decomposed:
    """The mean F1 of the classes that occur."""
    values = [_labels(prediction.value) for prediction in predictions]
    true = [_labels(target) for target in targets]
    rows, number = _class_rows(values, true, labels)
    classes = len(number)
    is_sequence = isinstance(predictions[0].confidence, list)
    for row, value, target in zip(rows, values, true, strict=True):
        both = [a for a, b in zip(value, target, strict=True) if a == b] if is_sequence else set(value) & set(target)
        for label in both:
            row[0, number[label]] += 1

    def combine(sums: Array) -> Array:
        correct, predicted, occurring = (sums[..., i * classes : (i + 1) * classes] for i in range(3))
        f1 = _f1(np.stack([correct, predicted, occurring], axis=-1))
        occurs = predicted + occurring > 0
        return _divide((f1 * occurs).sum(axis=-1), occurs.sum(axis=-1))

    return Decomposed(rows.reshape(len(rows), -1), combine)


def _micro_f1(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    rows = [
        (len(set(prediction.value) & set(target)), len(set(prediction.value)), len(set(target)))
        for prediction, target in zip(predictions, targets, strict=True)
    ]
    return Decomposed(np.array(rows, dtype=np.float64), _f1)


def _labels(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _mcc(predictions: Sequence[Prediction], targets: Sequence[Any], labels: Any) -> Decomposed:
    """Gorodkin's correlation, of how often each class is right, predicted and true."""
    values, true = [[prediction.value] for prediction in predictions], [[target] for target in targets]
    rows, number = _class_rows(values, true, labels)
    classes = len(number)
    rows[:, 0, 0] = [prediction.value == target for prediction, target in zip(predictions, targets, strict=True)]

    def combine(sums: Array) -> Array:
        correct = sums[..., 0]
        predicted, true = sums[..., classes : 2 * classes], sums[..., 2 * classes :]
        total = true.sum(axis=-1)
        shared = correct * total - (predicted * true).sum(axis=-1)
        spread = (total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (true**2).sum(axis=-1))
        is_one_class = total**2 == (true**2).sum(axis=-1)
        value = np.divide(shared, np.sqrt(spread), out=np.zeros(np.shape(total)), where=spread > 0)
        return np.where(is_one_class, np.nan, value)

    return Decomposed(rows.reshape(len(rows), -1), combine)


def _spans_by(combine: Callable[[Array], Array]) -> _Maker:
    """What makes a score of spans: of all, or of one type."""

    def make(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
        rows = []
        for prediction, target in zip(predictions, targets, strict=True):
            predicted, true = set(spans(prediction.value)), set(spans(target))
            if kind:
                predicted = {span for span in predicted if span[0] == kind}
                true = {span for span in true if span[0] == kind}
            rows.append((len(predicted & true), len(predicted), len(true)))
        return Decomposed(np.array(rows, dtype=np.float64), combine)

    return make


def _errors_by(split: Callable[[Any], Sequence[Any]]) -> _Maker:
    """What makes an error rate over these symbols."""

    def make(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
        rows = [
            (edit_distance(split(prediction.value), split(target)), len(split(target)))
            for prediction, target in zip(predictions, targets, strict=True)
        ]
        return Decomposed(np.array(rows, dtype=np.float64), _ratio)

    return make


def _words(text: Any) -> list[Any]:
    return text.split() if isinstance(text, str) else list(text)


def _differences(predictions: Sequence[Prediction], targets: Sequence[Any]) -> tuple[Array, Array]:
    """(n, K) each: predicted minus true, and true."""
    true = np.array(list(targets), dtype=np.float64).reshape(len(targets), -1)
    predicted = np.array([prediction.value for prediction in predictions], dtype=np.float64).reshape(len(targets), -1)
    return predicted - true, true


def _known(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Iterator[tuple[Array, Array]]:
    """Of each example what was predicted and what is true, (k,) each, of the k numbers that are known."""
    for prediction, target in zip(predictions, targets, strict=True):
        value, true = np.asarray(prediction.value, np.float64).ravel(), np.asarray(target, np.float64).ravel()
        known = ~np.isnan(true)
        yield value[known], true[known]


def _mae(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    rows = [(np.abs(value - true).sum(), len(true)) for value, true in _known(predictions, targets)]
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


def _mse(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    rows = [(((value - true) ** 2).sum(), len(true)) for value, true in _known(predictions, targets)]
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


def _rmse(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    return Decomposed(_mse(predictions, targets, kind).counts, lambda sums: np.sqrt(_ratio(sums)))


def _smape(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    """The mean over forecasts, of which those without any known value do not count."""
    return decompose_mean(
        [smape(value, true) if len(true) else math.nan for value, true in _known(predictions, targets)]
    )


def _r2(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    """Of one number an example."""
    differences, true = _differences(predictions, targets)
    if true.shape[1] != 1:
        raise ValueError("several numbers")
    centre = true.mean()  # taken away, so that squares stay small
    rows = np.concatenate([differences**2, true - centre, (true - centre) ** 2, np.ones_like(true)], axis=1)

    def combine(sums: Array) -> Array:
        total = sums[..., 2] - _divide(sums[..., 1] ** 2, sums[..., 3])
        return 1.0 - _divide(sums[..., 0], total)

    return Decomposed(rows, combine)


def _nats(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    """The mean over all symbols of all texts."""
    rows = []
    for prediction in predictions:
        scores: Mapping[str, Any] = prediction.scores
        count = scores["symbols"]
        rows.append(((scores["nats"] or 0.0) * count if count else 0.0, count))
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


def _log_loss(predictions: Sequence[Prediction], targets: Sequence[Any], kind: Any) -> Decomposed:
    """Cross-entropy, of heads that give each label a probability."""
    rows = [
        (-math.log(max(prediction.scores[target], 1e-300)), 1)
        for prediction, target in zip(predictions, targets, strict=True)
    ]
    return Decomposed(np.array(rows, dtype=np.float64), _ratio)


_Maker = Callable[[Sequence[Prediction], Sequence[Any], Any], Decomposed]

_MAKERS: Final[Mapping[str, _Maker]] = {
    "accuracy": _accuracy,
    "exact": _exact,
    "macro_f1": _macro_f1,
    "micro_f1": _micro_f1,
    "mcc": _mcc,
    "span_f1": _spans_by(_f1),
    "span_precision": _spans_by(_precision),
    "span_recall": _spans_by(_recall),
    "wer": _errors_by(_words),
    "cer": _errors_by(list),
    "per": _errors_by(_words),
    "mae": _mae,
    "mse": _mse,
    "rmse": _rmse,
    "smape": _smape,
    "r2": _r2,
    "nats": _nats,
    "loss": _log_loss,
}

_BY_CLASS: Final = ("macro_f1", "mcc")
