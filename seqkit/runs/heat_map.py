"""A heat map for TensorBoard, drawn with Pillow: a quantity over steps of training (across) and over a range (up)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seqkit.runs.plots import Font

LEFT, TOP, RIGHT, BOTTOM = 78, 66, 118, 52
WIDTH, HEIGHT = 720, 300
"""The size of the map itself, in pixels."""

_BLACK, _GREY, _WHITE = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_NO_VALUE = (232, 232, 232)
_SCALE = ((250, 250, 242), (196, 224, 178), (92, 184, 168), (42, 120, 160), (40, 62, 124), (24, 20, 60))
"""Colours from the smallest to the largest value; darker is more, in print too."""


@dataclass(frozen=True)
class Line:
    """A curve over the map: its value at each column (None: none), its colour, and what it is."""

    values: Sequence[float | None]
    color: tuple[int, int, int]
    label: str


@dataclass(frozen=True)
class HeatMap:
    """What is drawn.

    Attributes:
        title: the first line above the map.
        note: the second line, in grey.
        steps: (N,) training step of each column, increasing.
        edges: (K + 1,) where the cells of a column begin and end, increasing; the first may be 0.
        values: (K, N), NaN where there is none.
        low, high: the values of the lightest and the darkest colour; what is beyond has the same colour.
        ticks: values along the colour bar with their texts.
        y_label: what `edges` are.
        lines: curves in units of `edges`.
    """

    title: str
    note: str
    steps: Sequence[int]
    edges: Sequence[float]
    values: np.ndarray
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    y_label: str
    lines: Sequence[Line] = field(default_factory=tuple)


def draw_heat_map(heat_map: HeatMap) -> np.ndarray:
    """The map with axes, a colour bar and its curves, (height, width, 3) uint8. The vertical axis is logarithmic.

    Columns are as wide as the time until the next one.
    """
    picture = Image.new("RGB", (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM), _WHITE)
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((LEFT, 8), heat_map.title, _BLACK, large)
    draw.text((LEFT, 28), heat_map.note, _GREY, small)
    picture.paste(Image.fromarray(_pixels(heat_map)), (LEFT, TOP))
    draw.rectangle((LEFT - 1, TOP - 1, LEFT + WIDTH, TOP + HEIGHT), None, outline=_GREY)
    _draw_axes(draw, picture, heat_map, small)
    _draw_bar(draw, heat_map, small)
    x = LEFT
    for line in heat_map.lines:
        points = [
            (_column_middle(heat_map.steps, n), TOP + (1 - _height(value, heat_map.edges)) * HEIGHT)
            for n, value in enumerate(line.values)
            if value is not None
        ]
        if len(points) > 1:
            draw.line(points, line.color, 2)
        for px, py in points if len(points) <= 12 else ():
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), line.color)
        draw.line((x, 54, x + 18, 54), line.color, 2)
        draw.text((x + 24, 54), line.label, _BLACK, small, anchor="lm")
        x += 44 + int(small.getlength(line.label))
    return np.asarray(picture)


def _height(value: float, edges: Sequence[float]) -> float:
    """Where a value is between the bottom (0) and the top (1)."""
    lowest, highest = math.log(edges[0] + 1), math.log(edges[-1] + 1)
    share = (math.log(max(value, edges[0]) + 1) - lowest) / max(1e-9, highest - lowest)
    return min(1.0, share)


def _column_edges(steps: Sequence[int]) -> np.ndarray:
    """(N,) steps -> (N + 1,) pixels. The last column is as wide as the one before it."""
    last = steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1)
    positions = np.array([*steps, last], dtype=np.float64)
    return np.asarray((positions - positions[0]) / (positions[-1] - positions[0]) * WIDTH)


def _column_middle(steps: Sequence[int], number: int) -> float:
    edges = _column_edges(steps)
    return float(LEFT + (edges[number] + edges[number + 1]) / 2)


def _pixels(heat_map: HeatMap) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 of the map itself."""
    columns = np.searchsorted(_column_edges(heat_map.steps), np.arange(WIDTH) + 0.5, side="right") - 1
    tops = np.array([_height(edge, heat_map.edges) for edge in heat_map.edges])
    rows = np.searchsorted(tops, 1 - (np.arange(HEIGHT) + 0.5) / HEIGHT, side="right") - 1
    values = heat_map.values[np.clip(rows, 0, len(heat_map.edges) - 2)][:, np.clip(columns, 0, len(heat_map.steps) - 1)]
    return shade((values - heat_map.low) / (heat_map.high - heat_map.low))


