"""Drawings as sequences of pen movements: the field of the task `strokes`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, final

import numpy as np

from seqkit import JSON, Field

if TYPE_CHECKING:
    from torch import nn

WIDTH: Final = 5
"""Numbers of a step: x and y, the movement from the point before in both directions, and 1 where a stroke begins."""


@final
@dataclass(frozen=True)
class Strokes(Field):
    """A drawing: a list of strokes, each a list of points [x, y], in the order in which they were drawn.

    It is moved and scaled so that its centre is 0 and its larger side is 2. Encoded, a step is a point: (T, 5) float32,
    namely x, y, the two differences from the point before (0 at the first one), and 1 where the pen was put down.

    Args:
        spacing: points are chosen anew, so far from each other along the stroke, as a share of the larger side; both
            ends of a stroke are kept (0: points are taken as they are).
        distort: training turns, stretches and slants drawings at random: the standard deviation of the numbers of the
            2 x 2 matrix that does so.
        noise: training adds Gaussian noise with this standard deviation to every number of a step but the last.
        warp: training bends drawings by random smooth deformations of the plane, which move points about so far.
        shift: training moves each stroke by itself: the standard deviation in both directions.
        y_axis: which way y grows, for drawings in reports.
    """

    unit = "points"

    spacing: float = 0.0
    distort: float = 0.0
    noise: float = 0.0
    warp: float = 0.0
    shift: float = 0.0
    y_axis: Literal["up", "down"] = "up"

    def encode(self, value: Any) -> np.ndarray:
        """(T, 5) float32. Raises ValueError for anything but strokes of finite points."""
        strokes = [_points(stroke) for stroke in self._strokes(value)]
        strokes = normalised(strokes)
        if self.spacing > 0:
            strokes = [resampled(stroke, 2 * self.spacing) for stroke in strokes]
        points = np.concatenate(strokes)
        moves = np.diff(points, axis=0, prepend=points[:1])
        begins = np.zeros((len(points), 1))
        begins[np.cumsum([0, *map(len, strokes[:-1])])] = 1
        return np.concatenate([points, moves, begins], axis=1).astype(np.float32)

    def decode(self, array: np.ndarray) -> list[list[list[float]]]:
        """The strokes as they were encoded: moved, scaled and with the points that were chosen."""
        rows = np.asarray(array, dtype=np.float64).reshape(-1, WIDTH)
        starts = np.flatnonzero(rows[:, 4] > 0.5)
        return [stroke.tolist() for stroke in np.split(rows[:, :2], starts[1:])]

    def drawing(self, value: Any) -> list[list[tuple[float, float]]]:
        """The strokes, with y downwards."""
        sign = -1.0 if self.y_axis == "up" else 1.0
        return [[(float(x), sign * float(y)) for x, y in stroke] for stroke in value]

    @property
    def size(self) -> int:
        return WIDTH

    def state(self) -> JSON:
        return None

    def restore(self, state: JSON) -> Self:
        return self

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        rows = generator.uniform(-1, 1, (steps, WIDTH)).astype(np.float32)
        rows[:, 4] = rows[:, 4] > 0.8
        return rows

    def parse(self, line: str) -> Any:
        """A line of JSON: a list of strokes, each a list of points."""
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("should be a JSON list of strokes, each a list of points [x, y]") from None

    def layer(self, dim: int) -> nn.Module:
        from seqkit_strokes.layers import Points

        return Points(dim, distort=self.distort, warp=self.warp, shift=self.shift, noise=self.noise)

    def _strokes(self, value: Any) -> Sequence[Any]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError("should be a list of strokes, each a list of points [x, y]")
        return value


def _points(stroke: Any) -> np.ndarray:
    """(N, 2) float64. Raises ValueError for anything else."""
    try:
        points = np.asarray(stroke)
    except ValueError:
        raise ValueError("has points of different widths") from None
    if points.size == 0:
        raise ValueError("has an empty stroke")
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iuf":
        raise ValueError("has a stroke that is not a list of points [x, y]")
    points = points.astype(np.float64)
    if not np.isfinite(points).all():
        raise ValueError("has a point that is not finite")
    return points


def normalised(strokes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same strokes around 0, with a larger side of 2. A drawing of one place stays one place."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high - low).max())
    return [(stroke - (low + high) / 2) * (2 / side if side > 0 else 1.0) for stroke in strokes]


def resampled(stroke: np.ndarray, spacing: float) -> np.ndarray:
    """Points on the stroke at about equal distances along it, its two ends among them, (N, 2)."""
    lengths = np.hypot(*np.diff(stroke, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if along[-1] == 0:
        return stroke[:1]
    places = np.linspace(0, along[-1], max(1, round(along[-1] / spacing)) + 1)
    return np.stack([np.interp(places, along, stroke[:, axis]) for axis in (0, 1)], axis=1)
