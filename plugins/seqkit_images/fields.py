"""Images as sequences: the field of the task `images`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, final

import numpy as np

from seqkit import JSON, Field

if TYPE_CHECKING:
    from torch import nn

Order = Literal["rows", "columns", "pixels", "permuted"]


@final
@dataclass(frozen=True)
class Image(Field):
    """A grey image, (height, width) whole numbers from 0 to 255, as a sequence of its rows, columns or pixels.

    All images have the size of the first one of training. Encoded, they are uint8: (height, width), a row a step;
    (width, height), a column a step; or (height * width, 1), a pixel a step.

    Args:
        order: rows, from top to bottom; columns, from left to right; pixels, row by row; permuted, pixels in a random
            order that is the same for all images (Le, Jaitly and Hinton 2015, arXiv:1504.00941).
        shift: training moves an image by up to so many pixels in both directions.
        permutation: the seed of the order, with `permuted`.
    """

    order: Order = "rows"
    shift: int = 0
    permutation: int = 0
    shape: tuple[int, int] | None = field(default=None, kw_only=True, repr=False)
    largest: int | None = field(default=None, kw_only=True, repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        """Learns the size of an image and the largest number. Raises ValueError for images of another size."""
        shape, largest = self.shape, 1
        for value in values:
            pixels = replace(self, shape=shape)._pixels(value)
            shape = pixels.shape[0], pixels.shape[1]
            largest = max(largest, int(pixels.max()))
        if shape is None:
            raise ValueError("training has no image at all")
        return replace(self, shape=shape, largest=largest)

    def encode(self, value: Any) -> np.ndarray:
        """(T, D) uint8. Raises ValueError for anything but an image of the size of those in training."""
        self._fitted()
        pixels = self._pixels(value)
        if self.order == "rows":
            return pixels
        if self.order == "columns":
            return np.ascontiguousarray(pixels.T)
        flat = pixels.reshape(-1, 1)
        return flat[self._places()] if self.order == "permuted" else flat

    def decode(self, array: np.ndarray) -> list[list[int]]:
        height, width = self._fitted()
        steps = np.asarray(array, dtype=np.uint8)
        if self.order == "permuted":
            steps = steps.reshape(-1)[np.argsort(self._places())]
        pixels = steps.reshape(width, height).T if self.order == "columns" else steps.reshape(height, width)
        rows: list[list[int]] = pixels.tolist()
        return rows

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Pieces are rows of the image, if a step is a row."""
        if self.order != "rows":
            raise TypeError(f"images cannot be read in pieces with order: {self.order}")
        if piece is None or len(piece) == 0:
            return None, None
        return _as_pixels(piece, self._fitted()[1]), None

    @property
    def size(self) -> int:
        height, width = self._fitted()
        return {"rows": width, "columns": height}.get(self.order, 1)

    def state(self) -> JSON:
        return {"shape": list(self._fitted()), "largest": self.largest}

    def restore(self, state: JSON) -> Self:
        return replace(self, shape=tuple(state["shape"]), largest=state["largest"])

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return generator.integers(0, (self.largest or 1) + 1, (steps, self.size), dtype=np.uint8)

    def parse(self, line: str) -> Any:
        """A line of JSON: a list of rows, each a list of whole numbers."""
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError("should be a JSON list of rows, each a list of whole numbers from 0 to 255") from None

    def layer(self, dim: int) -> nn.Module:
        from seqkit_images.layers import Steps

        is_image = self.order in ("rows", "columns")
        return Steps(self.size, dim, scale=1 / (self.largest or 1), shift=self.shift if is_image else 0)

    def _pixels(self, value: Any) -> np.ndarray:
        pixels = _as_pixels(value, None)
        if self.shape is not None and pixels.shape != self.shape:
            message = "{} x {} pixels (height x width)"
            raise ValueError(f"has {message.format(*pixels.shape)}, and training has {message.format(*self.shape)}")
        return pixels

    def _places(self) -> np.ndarray:
        """Which pixel each step is. The draws of RandomState are the same in every version of NumPy."""
        height, width = self._fitted()
        return np.random.RandomState(self.permutation).permutation(height * width)

    def _fitted(self) -> tuple[int, int]:
        if self.shape is None:
            raise RuntimeError("the field is not fitted yet")
        return self.shape


def _as_pixels(value: Any, width: int | None) -> np.ndarray:
    """(height, width) uint8. Raises ValueError for anything else."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError("has rows of different widths") from None
    if array.size == 0:
        raise ValueError("is empty")
    if array.ndim != 2 or (width is not None and array.shape[1] != width):
        expected = "width" if width is None else width
        raise ValueError(f"should be (height, {expected}) whole numbers, but has shape {array.shape}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all() or (array != np.floor(array)).any():
        raise ValueError("should have whole numbers only")
    if array.min() < 0 or array.max() > 255:
        raise ValueError(f"should have numbers from 0 to 255, but has {int(array.min())} to {int(array.max())}")
    return array.astype(np.uint8)
