"""Scores: pure functions from predictions and true targets to named numbers. They need no torch, some scikit-learn.

All are between 0 and 1 unless stated otherwise, and none depends on the order of the examples. A score that is
undefined for these targets (a correlation if only one class occurs) is NaN, never a number that looks valid.

A task names its metric in `Task(metric=...)` and the score that chooses the checkpoint in `best`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from seqkit import public_api
from seqkit.types import Prediction

__all__ = [
    "BASELINES",
    "LOWER_IS_BETTER",
    "accuracy",
    "auprc",
    "auroc",
    "cer",
    "confusion",
    "edit_distance",
    "error_rate",
    "label_scores",
    "macro_f1",
    "mae",
    "mcc",
    "r2",
    "rmse",
    "sees_examples",
    "set_scores",
    "span_f1",
    "spans",
    "sums_by_example",
    "tag_accuracy",
    "tag_scores",
    "value_scores",
    "wer",
]

LOWER_IS_BETTER = frozenset(
    {"loss", "nats", "bits", "perplexity", "mse", "rmse", "mae", "wer", "cer", "per", "ter"}
    | {"smape", "mase", "rmsse", "owa", "crps"}
)
"""Scores of which lower is better. Of all others higher is better, unless a task says `min:` or `max:`."""

BASELINES = frozenset({"baseline", "constant", "last_value", "majority", "seasonal_naive"})
"""Names of simple answers to the same examples. A score `X.NAME` with one of these is what such an answer has of the
score `X`: it is shown beside `X`, and seqkit warns of a model that is no better."""

F = TypeVar("F", bound=Callable[..., Mapping[str, float]])


def sees_examples(metric: F) -> F:
    """Mark a metric that is called with three arguments: predictions, targets, and `ScoredExamples` (ids and inputs).

    For scores that depend on more than a prediction and its target: those of forecasts, which are compared with what
    the past says, or scores by group, which the ids tell.
    """
    vars(metric)["sees_examples"] = True
    return metric


def sums_by_example(sums: Callable[..., Mapping[str, Any]]) -> Callable[[F], F]:
    """Mark a metric some of whose scores are quotients of sums over the examples.

    Runs keep the sums, and the scores have intervals and tests in reports and comparisons, which resample examples.

    Args:
        sums: is called as the metric is, and gives {score: (n, 2)}, a row for each example. The score is the sum of the
            first column divided by that of the second: for a mean, (the example's score, 1).
    """

    def mark(metric: F) -> F:
        vars(metric)["sums_by_example"] = sums
        return metric

    return mark


# Which of two scores is better


def is_better(best: str, score: float, than: float | None) -> bool:
    """Whether a dev score beats the best so far. `best` is `name`, `min:name` or `max:name`. NaN beats nothing."""
    if than is None or (math.isnan(than) and not math.isnan(score)):
        return True
    return score < than if lower_is_better(best) else score > than


def lower_is_better(best: str) -> bool:
    """Whether a score is to be minimised: as `min:` or `max:` says, else by the score's name."""
    kind, _, name = best.rpartition(":")
    return kind == "min" if kind else name in LOWER_IS_BETTER


def score_name(best: str) -> str:
    """`min:wer` -> `wer`."""
    return best.rpartition(":")[2]


# One label an example


def accuracy(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`accuracy`: the share of examples whose value is exactly the target (for label sets, see `set_scores`)."""
    pairs = _pairs(predictions, targets)
    return {"accuracy": sum(_is_equal(value, target) for value, target in pairs) / len(pairs)}


def macro_f1(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`macro_f1`: the plain mean over labels of each label's F1, so that a rare label weighs as much as a common one.

    The labels are those that occur in the targets or the predictions, as in scikit-learn. A label that occurs in only
    one of the two has F1 0.
    """
    from sklearn.metrics import f1_score

    predicted, true = _labels_of(predictions, targets)
    labels = sorted({*predicted, *true})
    return {"macro_f1": float(f1_score(true, predicted, labels=labels, average="macro", zero_division=0.0))}


def mcc(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`mcc`: Matthews' correlation coefficient, -1 to 1, for any number of labels (Gorodkin 2004).

    0 if all predictions are one label, and NaN if all targets are.
    """
    from sklearn.metrics import matthews_corrcoef

    predicted, true = _labels_of(predictions, targets)
    return {"mcc": float(matthews_corrcoef(true, predicted)) if len(set(true)) > 1 else math.nan}


def label_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`accuracy` and `macro_f1`."""
    return accuracy(predictions, targets) | macro_f1(predictions, targets)


def auroc(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, positive: str | None = None
) -> dict[str, float]:
    """`auroc`: the probability that a positive example is scored higher than a negative one.

    It needs `Prediction.scores` as `classify` makes them. With two labels, `positive` is the positive one (by default
    the second in `scores`; the result is the same for either). With more labels, and for label sets, it is the mean
    over the labels, each against the rest; labels that all examples have, or none, are left out. NaN if all are.
    """
    from sklearn.metrics import roc_auc_score

    return {"auroc": _mean_over_labels(roc_auc_score, predictions, targets, positive)}


def auprc(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, positive: str | None = None
) -> dict[str, float]:
    """`auprc`: average precision, the area under the precision-recall curve by steps (no interpolation).

    Labels as in `auroc`; here it matters which of two labels is the positive one.
    """
    from sklearn.metrics import average_precision_score

    return {"auprc": _mean_over_labels(average_precision_score, predictions, targets, positive)}


def set_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """For label sets: `accuracy` (equal sets), `micro_f1` over all labels together, `macro_f1`, the mean over labels.

    The labels are those that occur in the targets or the predictions; one that is never right has F1 0.
    """
    pairs = _pairs(predictions, targets)
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for value, target in pairs:
        correct.update(set(value) & set(target))
        predicted.update(set(value))
        true.update(set(target))
    scores = [_f1(correct[label], predicted[label], true[label]) for label in sorted({*predicted, *true})]
    return {
        "accuracy": sum(set(value) == set(target) for value, target in pairs) / len(pairs),
        "micro_f1": _f1(correct.total(), predicted.total(), true.total()),
        "macro_f1": math.fsum(scores) / len(scores) if scores else 0.0,
    }


def confusion(targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """(C, C) int64: how often the label of row i was predicted as the label of column j. Tags are counted step by step.

    Raises:
        ValueError: a target or a prediction is not among `labels`.
    """
    index = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for value, target in _pairs(predictions, targets):
        steps = zip(target, value, strict=True) if isinstance(target, list | tuple) else [(target, value)]
        for true, predicted in steps:
            if true not in index or predicted not in index:
                unknown = true if true not in index else predicted
                raise ValueError(f"label {unknown!r} is not among the {len(labels)} labels")
            counts[index[true], index[predicted]] += 1
    return counts


# One tag a step


def tag_accuracy(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`accuracy`: the share of steps with the right tag; every step of every example weighs the same."""
    is_correct = [
        predicted == true
        for value, target in _aligned(predictions, targets)
        for predicted, true in zip(value, target, strict=True)
    ]
    return {"accuracy": sum(is_correct) / len(is_correct)}


def tag_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`accuracy` over steps, `exact` (the share of sequences with every tag right) and `macro_f1` over tags."""
    pairs = _aligned(predictions, targets)
    tags = [Prediction(tag) for value, _ in pairs for tag in value]
    true_tags = [tag for _, target in pairs for tag in target]
    exact = sum(list(value) == list(target) for value, target in pairs) / len(pairs)
    return {**tag_accuracy(predictions, targets), "exact": exact, **macro_f1(tags, true_tags)}


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans (type, first step, step after the last) that a sequence of tags means, by the rules of conlleval.

    conlleval knows IOB1 and IOB2; for BIOES, which it does not, its rules are extended by those for E and S. They read
    all three and illegal sequences alike. A span begins at B or S, and at I or E if no span of
    its type is open (at the start, after O, E or S, or after another type). It ends before the next beginning, before
    O, after E and S, and where the type changes. A tag is `O`, or a letter, a dash and the type, or the letter alone if
    there is only one type.

    Raises:
        ValueError: a tag is of another form.
    """
    result: list[tuple[str, int, int]] = []
    if tags.count("O") == len(tags):  # most sentences: a short cut
        return result
    open_type, start, is_open = "", 0, False
    for step, tag in enumerate(tags):
        if tag == "O":  # most tags
            if is_open:
                result.append((open_type, start, step))
                is_open = False
            continue
        letter, span_type = _split_tag(tag)
        begins = letter in "BS" or not is_open or span_type != open_type
        if is_open and begins:
            result.append((open_type, start, step))
        if begins:
            open_type, start, is_open = span_type, step, True
        if letter in "ES":
            result.append((open_type, start, step + 1))
            is_open = False
    if is_open:
        result.append((open_type, start, len(tags)))
    return result


def span_f1(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`span_f1`, `span_precision`, `span_recall` over all spans, and `span_f1.<type>` for each type in the targets.

    A span is right if its type, first and last step are (conlleval of CoNLL-2000 and -2003; see `spans`). Precision is
    0 without predicted spans, recall without true ones.
    """
    correct: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for value, target in _aligned(predictions, targets):
        predicted_spans, true_spans = set(spans(value)), set(spans(target))
        correct.update(span_type for span_type, _, _ in predicted_spans & true_spans)
        predicted.update(span_type for span_type, _, _ in predicted_spans)
        true.update(span_type for span_type, _, _ in true_spans)
    scores = {
        "span_f1": _f1(correct.total(), predicted.total(), true.total()),
        "span_precision": correct.total() / max(1, predicted.total()),
        "span_recall": correct.total() / max(1, true.total()),
    }
    types = [span_type for span_type in sorted(true) if span_type]
    return scores | {f"span_f1.{name}": _f1(correct[name], predicted[name], true[name]) for name in types}


# Numbers


def value_scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`rmse` and `mae`, in the units of the data, over all numbers of all examples.

    Targets may be numbers, several numbers, or those of each step of sequences of any lengths (`StepValues`). What is
    not known (NaN) is left out.
    """
    return rmse(predictions, targets) | mae(predictions, targets)


def rmse(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`rmse`: root of the mean squared error, over the same numbers as `value_scores`; NaN if none is known."""
    errors = _errors(predictions, targets)
    return {"rmse": float(np.sqrt(np.mean(errors**2))) if errors.size else math.nan}


def mae(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`mae`: mean absolute error, over the same numbers as `value_scores`; NaN if none is known."""
    errors = _errors(predictions, targets)
    return {"mae": float(np.mean(np.abs(errors))) if errors.size else math.nan}


def r2(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`r2`: the share of the targets' variance that is explained, at most 1; for several numbers, the mean over them.

    Numbers that are the same in every target have no variance and are left out; NaN if all are. So are those that are
    not known (NaN). Of sequences of different lengths, all steps count alike.
    """
    predicted, true = _numbers(predictions, targets)
    known = ~np.isnan(true)
    mean = np.nansum(true, axis=0) / np.maximum(known.sum(axis=0), 1)
    residual = np.square(predicted - true, where=known, out=np.zeros_like(true)).sum(axis=0)
    total = np.square(true - mean, where=known, out=np.zeros_like(true)).sum(axis=0)
    varies = total > 0.0
    return {"r2": float(np.mean(1.0 - residual[varies] / total[varies])) if varies.any() else math.nan}


# Texts


def wer(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`wer`, the word error rate, and `exact`: see `error_rate`. Words are separated by white space."""
    return error_rate(predictions, targets, name="wer", split=_words)


def cer(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`cer`, the character error rate, and `exact`: see `error_rate`. White space counts."""
    return error_rate(predictions, targets, name="cer", split=list)


def error_rate(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, name: str, split: Callable[[Any], Sequence[Any]]
) -> dict[str, float]:
    """The edit distance of all examples together divided by the number of their true symbols (it can exceed 1); and
    `exact`, the share of examples without an error.

    Args:
        predictions: their values are texts, or lists.
        targets: the true ones.
        name: the name of the rate.
        split: from a value to its symbols.

    Raises:
        ValueError: there is no symbol in any target.
    """
    errors, symbols, exact = 0, 0, 0
    pairs = _pairs(predictions, targets)
    for value, target in pairs:
        true = split(target)
        distance = edit_distance(split(value), true)
        errors, symbols, exact = errors + distance, symbols + len(true), exact + (distance == 0)
    if symbols == 0:
        raise ValueError("there is nothing to score: every target is empty")
    return {name: errors / symbols, "exact": exact / len(pairs)}


def edit_distance(given: Sequence[Any], true: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that turn one sequence into the other (Levenshtein 1966)."""
    if not given or not true:
        return len(given) + len(true)
    ids: dict[Any, int] = {}
    true_ids = np.array([ids.setdefault(symbol, len(ids)) for symbol in true])
    columns = np.arange(len(true) + 1)
    row = columns.copy()
    for symbol in given:
        step = np.minimum(row[1:] + 1, row[:-1] + (true_ids != ids.get(symbol, -1)))
        # A distance is at most one more than its left neighbour's. Minus its column, that is a running minimum.
        row = np.minimum.accumulate(np.concatenate([row[:1] + 1, step]) - columns) + columns
    return int(row[-1])


def _words(text: Any) -> list[Any]:
    return text.split() if isinstance(text, str) else list(text)


# Shared by several scores


def _pairs(predictions: Sequence[Prediction], targets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(value, target) of each example. There must be a prediction for each target, and at least one."""
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets; there must be one for each")
    if not len(targets):
        raise ValueError("there is nothing to score: no example")
    return [(prediction.value, target) for prediction, target in zip(predictions, targets, strict=True)]


def _aligned(predictions: Sequence[Prediction], targets: Sequence[Sequence[Any]]) -> list[tuple[Any, Any]]:
    """(value, target) of each example, with a predicted tag for each step."""
    pairs = _pairs(predictions, targets)
    for number, (value, target) in enumerate(pairs):
        if len(value) != len(target):
            raise ValueError(f"example {number}: {len(value)} tags predicted for {len(target)} steps")
    return pairs


def _labels_of(predictions: Sequence[Prediction], targets: Sequence[str]) -> tuple[list[str], list[str]]:
    pairs = _pairs(predictions, targets)
    return [value for value, _ in pairs], [target for _, target in pairs]


def _is_equal(value: Any, target: Any) -> bool:
    return list(value) == list(target) if isinstance(target, list | tuple) else bool(value == target)


def _f1(correct: int, predicted: int, true: int) -> float:
    return 2 * correct / (predicted + true) if predicted + true else 0.0


def _numbers(predictions: Sequence[Prediction], targets: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) and (n, K), float64. Of sequences of different lengths the steps (N, C) of all of them, one by one."""
    pairs = [
        (np.asarray(value, dtype=np.float64), np.asarray(target, dtype=np.float64))
        for value, target in _pairs(predictions, targets)
    ]
    for number, (predicted, true) in enumerate(pairs, 1):
        if predicted.size != true.size:
            raise ValueError(f"example {number}: {predicted.size} numbers predicted where the target has {true.size}")
    is_ragged = len({true.shape for _, true in pairs}) > 1
    rows = [(len(true), -1) if is_ragged else (1, -1) for _, true in pairs]
    return (
        np.concatenate([predicted.reshape(shape) for (predicted, _), shape in zip(pairs, rows, strict=True)]),
        np.concatenate([true.reshape(shape) for (_, true), shape in zip(pairs, rows, strict=True)]),
    )


def _errors(predictions: Sequence[Prediction], targets: Sequence[Any]) -> np.ndarray:
    """(N,) what is predicted less what is true, of all numbers that are known."""
    predicted, true = _numbers(predictions, targets)
    errors: np.ndarray = (predicted - true)[~np.isnan(true)]
    return errors


@lru_cache(maxsize=4096)
def _split_tag(tag: str) -> tuple[str, str]:
    """`B-PER` -> ("B", "PER"); the type may hold dashes itself."""
    letter, _, span_type = tag.partition("-")
    if letter not in {"B", "I", "O", "E", "S"} or (letter == "O") != (tag == "O"):
        raise ValueError(f"tag {tag!r} is neither O nor one of B, I, E, S with a dash and a type: it marks no span")
    return letter, span_type


def _mean_over_labels(
    score: Any, predictions: Sequence[Prediction], targets: Sequence[Any], positive: str | None
) -> float:
    pairs = _pairs(predictions, targets)
    first = predictions[0].scores
    if not isinstance(first, Mapping):
        raise ValueError("predictions have no probabilities, which this score needs; the head classify gives them")
    labels = list(first)
    if positive is not None and positive not in labels:
        raise ValueError(f"positive: {positive!r} is none of the labels {', '.join(map(repr, labels))}")
    is_multilabel = isinstance(targets[0], list | tuple)
    if positive is None and len(labels) == 2 and not is_multilabel:
        positive = labels[1]
    scores = []
    for label in labels if positive is None else [positive]:
        is_true = [label in target if is_multilabel else target == label for _, target in pairs]
        if any(is_true) and not all(is_true):
            steps = [prediction.scores[label] for prediction in predictions]
            scores.append(float(score(is_true, [p[-1] if isinstance(p, list) else p for p in steps])))
    return math.fsum(scores) / len(scores) if scores else math.nan


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A deprecated name."""
        return public_api.deprecated_attribute(__name__, name)
