"""What a run predicted on a split, in its report: confusions, calibration, curves, lengths, classes, worst examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from seqkit import analysis
from seqkit.inference.kept_predictions import LISTED, InputNotKept, KeptInputs, KeptPredictions
from seqkit.reports.charts import Bar, Line, bar_chart, drawing, heat_map, line_chart
from seqkit.reports.decomposition import decompose_sums
from seqkit.reports.number_section import number_charts, number_rows
from seqkit.reports.run_facts import RunFacts
from seqkit.reports.sides import task_of
from seqkit.reports.tagged_text import Piece, mark_parts, mark_spans, tag_colors
from seqkit.types import Prediction, ScoredExamples

EXAMPLES: Final = LISTED
"""Rows of the table of examples to look at."""

_CLASSES: Final = 20
"""Most classes of a confusion matrix, and most rows of the table of classes."""

_LONGEST_CELL: Final = 240


EMPTY_SECTION: Final[dict[str, Any]] = {
    "name": "",
    "problem": "",
    "charts": [],
    "class_head": [],
    "classes": [],
    "classes_note": "",
    "worst_title": "",
    "worst_head": [],
    "worst": [],
}


def prediction_section(run: RunFacts, kept: KeptPredictions) -> dict[str, Any]:
    """Everything that is shown of the predictions of a split.

    Args:
        run: whose they are.
        kept: the predictions.
    """
    has_answers = any(prediction.value is not None for prediction in kept.predictions)
    predictions, targets = list(kept.predictions), list(kept.targets)
    kind = _kind(predictions, targets)
    matrix = analysis.find_confusion(predictions, targets) if has_answers and kind != "text" else None
    classes = analysis.class_scores(matrix) if matrix is not None else []
    problem, by_length = "", list[dict[str, Any]]()
    try:
        by_length = list(_by_length(run, kept, predictions, targets))
    except InputNotKept as error:
        problem = f"the score by length is not shown: {error}"
    except Exception as error:  # a plugin's metric that needs more of the predictions than is kept
        problem = f"the score by length is not shown: {type(error).__name__}: {error}"
    errors = analysis.number_errors(predictions, targets)
    drawn = [] if errors is None else list(number_charts(kept))
    charts = [*_matrix_charts(matrix), *_charts(predictions, targets, has_answers, kind), *by_length, _lengths(kept)]
    if errors is not None:
        order = "the largest errors first"
        first = analysis.errors_first(predictions, targets)[:EXAMPLES]
        worst_head, worst = number_rows(kept, errors, first)
    elif has_answers:
        order = "wrong ones first, the surest of them on top; then the most doubtful"
        worst_head, worst = _worst(kept, predictions, targets)
    else:
        order = "those that cost most"
        worst_head, worst = _costly(kept)
    some = f" ({len(worst)} of {len(kept):,})" if len(worst) < len(kept) else ""
    return EMPTY_SECTION | {
        "name": f"{kept.task}, {kept.split}: {len(kept):,} {kept.unit}",
        "problem": problem,
        "charts": [chart for chart in (*drawn, *charts) if chart["svg"]],
        "class_head": ["class", "precision", "recall", "F1", matrix.unit if matrix is not None else ""],
        "classes": _class_rows(classes),
        "classes_note": f"The {_CLASSES} classes with the lowest F1, of {len(classes):,}." * (len(classes) > _CLASSES),
        "worst_title": f"Examples to look at{some}: {order}",
        "worst_head": worst_head,
        "worst": worst,
    }


def _kind(predictions: Sequence[Prediction], targets: Sequence[Any]) -> str:
    """labels, text or other: a label is one of those that have probabilities."""
    if not all(isinstance(target, str) for target in targets):
        return "other"
    is_label = all(
        isinstance(prediction.scores, Mapping) and prediction.value in prediction.scores for prediction in predictions
    )
    return "labels" if is_label else "text"


def _matrix_charts(matrix: analysis.Confusion | None) -> Iterator[dict[str, Any]]:
    if matrix is None or len(matrix.labels) < 2:
        return
    merged = matrix.merged(_CLASSES)
    counts = [[_short_count(count) for count in row] for row in merged.counts.tolist()]
    caption = f"confusion, in {matrix.unit}: a row is the true class, a column the predicted one; as dark as its share"
    svg = heat_map(merged.labels, merged.labels, merged.shares.tolist(), counts, title="confusion matrix")
    yield {"caption": f"{caption} of the row", "svg": svg}


def _charts(
    predictions: Sequence[Prediction], targets: Sequence[Any], has_answers: bool, kind: str
) -> Iterator[dict[str, Any]]:
    if has_answers:
        yield from _calibration(predictions, targets)
    if has_answers and kind != "text":
        for make, x, y in (
            (analysis.precision_recall_curves, "recall", "precision"),
            (analysis.roc_curves, "false positive rate", "true positive rate"),
        ):
            lines = [
                Line(f"{curve.label} ({curve.area:.3f})", curve.x.tolist(), curve.y.tolist())
                for curve in make(predictions, targets, limit=6)
            ]
            if lines:
                total = analysis.count_curves(predictions, targets)
                some = "each class"
                if total > len(lines):
                    some = f"the {len(lines)} most frequent classes of {total:,}, each"
                which = f"of {lines[0].name}" if total == 1 else f"of {some} against the rest"
                caption = f"{y} by {x}, {which} (in brackets: the area)"
                yield {"caption": caption, "svg": line_chart(lines, x=x, y=y, limits=(0.0, 1.0))}


def _lengths(kept: KeptPredictions) -> dict[str, Any]:
    """A bar for each range of lengths; nothing where all are equal."""
    if np.unique(kept.steps).size < 2:
        return {"caption": "", "svg": ""}
    histogram = analysis.length_histogram(kept.steps.tolist(), bins=24)
    edges = histogram.edges
    bars = [
        Bar(f"{edges[i] + 0.5:g}", float(count), f"{edges[i] + 0.5:g} to {edges[i + 1] - 0.5:g} steps")
        for i, count in enumerate(histogram.counts.tolist())
    ]
    return {"caption": "lengths", "svg": bar_chart(bars, x="steps", y=kept.unit)}


def _calibration(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Iterator[dict[str, Any]]:
    calibration = analysis.calibration(predictions, targets)
    if calibration is None:
        return
    filled = calibration.counts > 0
    lines = [
        Line("right", calibration.confidence[filled].tolist(), calibration.accuracy[filled].tolist(), dots=True),
        Line("if it were calibrated", [0.0, 1.0], [0.0, 1.0], dashed=True),
    ]
    caption = f"calibration, by {calibration.unit}: expected calibration error {calibration.error:.3f}"
    svg = line_chart(lines, x="confidence", y="share that is right", limits=(0.0, 1.0))
    yield {"caption": caption, "svg": svg}


def _by_length(
    run: RunFacts, kept: KeptPredictions, predictions: Sequence[Prediction], targets: Sequence[Any]
) -> Iterator[dict[str, Any]]:
    """The score that chooses, or the first one, in groups of examples of about the same length."""
    task = task_of(run, kept.task)
    if task is None or task.metric is None or np.unique(kept.steps).size < 2:
        return
    prefix = f"{kept.task}/{kept.split}/"
    names = [key.removeprefix(prefix) for key in run.scores if key.startswith(prefix)]
    chosen = run.chosen_by.name if run.chosen_by is not None and run.chosen_by.task == kept.task else ""
    name = chosen if chosen in names else next((name for name in names if name != "loss"), "")
    if not name:
        return
    lengths = kept.steps.tolist()
    if (rows := kept.sums.get(name)) is not None:  # the metric may need more of a prediction than is kept
        numbers: list[Any] = list(range(len(kept)))
        groups = analysis.score_by_length(
            lengths, numbers, numbers, lambda some, _: {name: decompose_sums(rows[np.array(some)]).score}, name
        )
    else:
        examples = ScoredExamples(kept.ids, KeptInputs(kept.inputs), kept.split)
        groups = analysis.score_by_length(lengths, predictions, targets, task.metric, name, examples=examples)
    bars = [
        Bar(f"{g.low}" if g.low == g.high else f"{g.low}–{g.high}", g.score, f"{g.count:,} examples") for g in groups
    ]
    if len(bars) > 1:
        yield {"caption": f"{name} by length", "svg": bar_chart(bars, x="steps of the input", y=name)}


def _class_rows(classes: Sequence[analysis.ClassScore]) -> list[list[str]]:
    """The classes, the worst F1 first."""
    ordered = sorted(classes, key=lambda row: row.f1)[:_CLASSES]
    return [
        [row.label, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}"] for row in ordered
    ]


def _worst(
    kept: KeptPredictions, predictions: Sequence[Prediction], targets: Sequence[Any]
) -> tuple[list[str], list[list[str | list[Piece]]]]:
    """The titles and the rows of the table of examples. Sentences with spans are their own input."""
    numbers = analysis.errors_first(predictions, targets)[:EXAMPLES]
    colors = tag_colors(targets)
    is_several = all(isinstance(targets[n], Mapping) and isinstance(predictions[n].value, Mapping) for n in numbers)
    mark = mark_parts if is_several else mark_spans
    marked = [mark(kept.inputs[n], targets[n], predictions[n].value, colors) for n in numbers] if colors else []
    has_input = not marked or None in marked
    rows = []
    for place, number in enumerate(numbers):
        prediction, target = predictions[number], targets[number]
        confidence = prediction.confidence
        pair = marked[place] if marked else None
        cells: list[str | list[Piece]] = [kept.ids[number]]
        lines: Any = kept.drawn.get(number, {}).get("lines") or {}
        pen = {side: drawing(of_side) for side, of_side in lines.items()}
        shown_input = pen.get("input") or _cell(kept.inputs[number] or f"{kept.steps[number]:,} steps")
        cells += [shown_input] if has_input else []
        values = [pen.get("target") or _cell(target), pen.get("prediction") or _cell(prediction.value)]
        cells += values if pair is None else pair
        cells += [
            "" if confidence is None or confidence == [] else f"{float(np.mean(confidence)):.2f}",
            _cell(analysis.describe_difference(target, prediction.value)),
        ]
        rows.append(cells)
    return ["id", *(["input"] if has_input else []), "target", "prediction", "confidence", "difference"], rows


def _costly(kept: KeptPredictions) -> tuple[list[str], list[list[str | list[Piece]]]]:
    """The texts that cost most nats a symbol, with the titles of the columns."""
    rows = [
        (prediction.scores.get("nats"), number)
        for number, prediction in enumerate(kept.predictions)
        if isinstance(prediction.scores, Mapping) and isinstance(prediction.scores.get("nats"), float)
    ]
    ordered = sorted(rows, reverse=True)[:EXAMPLES]
    return ["id", "steps", "nats a symbol", "input"], [
        [kept.ids[number], f"{kept.steps[number]:,}", f"{nats:.3f}", _cell(kept.inputs[number] or "")]
        for nats, number in ordered
    ]


def _cell(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"


def _short_count(count: int) -> str:
    return f"{count}" if count < 10_000 else f"{count / 1000:.0f}k"
