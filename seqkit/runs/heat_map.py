"""A heat map for TensorBoard: a quantity over the steps of training (across) and over a range of numbers (up)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from seqkit.runs.canvas import BLACK, GREY, Canvas, Color, Pixels, color_map, text_width, write_heading

WIDTH, HEIGHT = 300, 190
"""The size of the map itself, in pixels of a card."""
LEFT, RIGHT, BOTTOM, LEGEND = 62, 84, 44, 22
"""What is around it."""

SHADES = color_map((236, 238, 222), (196, 224, 178), (92, 184, 168), (42, 120, 160), (40, 62, 124), (24, 20, 60))
"""Darker is more, in print too. The lightest is far enough from white to stay apart from it in a palette."""


@dataclass(frozen=True)
class Curve:
    """A line over the map: its value at each column, its colour, and what it is."""

    values: Sequence[float]
    color: Color
    label: str


@dataclass(frozen=True)
class HeatMap:
    """What is drawn.

    Attributes:
        title: the first line above the map.
        note: the second line.
        steps: (N,) training step of each column, increasing.
        edges: (K + 1,) where the cells of a column begin and end, increasing, the first at least 0.
        values: (K, N), NaN where there is none.
        low, high: the values of the lightest and the darkest colour; what is beyond has the same colour.
        ticks: values along the colour bar with their texts.
        name: what `edges` are.
        curves: in units of `edges`.
    """

    title: str
    note: str
    steps: Sequence[int]
    edges: Sequence[float]
    values: np.ndarray
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    name: str
    curves: Sequence[Curve] = field(default_factory=tuple)

    def height(self, value: float) -> float:
        """Where a value is between the bottom (0) and the top (1): logarithmic, so that what is near has room."""
        lowest, highest = math.log1p(self.edges[0]), math.log1p(self.edges[-1])
        return min(1.0, max(0.0, (math.log1p(max(value, 0.0)) - lowest) / (highest - lowest)))

    def column_edges(self) -> np.ndarray:
        """(N + 1,) where columns begin, from 0 to 1. Each lasts until the next one, the last as long as that before."""
        last = self.steps[-1] + (self.steps[-1] - self.steps[-2] if len(self.steps) > 1 else 1)
        positions = np.array([*self.steps, last], dtype=np.float64)
        return np.asarray((positions - positions[0]) / (positions[-1] - positions[0]))

    def pixels(self) -> Pixels:
        """(HEIGHT, WIDTH, 3): the map itself."""
        columns = np.searchsorted(self.column_edges(), (np.arange(WIDTH) + 0.5) / WIDTH, side="right") - 1
        bottoms = [self.height(edge) for edge in self.edges]
        rows = np.searchsorted(bottoms, 1 - (np.arange(HEIGHT) + 0.5) / HEIGHT, side="right") - 1
        cells = SHADES((self.values - self.low) / (self.high - self.low))
        return cells[np.clip(rows, 0, len(self.edges) - 2)][:, np.clip(columns, 0, len(self.steps) - 1)]


def draw_heat_map(heat_map: HeatMap) -> Pixels:
    """The map with axes, a colour bar and its curves, (height, width, 3)."""
    top = 12 + 2 * 17 + (LEGEND if heat_map.curves else 0)
    canvas = Canvas(LEFT + WIDTH + RIGHT, top + HEIGHT + BOTTOM)
    write_heading(canvas, heat_map.title, [heat_map.note])
    canvas.paste(heat_map.pixels(), LEFT, top, LEFT + WIDTH, top + HEIGHT)
    canvas.box(LEFT - 1, top - 1, LEFT + WIDTH + 1, top + HEIGHT + 1, None, GREY)
    _draw_axes(canvas, heat_map, top)
    _draw_bar(canvas, heat_map, top)
    _draw_curves(canvas, heat_map, top)
    return canvas.pixels()


def _draw_axes(canvas: Canvas, heat_map: HeatMap, top: int) -> None:
    previous = math.inf
    for value in _round_values(heat_map.edges[-1]):
        y = top + (1 - heat_map.height(value)) * HEIGHT
        if value < heat_map.edges[0] or previous - y < 15:
            continue
        previous = y
        canvas.line([(LEFT - 6, y), (LEFT - 1, y)], GREY, width=1)
        canvas.text(LEFT - 9, y, f"{value:,}", size=12, anchor="rm")
    end = -math.inf
    for share, step in zip(heat_map.column_edges(), heat_map.steps, strict=False):
        x, label = LEFT + float(share) * WIDTH, f"{step:,}"
        if x < end:
            continue
        end = x + text_width(label, 12) + 24
        canvas.line([(x, top + HEIGHT + 1), (x, top + HEIGHT + 6)], GREY, width=1)
        canvas.text(x, top + HEIGHT + 7, label, size=12)
    canvas.text(LEFT + WIDTH / 2, top + HEIGHT + 24, "training step", size=12, color=GREY, anchor="ma")
    canvas.vertical(12, top + (HEIGHT + text_width(heat_map.name, 12)) / 2, heat_map.name, size=12, color=GREY)


def _round_values(highest: float) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... up to `highest`."""
    values, scale = [0], 1
    while scale <= highest:
        values += [scale, 2 * scale, 5 * scale]
        scale *= 10
    return [value for value in values if value <= highest]


def _draw_bar(canvas: Canvas, heat_map: HeatMap, top: int) -> None:
    left = LEFT + WIDTH + 12
    canvas.paste(SHADES(1 - (np.arange(HEIGHT)[:, None] + 0.5) / HEIGHT), left, top, left + 12, top + HEIGHT)
    canvas.box(left - 1, top - 1, left + 13, top + HEIGHT + 1, None, GREY)
    for value, label in heat_map.ticks:
        y = top + (1 - (value - heat_map.low) / (heat_map.high - heat_map.low)) * HEIGHT
        canvas.text(left + 17, min(max(y, top + 6), top + HEIGHT - 6), label, size=11, anchor="lm")


def _draw_curves(canvas: Canvas, heat_map: HeatMap, top: int) -> None:
    edges = heat_map.column_edges()
    middles = LEFT + (edges[:-1] + edges[1:]) / 2 * WIDTH
    x = float(LEFT)
    for curve in heat_map.curves:
        points = [
            (float(middle), top + (1 - heat_map.height(value)) * HEIGHT)
            for middle, value in zip(middles, curve.values, strict=True)
        ]
        if len(points) > 1:
            canvas.line(points, curve.color)
        for point in points if len(points) <= 12 else ():
            canvas.dot(*point, curve.color)
        canvas.line([(x, top - 12), (x + 18, top - 12)], curve.color, width=3)
        canvas.text(x + 23, top - 12, curve.label, size=12, color=BLACK, anchor="lm")
        x += 40 + text_width(curve.label, 12)
