"""The scores of these tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqkit import Prediction
from seqkit.metrics import tag_accuracy, value_scores
from seqkit_synthetic.generator import BLANK


def copy_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`recall`, the share of items that are right, and `accuracy` over all steps, most of which are blank."""
    pairs = [
        (value, true)
        for prediction, tags in zip(predictions, targets, strict=True)
        for value, true in zip(prediction.value, tags, strict=True)
        if true != BLANK
    ]
    return {"recall": sum(value == true for value, true in pairs) / len(pairs)} | {
        "accuracy": tag_accuracy(predictions, targets)["accuracy"]
    }


def adding_scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """`mse`, the mean squared error, and what `value_scores` gives."""
    scores = value_scores(predictions, targets)
    return {"mse": scores["rmse"] ** 2, **scores}


def running_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> dict[str, float]:
    """`accuracy` of the last word's value, which is that of the expression, and `word_accuracy` over all words."""
    right = [prediction.value[-1] == true[-1] for prediction, true in zip(predictions, targets, strict=True)]
    return {
        "accuracy": sum(right) / len(right),
        "word_accuracy": tag_accuracy(predictions, targets)["accuracy"],
    }
