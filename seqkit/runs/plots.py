"""The pictures of a run: confusions, curves, calibration, scores by length, maps of numbers.

Each function returns (height, width, 3) uint8, at a size that can be read on a card of TensorBoard without opening it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seqkit.analysis import Calibration, Confusion, Curve, LengthHistogram, LengthScore
from seqkit.runs.canvas import (
    BLACK,
    BLUE,
    BLUES,
    CYCLE,
    DIVERGING,
    GREY,
    INFERNO,
    LIGHT,
    ORANGE,
    RED,
    WHITE,
    Axis,
    Canvas,
    Chart,
    Color,
    Pixels,
    heading_width,
    label_text,
    number_text,
    text_width,
    write_heading,
)
from seqkit.types import Drawing

MAX_CLASSES = 40
"""More classes than this cannot be read on a screen: the most frequent ones stay, the others are merged."""

PALE = (158, 202, 225)


def draw_confusion(matrix: Confusion, *, shares: bool, title: str = "") -> Pixels:
    """A confusion matrix: a cell has the colour of its share of the row, and that share in percent or the count."""
    matrix = matrix.merged(MAX_CLASSES)
    correct, total = int(matrix.counts.trace()), int(matrix.counts.sum())
    names = [label_text(label, number) for number, label in enumerate(matrix.labels)]
    notes = [
        f"{correct:,} of {total:,} {matrix.unit} on the diagonal",
        f"rows true, columns predicted; {'percent of the row' if shares else 'counts'}",
    ]

    def write(row: int, column: int) -> str:
        count = int(matrix.counts[row, column])
        return "" if not count else _percent(matrix.shares[row, column]) if shares else short_count(count)

    return _draw_cells(matrix.shares, names, names, title, notes, BLUES, write)


def draw_scores(values: np.ndarray, rows: Sequence[object], columns: Sequence[object], *, title: str = "") -> Pixels:
    """Positive and negative numbers (R, C), blue and red: scores of transitions between tags. NaN stays grey."""
    names = [[label_text(label, number) for number, label in enumerate(labels)] for labels in (rows, columns)]
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0

    def write(row: int, column: int) -> str:
        return "" if math.isnan(values[row, column]) else f"{values[row, column]:.1f}".replace("-0.0", "0.0")

    notes = ["from the row's to the column's; grey is forbidden", f"dark blue is {most:.2g}, dark red {-most:.2g}"]
    return _draw_cells(0.5 + values / (2 * most), names[0], names[1], title, notes, DIVERGING, write)


def draw_weights(values: np.ndarray, rows: Sequence[object], columns: Sequence[object], *, title: str = "") -> Pixels:
    """Shares (R, C), 0 to 1, white to blue: weights of attention, a row for each symbol, a column for each step."""
    names = [[label_text(label, number, 14) for number, label in enumerate(labels)] for labels in (rows, columns)]
    return _draw_cells(values, names[0], names[1], title, ["a row for each symbol written"], BLUES, lambda *_: "")


def draw_drawings(drawings: Sequence[Drawing], names: Sequence[object], *, title: str = "", columns: int = 3) -> Pixels:
    """Drawings side by side, each as large as its cell, under its name.

    Args:
        drawings: lines of points (x, y), y downwards.
        names: one each.
        title: the first line above them.
        columns: most drawings beside each other.
    """
    columns = min(columns, len(drawings))
    width, height, margin = 150, 120, 10
    above = 12  # between the title and the first names
    canvas = Canvas(max(columns * width, heading_width(title, ())), 34 + above + -(-len(drawings) // columns) * height)
    top = write_heading(canvas, title, ()) + above
    for number, (lines, name) in enumerate(zip(drawings, names, strict=True)):
        left, upper = number % columns * width, top + number // columns * height
        canvas.text(left + margin, upper, label_text(name, number), size=12, color=GREY)
        points = np.array([point for line in lines for point in line], dtype=np.float64).reshape(-1, 2)
        if not len(points):
            continue
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        room = np.array([width - 2 * margin, height - 2 * margin - 14.0])
        scale = float((room / np.maximum(size, 1e-9)).min())
        for line in lines:
            placed = (np.array(line) - low) * scale + np.array([left + margin, upper + margin + 10.0])
            if len(placed) > 1:
                canvas.line([(float(x), float(y)) for x, y in placed], BLACK, width=1.5)
    return canvas.pixels()


@dataclass(frozen=True)
class Forecast:
    """Numbers at each step of one channel, with what was before them.

    Attributes:
        name: of the example.
        true, predicted: (H,); what is not known is NaN.
        history: (T,) the steps before; empty where these are no forecasts.
        low, high: (H,) the ends of an interval; empty if there is none.
    """

    name: str
    true: np.ndarray
    predicted: np.ndarray
    history: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw_forecasts(forecasts: Sequence[Forecast], *, interval: str = "", title: str = "") -> Pixels:
    """Forecasts below each other: what was before, what happened and what was predicted.

    Args:
        forecasts: one at least.
        interval: what the interval is, in words.
        title: the first line above them.
    """
    legend = "orange: prediction; black: truth; grey: before" + (f"; pale: {interval}" if interval else "")
    width = max(420, heading_width(title, [legend]))
    heading = Canvas(width, 48)
    write_heading(heading, title, [legend])
    charts = [heading.pixels()]
    for number, forecast in enumerate(forecasts):
        before, after = len(forecast.history), len(forecast.true)
        values = np.concatenate([forecast.history, forecast.true, forecast.predicted, forecast.low, forecast.high])
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        space = 0.05 * (high - low) or abs(high) * 0.05 or 0.05
        axes = Axis("step", 1.0 - before, max(2.0, float(after))), Axis("", low - space, high + space)
        chart = Chart(label_text(forecast.name, number, 40), *axes, width=width, height=200)
        steps = np.arange(1, after + 1)
        if len(forecast.low):
            ends = [*zip(steps, forecast.low, strict=True), *zip(steps[::-1], forecast.high[::-1], strict=True)]
            if after > 1 and all(math.isfinite(value) for _, value in ends):
                chart.canvas.area([chart.place(float(x), float(y)) for x, y in ends], PALE)
        for x, y, color in (
            (np.arange(1 - before, 1), forecast.history, GREY),
            (steps, forecast.true, BLACK),
            (steps, forecast.predicted, ORANGE),
        ):
            known = np.isfinite(y)
            if known.sum() > 1:
                chart.line(x[known], y[known], color)
            elif known.any():
                chart.canvas.dot(*chart.place(float(x[known][0]), float(y[known][0])), color)
        if before:
            chart.canvas.dashed(chart.place(0.5, low - space), chart.place(0.5, high + space))
        charts.append(chart.canvas.pixels())
    return np.concatenate(charts)


def draw_map(
    values: np.ndarray,
    *,
    title: str = "",
    notes: Sequence[str] = (),
    x: Axis | None = None,
    y: Axis | None = None,
    colors: Callable[[np.ndarray], Pixels] = INFERNO,
    width: int = 360,
    height: int = 290,
) -> Pixels:
    """Numbers (rows, columns) as a map of colours from the least to the largest, the first row at the bottom.

    Args:
        values: such as a spectrogram, (bands, frames); NaN is grey.
        title: the first line above it.
        notes: lines below the title.
        x, y: what the columns and rows are; without, they are counted.
        colors: from 0 to 1 to a colour.
        width, height: of the picture.
    """
    rows, columns = values.shape
    chart = Chart(title, x or Axis("", 0, columns), y or Axis("", 0, rows), notes=notes, width=width, height=height)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    shares = (values - low) / ((high - low) or 1.0)
    chart.canvas.paste(colors(shares)[::-1], chart.left, chart.top, chart.right, chart.bottom)
    return chart.canvas.pixels()


def draw_curves(curves: Sequence[Curve], *, roc: bool, title: str = "") -> Pixels:
    """Precision-recall or ROC curves, with what chance gives as a dashed line."""
    names = ("false positive rate", "true positive rate") if roc else ("recall", "precision")
    chart = Chart(title, Axis(names[0]), Axis(names[1]))
    base = curves[0].base if len(curves) == 1 and not roc else 0.0
    chart.canvas.dashed(chart.place(0.0, base), chart.place(1.0, 1.0 if roc else base))
    shown = []
    for number, (curve, color) in enumerate(zip(curves, CYCLE, strict=False)):
        if roc:
            chart.line(curve.x, curve.y, color)
        else:  # precision between two thresholds is not between theirs: the area is one of steps
            chart.line(np.repeat(curve.x, 2)[1:], np.repeat(curve.y, 2)[:-1], color)
        shown.append((f"{label_text(curve.label, number)}  {curve.area:.3f}", color))
    chart.legend(shown, right=roc, low=True)
    return chart.canvas.pixels()


def draw_calibration(result: Calibration, *, title: str = "") -> Pixels:
    """A reliability diagram: the accuracy of predictions by their confidence, and how many have which."""
    notes = [
        f"expected calibration error {result.error:.3f}; {int(result.counts.sum()):,} {result.unit}",
        "below the line: too confident; pale: share of them",
    ]
    chart = Chart(title, Axis("confidence"), Axis("share that is right"), notes=notes)
    total = max(1, int(result.counts.sum()))
    for low, high, count in zip(result.edges[:-1], result.edges[1:], result.counts, strict=True):
        chart.bar(low, high, count / total, PALE)
    chart.canvas.dashed(chart.place(0.0, 0.0), chart.place(1.0, 1.0))
    filled = result.counts > 0
    chart.line(result.confidence[filled], result.accuracy[filled], BLUE)
    for x, y, count in zip(result.confidence[filled], result.accuracy[filled], result.counts[filled], strict=True):
        # A bin of a handful says little, and its dot is small.
        chart.canvas.dot(*chart.place(x, y), BLUE, radius=2.0 + 3.0 * min(1.0, count / 30))
    return chart.canvas.pixels()


def draw_score_by_length(groups: Sequence[LengthScore], name: str, *, unit: str = "steps", title: str = "") -> Pixels:
    """A score of examples grouped by their length, and how many are in each group."""
    scores = [group.score for group in groups if math.isfinite(group.score)]
    low, high = min([*scores, math.inf]), max([*scores, -math.inf])
    is_share = not scores or (low >= 0.0 and high <= 1.0)
    # With room for a number above the highest point.
    y = Axis(name, 0.0, 1.1) if is_share else Axis(name, min(0.0, 1.1 * low), max(0.1 * abs(low), 1.15 * high))
    notes = ["examples of about the same length together"]
    longest = max((group.high for group in groups), default=1)
    chart = Chart(title, Axis(f"length in {unit}", 0, longest * 1.02), y, notes=notes)
    points = [((group.low + group.high) / 2, group) for group in groups if math.isfinite(group.score)]
    chart.line([x for x, _ in points], [group.score for _, group in points], BLUE)
    places = [chart.place(middle, group.score) for middle, group in points]
    written = -math.inf
    for number, ((x, top), (_, group)) in enumerate(zip(places, points, strict=True)):
        (left, _), (right, _) = chart.place(group.low, 0.0), chart.place(group.high, 0.0)
        chart.canvas.line([(left, top), (right, top)], PALE, width=3)
        chart.canvas.dot(x, top, BLUE, radius=2.0 + 3.0 * min(1.0, group.count / 30))
        text = number_text(round(group.score, 3))
        dx, dy, anchor = _beside_line(places, number)
        if top + dy < chart.top + 10:  # there is no room above
            dx, dy, anchor = 0.0, 8.0, "mt"
        begins = x + dx - text_width(text, 12) * {"r": 1.0, "m": 0.5, "l": 0.0}[anchor[0]]
        if begins - written > 4:  # no number over another
            written = begins + text_width(text, 12)
            chart.canvas.text(x + dx, top + dy, text, size=12, anchor=anchor)
    return chart.canvas.pixels()


def _beside_line(places: Sequence[tuple[float, float]], number: int) -> tuple[float, float, str]:
    """Where the text of a point does not lie on the line through it: its distance from the point, and its anchor."""
    y = places[number][1]
    rises = [places[number - 1][1] > y] if number else []  # y grows downwards
    falls = [places[number + 1][1] >= y] if number + 1 < len(places) else []
    if len(rises) + len(falls) < 2 or rises == falls:
        return (0.0, -8.0, "ms") if all((*rises, *falls)) else (0.0, 8.0, "mt")
    return (-4.0, -7.0, "rs") if rises[0] else (4.0, -7.0, "ls")


def draw_lengths(histogram: LengthHistogram, *, unit: str = "steps", title: str = "") -> Pixels:
    """How many inputs have which length, and where they are cut."""
    total = int(histogram.counts.sum())
    cut = "none is cut"
    if histogram.limit is not None:
        cut = f"{histogram.longer:,} ({_percent(histogram.longer / max(1, total))} %) are cut at {histogram.limit:,}"
    notes = [f"{total:,} examples; {cut}"]
    high = float(histogram.edges[-1])
    top = float(histogram.counts.max(initial=1)) * 1.05
    chart = Chart(title, Axis(f"length in {unit}", 0.0, high), Axis("examples", 0.0, top), notes=notes)
    for low, upper, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
        is_cut = histogram.limit is not None and histogram.longer and upper > histogram.limit
        if count:
            chart.bar(max(0.0, low), upper, count, ORANGE if is_cut else BLUE)
    if histogram.limit is not None and histogram.limit < high:
        chart.canvas.dashed(chart.place(histogram.limit + 0.5, 0.0), chart.place(histogram.limit + 0.5, top), RED)
    return chart.canvas.pixels()


def short_count(count: int) -> str:
    """At most four characters: 812, 8.1k, 81k, 8.1M."""
    for limit, unit in ((1, ""), (1000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        value = count / limit
        if value < 999.5 or limit == 1_000_000_000:
            return f"{count}" if limit == 1 else f"{value:.1f}{unit}" if value < 9.95 else f"{value:.0f}{unit}"
    raise AssertionError("unreachable")


def _percent(share: float) -> str:
    """Whole percent; 0.4 where that would hide that there is some."""
    percent = 100.0 * share
    return f"{percent:.0f}" if percent >= 0.95 else "<1" if percent < 0.05 else f"{percent:.1f}"


def _draw_cells(
    shares: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    notes: Sequence[str],
    colors: Callable[[np.ndarray], Pixels],
    write: Callable[[int, int], str],
) -> Pixels:
    """A table of coloured cells with names: `shares` (R, C) gives the colours, `write` the text of a cell."""
    cell = max(15, min(36, 190 // max(1, len(rows), len(columns))))
    size, name_size = max(8, min(15, cell // 2 - 1)), max(9, min(14, cell - 4))
    left = 18.0 + max((text_width(name, name_size) for name in rows), default=0.0)
    above = 20.0 + max((text_width(name, name_size) for name in columns), default=0.0)
    width = max(math.ceil(left) + cell * len(columns) + 14, heading_width(title, notes))
    heading = 10 + 17 * (1 + len(notes))
    canvas = Canvas(width, heading + math.ceil(above) + cell * len(rows) + 14)
    top = write_heading(canvas, title, notes) + above
    pixels = colors(np.asarray(shares, dtype=np.float64).reshape(len(rows), len(columns)))
    for row, name in enumerate(rows):
        y = top + row * cell
        canvas.text(left - 8, y + cell / 2, name, size=name_size, anchor="rm")
        for column in range(len(columns)):
            x = left + column * cell
            red, green, blue = (int(channel) for channel in pixels[row, column])
            canvas.box(x, y, x + cell, y + cell, (red, green, blue), LIGHT)
            if text := write(row, column):
                canvas.text(
                    x + cell / 2, y + cell / 2, text, size=size, color=_text_color(red, green, blue), anchor="mm"
                )
    for column, name in enumerate(columns):
        canvas.vertical(left + (column + 0.5) * cell, top - 8, name, size=name_size)
    canvas.box(left, top, left + cell * len(columns), top + cell * len(rows), None, GREY)
    return canvas.pixels()


def _text_color(red: int, green: int, blue: int) -> Color:
    """Black or white, whichever is read better on this colour."""
    return WHITE if 0.299 * red + 0.587 * green + 0.114 * blue < 140 else BLACK
