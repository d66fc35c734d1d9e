"""The scores of the task `ner`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqkit import Prediction
from seqkit.metrics import span_f1, tag_accuracy
from seqkit.spans import convert

TAG_SCORES = ("accuracy", "exact", "macro_f1")
"""The names of the scores of tags."""

SPAN_SCORES = ("span_f1", "span_precision", "span_recall", "span_f1.*", "accuracy")
"""The names of the scores of spans."""


def span_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """`span_f1` and its parts, and `accuracy` by word."""
    return {**span_f1(predictions, targets), **tag_accuracy(predictions, targets)}


def plain_scores(predictions: Sequence[Prediction], targets: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """The same for tags that are types alone: adjacent words of one type are one span."""
    converted = [Prediction(_to_iob2(prediction.value)) for prediction in predictions]
    return {**span_f1(converted, [_to_iob2(target) for target in targets]), **tag_accuracy(predictions, targets)}


def _to_iob2(tags: Any) -> list[str]:
    return convert(tags, "plain", "iob2")