def shade(shares: np.ndarray) -> np.ndarray:
    """(...) numbers from 0 to 1 -> (..., 3) uint8 colours; NaN is grey."""
    position = np.clip(np.nan_to_num(shares, nan=0.0, posinf=1.0, neginf=0.0), 0, 1) * (len(_SCALE) - 1)
    scale = np.array(_SCALE, dtype=np.float64)
    lower = np.minimum(position.astype(int), len(_SCALE) - 2)
    colors = scale[lower] + (scale[lower + 1] - scale[lower]) * (position - lower)[..., None]
    colors[np.isnan(shares)] = _NO_VALUE
    return np.asarray(colors.round().astype(np.uint8))


def _draw_axes(
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    heat_map: HeatMap,
    font: Font,
) -> None:
    lowest, highest = heat_map.edges[0], heat_map.edges[-1]
    marks = [value for value in _round_values(highest) if lowest <= value <= highest]
    previous: float = math.inf
    for value in marks:
        y = TOP + (1 - _height(value, heat_map.edges)) * HEIGHT
        if previous - y < 16:
            continue
        previous = y
        draw.line((LEFT - 5, y, LEFT - 1, y), _GREY)
        draw.text((LEFT - 8, y), f"{value:,}", _BLACK, font, anchor="rm")
    edges = _column_edges(heat_map.steps)
    previous_x = -math.inf
    for number, step in enumerate(heat_map.steps):
        x = LEFT + float(edges[number])
        label = f"{step:,}"
        if x - previous_x < 34 + font.getlength(label):
            continue
        previous_x = x
        draw.line((x, TOP + HEIGHT + 1, x, TOP + HEIGHT + 5), _GREY)
        draw.text((x, TOP + HEIGHT + 8), label, _BLACK, font, anchor="lt")
    draw.text((LEFT + WIDTH / 2, TOP + HEIGHT + 30), "training step", _GREY, font, anchor="mt")
    strip = Image.new("L", (int(font.getlength(heat_map.y_label)) + 4, 18), 0)
    ImageDraw.Draw(strip).text((2, 9), heat_map.y_label, 255, font, anchor="lm")
    rotated = strip.rotate(90, expand=True)
    picture.paste(_GREY, (8, TOP + (HEIGHT - rotated.height) // 2), rotated)


def _round_values(highest: float) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... up to `highest`."""
    values, scale = [0], 1
    while scale <= highest:
        values += [scale, 2 * scale, 5 * scale]
        scale *= 10
    return values


def _draw_bar(draw: ImageDraw.ImageDraw, heat_map: HeatMap, font: Font) -> None:
    x = LEFT + WIDTH + 20
    colors = shade(1 - (np.arange(HEIGHT) + 0.5) / HEIGHT)
    for row, color in enumerate(colors.tolist()):
        draw.line((x, TOP + row, x + 14, TOP + row), tuple(color))
    draw.rectangle((x - 1, TOP - 1, x + 15, TOP + HEIGHT), None, outline=_GREY)
    for value, label in heat_map.ticks:
        y = TOP + (1 - (value - heat_map.low) / (heat_map.high - heat_map.low)) * HEIGHT
        draw.text((x + 22, min(max(y, TOP + 6), TOP + HEIGHT - 6)), label, _BLACK, font, anchor="lm")
