"""What `seqkit predict` is asked of forecasts: fewer steps than the model predicts, and an interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from seqkit.errors import UsageError
from seqkit.fields import NextValues
from seqkit.inference.predict import Outcome
from seqkit.interfaces import Head
from seqkit.types import Field, Prediction


def set_interval(head: Head, share: float) -> None:
    """From now on predictions list the two quantiles between which this share of what happens should be.

    Raises:
        UsageError: the head predicts numbers without a distribution, or its quantiles do not reach so far.
    """
    family: Any = getattr(head, "family", None)
    if family is None:
        raise UsageError(
            "--interval: this model predicts numbers without a distribution; train it with the head's option loss: "
            "quantiles, gaussian, student_t, mixture, poisson or negative_binomial"
        )
    low, high = round((1.0 - share) / 2.0, 9), round((1.0 + share) / 2.0, 9)
    learned = getattr(family, "levels", None)
    if learned is not None and not learned[0] <= low < high <= learned[-1]:
        raise UsageError(
            f"--interval: {share:g} is between the quantiles {low:g} and {high:g}, and the model has learned those "
            f"from {learned[0]:g} to {learned[-1]:g}"
        )
    vars(head)["levels"] = (low, high)


def cut_horizon(outcomes: Iterator[Outcome], target: Field, steps: int) -> Iterator[Outcome]:
    """The same predictions of the first `steps` steps ahead only.

    Raises:
        UsageError: the model predicts no next values, or fewer.
    """
    if not isinstance(target, NextValues):
        raise UsageError(f"--horizon: the model predicts {target.unit}, not the next values of a series")
    if steps > target.horizon:
        raise UsageError(
            f"--horizon: the model predicts {target.horizon} steps at once; train one with horizon: {steps}"
        )
    return (
        outcome if outcome.prediction is None else replace(outcome, prediction=_first(outcome.prediction, steps))
        for outcome in outcomes
    )


def _first(prediction: Prediction, steps: int) -> Prediction:
    """The prediction of the first steps ahead."""
    return replace(prediction, value=prediction.value[:steps], scores=_cut(prediction.scores, steps))


def _cut(scores: Any, steps: int) -> Any:
    if isinstance(scores, dict):
        return {name: _cut(value, steps) for name, value in scores.items()}
    return scores[:steps] if isinstance(scores, list) else scores
