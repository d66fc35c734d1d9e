"""Scores: pure functions of predictions and true targets, to named numbers. No torch; scikit-learn when called.

All are shares between 0 and 1 unless said otherwise, and none depends on the order of the examples. A score that is
undefined for these targets (a correlation where only one class occurs) is NaN, never a number that looks like one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seqkit import public_api
from seqkit.types import Prediction

__all__ = [
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
    "set_scores",
    "span_f1",
    "spans",
    "tag_accuracy",
    "tag_scores",
    "value_scores",
    "wer",
]

LOWER_IS_BETTER = frozenset({"loss", "nats", "bits", "perplexity", "mse", "rmse", "mae", "wer", "cer", "per", "ter"})
"""Scores of which less is better; every other one is to be large, unless a task says `min:` or `max:`."""


# One label an example


def accuracy(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`accuracy`: the share of examples whose value is exactly the target (for label sets, see `set_scores`)."""
    pairs = _pairs(predictions, targets)
    return {"accuracy": sum(_same(given, true) for given, true in pairs) / len(pairs)}


def macro_f1(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`macro_f1`: the plain mean over labels of each label's F1, so that a rare label weighs as much as a common one.

    The labels are those that occur in the targets or the predictions, as in scikit-learn; a label that is only
    predicted, or only ever missed, has F1 0.
    """
    from sklearn.metrics import f1_score

    given, true = _labels_of(predictions, targets)
    labels = sorted({*given, *true})
    return {"macro_f1": float(f1_score(true, given, labels=labels, average="macro", zero_division=0.0))}


def mcc(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`mcc`: Matthews' correlation coefficient, -1 to 1, for any number of labels (Gorodkin 2004).

    0 where the predictions are all one label, and NaN where the targets are.
    """
    from sklearn.metrics import matthews_corrcoef

    given, true = _labels_of(predictions, targets)
    return {"mcc": float(matthews_corrcoef(true, given)) if len(set(true)) > 1 else math.nan}


def label_scores(predictions: Sequence[Prediction], targets: Sequence[str]) -> dict[str, float]:
    """`accuracy` and `macro_f1`."""
    return accuracy(predictions, targets) | macro_f1(predictions, targets)


def auroc(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, positive: str | None = None
) -> dict[str, float]:
    """`auroc`: the chance that a positive example is given a higher probability than a negative one.

    Uses `Prediction.scores` as `classify` makes them. With two labels, `positive` names the positive one (else the
    second in `scores`; the result is the same for either). With more, and for label sets, it is the mean over the
    labels that the targets both have and have not, each against the rest. NaN if there is none such.
    """
    from sklearn.metrics import roc_auc_score

    return {"auroc": _mean_over_labels(roc_auc_score, predictions, targets, positive)}


def auprc(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, positive: str | None = None
) -> dict[str, float]:
    """`auprc`: average precision, the area under the precision-recall curve by steps (no interpolation).

    Labels as in `auroc`; here it does matter which of two is the positive one.
    """
    from sklearn.metrics import average_precision_score

    return {"auprc": _mean_over_labels(average_precision_score, predictions, targets, positive)}


def set_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """For label sets: `accuracy` (the same set), `micro_f1` over all labels given, `macro_f1`, the mean over labels.

    The labels are those that occur in the targets or the predictions; one that is never right has F1 0.
    """
    pairs = _pairs(predictions, targets)
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for value, target in pairs:
        right.update(set(value) & set(target))
        said.update(set(value))
        true.update(set(target))
    each = [_f1(right[label], said[label], true[label]) for label in sorted({*said, *true})]
    return {
        "accuracy": sum(set(value) == set(target) for value, target in pairs) / len(pairs),
        "micro_f1": _f1(right.total(), said.total(), true.total()),
        "macro_f1": math.fsum(each) / len(each) if each else 0.0,
    }


def confusion(targets: Sequence[Any], predictions: Sequence[Prediction], labels: Sequence[str]) -> np.ndarray:
    """(C, C) int64: how often the label of row i was said to be the label of column j. Tags are counted step by step.

    Raises:
        ValueError: a target or a prediction is not among `labels`.
    """
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for given, true in _pairs(predictions, targets):
        steps = zip(true, given, strict=True) if isinstance(true, list | tuple) else [(true, given)]
        for row, column in steps:
            if row not in place or column not in place:
                raise ValueError(f"label {row if row not in place else column!r} is not among the {len(labels)} labels")
            counts[place[row], place[column]] += 1
    return counts


# One tag a step


def tag_accuracy(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`accuracy`: the share of steps with the right tag, all steps of all examples alike."""
    steps = [given == true for example in _aligned(predictions, targets) for given, true in zip(*example, strict=True)]
    return {"accuracy": sum(steps) / len(steps)}


def tag_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`accuracy` by step, `exact` (the share of sequences that are right throughout) and `macro_f1` over tags."""
    pairs = _aligned(predictions, targets)
    given = [Prediction(tag) for value, _ in pairs for tag in value]
    true = [tag for _, target in pairs for tag in target]
    exact = sum(list(value) == list(target) for value, target in pairs) / len(pairs)
    return {**tag_accuracy(predictions, targets), "exact": exact, **macro_f1(given, true)}


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The spans (type, first step, step after the last) that a sequence of tags means, by the rules of conlleval.

    The rules read IOB1, IOB2 and BIOES alike, and broken sequences too: a span begins at B or S, and at I or E where
    none of its type is going on (at the start, after O, E or S, or after another type); it ends before the next
    beginning, before O, after E and S, and where the type changes. A tag is `O`, or a letter, a dash and the type, or
    the letter alone where there is but one type.

    Raises:
        ValueError: a tag is of another form.
    """
    found: list[tuple[str, int, int]] = []
    if tags.count("O") == len(tags):  # most sentences
        return found
    open_type, since, closed = "", 0, True
    for step, tag in enumerate(tags):
        if tag == "O":  # most of them
            if not closed:
                found.append((open_type, since, step))
                closed = True
            continue
        letter, kind = _parted(tag)
        begins = letter in "BS" or closed or kind != open_type
        if not closed and begins:
            found.append((open_type, since, step))
            closed = True
        if begins:
            open_type, since, closed = kind, step, False
        if letter in "ES":
            found.append((open_type, since, step + 1))
            closed = True
    if not closed:
        found.append((open_type, since, len(tags)))
    return found


def span_f1(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`span_f1`, `span_precision`, `span_recall` over all spans, and `span_f1.<type>` for each type in the targets.

    A span is right if type, first and last step all are (conlleval of CoNLL-2000 and -2003; see `spans`). Where
    nothing is predicted, or nothing is true, the share concerned is 0.
    """
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    true: Counter[str] = Counter()
    for value, target in _aligned(predictions, targets):
        given, wanted = set(spans(value)), set(spans(target))
        right.update(kind for kind, _, _ in given & wanted)
        said.update(kind for kind, _, _ in given)
        true.update(kind for kind, _, _ in wanted)
    scores = {
        "span_f1": _f1(right.total(), said.total(), true.total()),
        "span_precision": right.total() / max(1, said.total()),
        "span_recall": right.total() / max(1, true.total()),
    }
    return scores | {f"span_f1.{kind}": _f1(right[kind], said[kind], true[kind]) for kind in sorted(true) if kind}


# Numbers


def value_scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`rmse` and `mae`, in the units of the data, over all numbers of all examples."""
    return rmse(predictions, targets) | mae(predictions, targets)


def rmse(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`rmse`: root of the mean squared error."""
    given, true = _numbers(predictions, targets)
    return {"rmse": float(np.sqrt(np.mean((given - true) ** 2)))}


def mae(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`mae`: mean absolute error."""
    given, true = _numbers(predictions, targets)
    return {"mae": float(np.mean(np.abs(given - true)))}


def r2(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`r2`: the share of the targets' variance that is explained, at most 1; for several numbers, the mean over them.

    Numbers that are the same in every target have no variance and are left out; NaN if that is all of them.
    """
    given, true = _numbers(predictions, targets)
    left = ((given - true) ** 2).sum(axis=0)
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    varied = spread > 0.0
    return {"r2": float(np.mean(1.0 - left[varied] / spread[varied])) if varied.any() else math.nan}


# Texts


def wer(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`wer`, the word error rate, and `exact`: see `error_rate`. Words are what stands between white space."""
    return error_rate(predictions, targets, name="wer", split=_words)


def cer(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`cer`, the character error rate, and `exact`: see `error_rate`. White space counts."""
    return error_rate(predictions, targets, name="cer", split=list)


def error_rate(
    predictions: Sequence[Prediction], targets: Sequence[Any], *, name: str, split: Callable[[Any], Sequence[Any]]
) -> dict[str, float]:
    """Insertions, deletions and substitutions, the fewest that will do, over the number of true symbols of all
    examples together (so it can exceed 1); and `exact`, the share of examples without any.

    Args:
        predictions: their values are texts, or lists.
        targets: the true ones.
        name: what the rate is called.
        split: a value to its symbols.

    Raises:
        ValueError: there is no symbol in any target.
    """
    errors, symbols, exact = 0, 0, 0
    pairs = _pairs(predictions, targets)
    for given, true in pairs:
        wanted = split(true)
        distance = edit_distance(split(given), wanted)
        errors, symbols, exact = errors + distance, symbols + len(wanted), exact + (distance == 0)
    if symbols == 0:
        raise ValueError("there is nothing to score: every target is empty")
    return {name: errors / symbols, "exact": exact / len(pairs)}


def edit_distance(given: Sequence[Any], true: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence of the other (Levenshtein 1966)."""
    if not given or not true:
        return len(given) + len(true)
    number: dict[Any, int] = {}
    columns = np.array([number.setdefault(symbol, len(number)) for symbol in true])
    places = np.arange(len(true) + 1)
    row = places.copy()
    for symbol in given:
        step = np.minimum(row[1:] + 1, row[:-1] + (columns != number.get(symbol, -1)))
        # What comes from the left is one more for each column: a running minimum once that slope is taken off.
        row = np.minimum.accumulate(np.concatenate([row[:1] + 1, step]) - places) + places
    return int(row[-1])


def _words(text: Any) -> list[Any]:
    return text.split() if isinstance(text, str) else list(text)


# What they share


def _pairs(predictions: Sequence[Prediction], targets: Sequence[Any]) -> list[tuple[Any, Any]]:
    """(given, true) an example, of which there must be as many, and at least one."""
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} targets")
    if not len(targets):
        raise ValueError("there is nothing to score: no example")
    return [(prediction.value, target) for prediction, target in zip(predictions, targets, strict=True)]


def _aligned(predictions: Sequence[Prediction], targets: Sequence[Sequence[Any]]) -> list[tuple[Any, Any]]:
    pairs = _pairs(predictions, targets)
    for number, (given, true) in enumerate(pairs):
        if len(given) != len(true):
            raise ValueError(f"example {number}: {len(given)} tags predicted for {len(true)} steps")
    return pairs


def _labels_of(predictions: Sequence[Prediction], targets: Sequence[str]) -> tuple[list[str], list[str]]:
    pairs = _pairs(predictions, targets)
    return [given for given, _ in pairs], [true for _, true in pairs]


def _same(given: Any, true: Any) -> bool:
    return list(given) == list(true) if isinstance(true, list | tuple) else bool(given == true)


def _f1(right: int, said: int, true: int) -> float:
    return 2 * right / (said + true) if said + true else 0.0


def _numbers(predictions: Sequence[Prediction], targets: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) and (n, K), float64."""
    pairs = _pairs(predictions, targets)
    given = np.array([given for given, _ in pairs], dtype=np.float64).reshape(len(pairs), -1)
    true = np.array([true for _, true in pairs], dtype=np.float64).reshape(len(pairs), -1)
    if given.shape != true.shape:
        raise ValueError(f"{given.shape[1]} numbers predicted where the target has {true.shape[1]}")
    return given, true


@lru_cache(maxsize=4096)
def _parted(tag: str) -> tuple[str, str]:
    """`B-PER` -> ("B", "PER"); the type may hold dashes itself."""
    letter, _, kind = tag.partition("-")
    if letter not in {"B", "I", "O", "E", "S"} or (letter == "O") != (tag == "O"):
        raise ValueError(f"tag {tag!r} is neither O nor one of B, I, E, S with a dash and a type: it marks no span")
    return letter, kind


def _mean_over_labels(
    score: Any, predictions: Sequence[Prediction], targets: Sequence[Any], positive: str | None
) -> float:
    pairs = _pairs(predictions, targets)
    first = predictions[0].scores
    if not isinstance(first, Mapping):
        raise ValueError("predictions carry no probabilities: a score of ranking needs them (head classify gives them)")
    labels = list(first)
    if positive is not None and positive not in labels:
        raise ValueError(f"positive: {positive!r} is none of the labels {', '.join(map(repr, labels))}")
    several = isinstance(targets[0], list | tuple)
    if positive is None and len(labels) == 2 and not several:
        positive = labels[1]
    found = []
    for label in labels if positive is None else [positive]:
        true = [label in target if several else target == label for _, target in pairs]
        if any(true) and not all(true):
            shares = [prediction.scores[label] for prediction in predictions]
            found.append(float(score(true, [each[-1] if isinstance(each, list) else each for each in shares])))
    return math.fsum(found) / len(found) if found else math.nan


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return public_api.deprecated_attribute(__name__, name)
