"""What `seqkit predict` is asked of forecasts: fewer steps than the model predicts, an interval, rows of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from seqkit.errors import UsageError
from seqkit.fields import NextValues
from seqkit.inference.predict import Outcome
from seqkit.interfaces import Head
from seqkit.types import JSON, Field, Prediction


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


def step_rows(
    records: Iterable[Mapping[str, JSON]], target: NextValues, *, is_interval: bool
) -> tuple[list[str], Iterator[dict[str, JSON]]]:
    """Records of forecasts as rows of a table, and its columns: a row for each step, and for each channel of several.

    Args:
        records: as `seqkit predict` prints them.
        target: what is predicted.
        is_interval: the two quantiles are the ends of an interval, `lower` and `upper`.
    """
    remaining = iter(records)
    begun: list[Mapping[str, JSON]] = []  # up to the first forecast, which says what the columns are
    for record in remaining:
        begun.append(record)
        if "prediction" in record:
            break
    details = list(_details(begun[-1].get("scores"), is_interval)) if begun else []
    channel = ["channel"] if target.channels > 1 else []
    columns = ["id", "step", "time", *channel, "prediction", *details, "error"]
    return columns, (row for record in chain(begun, remaining) for row in _rows_of(record, is_interval))


def _rows_of(record: Mapping[str, JSON], is_interval: bool) -> Iterator[dict[str, JSON]]:
    if "prediction" not in record:
        yield {"id": record["id"], "error": record["error"]}
        return
    numbers = {"prediction": record["prediction"], **_details(record.get("scores"), is_interval)}
    times = record.get("times") or [None] * len(record["prediction"])
    for step, time in enumerate(times):
        row = {"id": record["id"], "step": step + 1, "time": time}
        values = {name: value[step] for name, value in numbers.items()}
        if not isinstance(values["prediction"], list):
            yield row | values
            continue
        for channel in range(len(values["prediction"])):
            yield row | {"channel": channel + 1} | {name: value[channel] for name, value in values.items()}


def _details(scores: JSON, is_interval: bool) -> dict[str, JSON]:
    """What is beside the forecast in each row: quantiles, a standard deviation."""
    if not isinstance(scores, Mapping):
        return {}
    quantiles = scores.get("quantiles", {})
    names = ["lower", "upper"] if is_interval else [f"quantile {level}" for level in quantiles]
    rest = {name: value for name, value in scores.items() if name != "quantiles" and isinstance(value, list)}
    return dict(zip(names, quantiles.values(), strict=True)) | rest
