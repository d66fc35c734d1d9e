"""The scores of the task `genome`."""

from __future__ import annotations

from collections.abc import Sequence

from seqkit import Prediction, UsageError
from seqkit.metrics import accuracy, auprc, auroc, macro_f1, mcc


def class_scores(
    predictions: Sequence[Prediction], targets: Sequence[str], *, positive: str | None = None
) -> dict[str, float]:
    """`accuracy`, `mcc`, `macro_f1`, `auroc` and `auprc`.

    With three or more classes, `auroc` and `auprc` are the means over the classes.

    Raises:
        UsageError: `positive` is none of two classes.
    """
    scores = accuracy(predictions, targets) | mcc(predictions, targets) | macro_f1(predictions, targets)
    try:
        areas = auroc(predictions, targets, positive=positive) | auprc(predictions, targets, positive=positive)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return scores | areas
