"""Numbers in the report of a run: short, the largest errors first, and drawn beside what is true."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from seqkit import analysis
from seqkit.inference.kept_predictions import KeptPredictions
from seqkit.reports.charts import Line, line_chart
from seqkit.reports.tagged_text import Piece

_DOTS: Final = 500
"""Most examples of the picture of single numbers."""

_SHOWN: Final = 4
"""Of a longer list of numbers, so many are shown."""


def describe_numbers(value: Any) -> str:
    """A number with four digits; of a list its first and last ones, and how many they are: `1, 2, 3, … 9 (31)`."""
    if not isinstance(value, list | tuple):
        return _number(value)
    texts = [f"[{text}]" if isinstance(item, list | tuple) else text for item, text in _described(value)]
    shown = [*texts[:-1], f"… {texts[-1]} ({len(value):,})"] if len(value) > _SHOWN else texts
    return (" " if value and isinstance(value[0], list | tuple) else ", ").join(shown)


def _described(values: Sequence[Any]) -> list[tuple[Any, str]]:
    """The first items of a list and its last one, with their texts."""
    chosen = [*values[: _SHOWN - 1], values[-1]] if len(values) > _SHOWN else values
    return [(item, describe_numbers(item)) for item in chosen]


def _number(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{number:,.0f}" if 1000.0 <= abs(number) < 1e9 else f"{number:.4g}"


def number_rows(
    kept: KeptPredictions, errors: NDArray[np.float64], numbers: Sequence[int]
) -> tuple[list[str], list[list[str | list[Piece]]]]:
    """The titles and the rows of the table of examples.

    Args:
        kept: the predictions.
        errors: (n,) of each example.
        numbers: which examples.
    """
    rows: list[list[str | list[Piece]]] = [
        [
            kept.ids[number],
            kept.inputs[number] or f"{kept.steps[number]:,} steps",
            describe_numbers(kept.targets[number]),
            describe_numbers(kept.predictions[number].value),
            "nothing is known" if math.isnan(errors[number]) else _number(errors[number]),
        ]
        for number in numbers
    ]
    return ["id", "input", "target", "prediction", "mean absolute error"], rows


def number_charts(kept: KeptPredictions) -> Iterator[dict[str, Any]]:
    """Truth and prediction: of lists of numbers some examples, each in a chart; of single numbers all in one.

    Of several channels a chart shows one: one after the other, and of the largest errors that with the largest.
    """
    if kept.predictions and not isinstance(kept.predictions[0].value, list):
        yield _single_numbers(kept)
    worst = set(analysis.errors_first(kept.predictions, kept.targets)[:3])
    for place, number in enumerate(analysis.examples_to_draw(kept.predictions, kept.targets)):
        errors = np.abs(_channels(kept.predictions[number].value) - _channels(kept.targets[number]))
        channel = place % errors.shape[1]
        if number in worst:
            channel = int(np.nansum(errors, axis=0).argmax())
        yield _example(kept, number, channel, "one of the largest errors" if number in worst else "an example")


def _single_numbers(kept: KeptPredictions) -> dict[str, Any]:
    """A dot for each example, or for some of many, and a line where prediction and truth are equal."""
    every = math.ceil(len(kept) / _DOTS)
    true = np.asarray(kept.targets, dtype=np.float64)[::every]
    predicted = np.array([prediction.value for prediction in kept.predictions], dtype=np.float64)[::every]
    ends = [float(np.nanmin(true)), float(np.nanmax(true))]
    lines = [
        Line("examples", true.tolist(), predicted.tolist(), dots=True, joined=False),
        Line("prediction = truth", ends, ends, dashed=True),
    ]
    some = "" if every == 1 else f", {len(true):,} of {len(kept):,} examples"
    return {"caption": f"prediction by truth{some}", "svg": line_chart(lines, x="truth", y="prediction")}


def _example(kept: KeptPredictions, number: int, channel: int, which: str) -> dict[str, Any]:
    """Truth and prediction of an example, with the history before a forecast and the interval, if they are kept.

    Args:
        kept: the predictions.
        number: of the example.
        channel: which is shown.
        which: what the example is among others.
    """
    drawn: Mapping[str, Any] = kept.drawn.get(number, {})
    true = _channels(kept.targets[number])
    history = _channels(drawn["history"])[:, channel] if "history" in drawn else np.zeros(0)
    steps = np.arange(1, len(true) + 1)
    lines = [
        Line("history", np.arange(1 - len(history), 1).tolist(), history.tolist()),
        Line("truth", steps.tolist(), true[:, channel].tolist()),
        Line("prediction", steps.tolist(), _channels(kept.predictions[number].value)[:, channel].tolist()),
    ]
    if "levels" in drawn:
        for level, end in zip(drawn["levels"], ("low", "high"), strict=True):
            values = _channels(drawn[end])[:, channel].tolist()
            lines.append(Line(f"quantile {level}", steps.tolist(), values, dashed=True))
    of_channel = f", channel {channel + 1} of {true.shape[1]}" if true.shape[1] > 1 else ""
    svg = line_chart(lines, x="step", y="value", mark=0.5 if len(history) else None, mark_note="the forecast begins")
    return {"caption": f"{which}: {kept.ids[number]}{of_channel}", "svg": svg}


def _channels(value: Any) -> NDArray[np.float64]:
    """(T, C); what is not known is NaN."""
    rows = np.asarray(value, dtype=np.float64)
    return rows[:, None] if rows.ndim == 1 else rows
