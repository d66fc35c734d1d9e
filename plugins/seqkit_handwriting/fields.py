"""Drawings as pen movements: the target of the task `handwriting`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeAlias, final

import numpy as np

from seqkit import JSON, Field
from seqkit_handwriting.svg import lines_of

Steps: TypeAlias = list[list[float]]
"""A drawing: at each step the movement in x and y, and 1 if the pen is lifted after it, else 0."""

DOWN: Final = 0
LIFTED: Final = 1
END: Final = 2
"""What the pen does after a movement: it stays on the paper, is lifted, or the drawing is over."""


@final
@dataclass(frozen=True)
class Movements(Field):
    """The steps of a drawing, (U, 3) float32: the movement in units of `deviation`, and what the pen does after it.

    Attributes:
        grid: the distances in x and y of the grid on which movements were measured; uniform noise of that width, drawn
            from the numbers of the drawing, is added. 0: none is.
        stretch: pictures are so many times as wide as the numbers say: the width of a page by its height, where x and y
            are shares of these.
        deviation: of movements in training, both directions together.
    """

    unit = "movements"

    grid: tuple[float, float] = (0.0, 0.0)
    stretch: float = 1.0
    deviation: float = 1.0

    def fit(self, values: Iterable[Any]) -> Self:
        """Raises ValueError if the pen never moves."""
        total, squares, count = 0.0, 0.0, 0
        for value in values:
            moves = array_of(value)[:, :2]
            total, squares, count = total + moves.sum(), squares + np.square(moves).sum(), count + moves.size
        variance = squares / max(1, count) - (total / max(1, count)) ** 2
        if not variance > 0.0:
            raise ValueError("training has no movement at all")
        return replace(self, deviation=math.sqrt(variance))

    def encode(self, value: Any) -> np.ndarray:
        """Raises ValueError for anything but steps [dx, dy, lifted] of finite numbers."""
        steps = array_of(value)
        noise = np.random.default_rng(zlib.crc32(steps.tobytes())).uniform(-0.5, 0.5, (len(steps), 2))
        rows = np.empty((len(steps), 3), dtype=np.float32)
        rows[:, :2] = (steps[:, :2] + noise * np.array(self.grid)) / self.deviation
        rows[:, 2] = np.where(steps[:, 2] > 0.5, LIFTED, DOWN)
        rows[-1, 2] = END
        return rows

    def decode(self, array: np.ndarray) -> Steps:
        """The steps, with the noise that was added."""
        rows = np.asarray(array, dtype=np.float64).reshape(-1, 3)
        moves = rows[:, :2] * self.deviation
        return [[float(x), float(y), float(state > DOWN)] for (x, y), state in zip(moves, rows[:, 2], strict=True)]

    def to_draw(self, array: np.ndarray) -> Steps:
        """The steps as they are drawn, in their true proportions."""
        return [[x * self.stretch, y, lifted] for x, y, lifted in self.decode(array)]

    def drawing(self, value: Any) -> list[list[tuple[float, float]]]:
        """What the movements draw, in its true proportions."""
        return lines_of([dx * self.stretch, dy, lifted] for dx, dy, lifted in value)

    @property
    def size(self) -> int:
        """The numbers of a step."""
        return 3

    def state(self) -> JSON:
        return self.deviation

    def restore(self, state: JSON) -> Self:
        return replace(self, deviation=float(state))


def array_of(value: Any) -> np.ndarray:
    """(U, 3) float64 of the steps of a drawing. Raises ValueError for anything else."""
    try:
        steps = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("should be a list of steps [dx, dy, lifted]") from None
    if steps.ndim != 2 or steps.shape[1] != 3 or not len(steps):
        raise ValueError("should be a list of steps [dx, dy, lifted]")
    if not np.isfinite(steps).all():
        raise ValueError("has a movement that is not finite")
    return steps


def steps_of_strokes(strokes: Any) -> Steps:
    """The steps of strokes, lists of points [x, y]; the first point is where the drawing begins.

    Raises ValueError for anything else, or a single point.
    """
    if not isinstance(strokes, Sequence) or isinstance(strokes, str) or not strokes:
        raise ValueError("should be a list of strokes, each a list of points [x, y]")
    rows: list[list[float]] = []
    for stroke in strokes:
        try:
            points = np.asarray(stroke, dtype=np.float64)
        except (TypeError, ValueError):
            points = np.zeros(0)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError("has a stroke that is not a list of points [x, y]")
        rows += [[x, y, 0.0] for x, y in points.tolist()]
        rows[-1][2] = 1.0
    if len(rows) < 2:
        raise ValueError("has a single point, so the pen does not move")
    points = np.array(rows)
    return [
        [x, y, lifted] for (x, y), lifted in zip(np.diff(points[:, :2], axis=0).tolist(), points[1:, 2], strict=True)
    ]
