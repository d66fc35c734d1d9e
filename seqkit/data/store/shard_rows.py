"""The rows of several shards as one array that is read in parts: a shard is opened when a row of it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, final

import numpy as np

from seqkit.types import Index


@final
class ShardRows:
    """(N, ...) rows, of which each shard has some consecutive ones. It can be indexed as an array, but not written.

    Args:
        counts: rows of each shard.
        dtype: of the numbers.
        row_shape: of a row.
        open_shard: gives the rows of a shard.
    """

    def __init__(
        self,
        counts: Sequence[int],
        dtype: np.dtype[Any],
        row_shape: tuple[int, ...],
        open_shard: Callable[[int], np.ndarray],
    ) -> None:
        self._starts: Index = np.cumsum([0, *counts], dtype=np.int64)
        self._open = open_shard
        self.dtype = dtype
        self.shape = (int(self._starts[-1]), *row_shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._slice(start, max(start, stop))[::step] if step > 0 else np.asarray(self)[key]
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(f"row {key} of {len(self)}")
            row = int(key) % len(self)
            return np.asarray(self._slice(row, row + 1)[0])
        return self._take(np.asarray(key))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows in memory."""
        rows = self._slice(0, len(self))
        return rows if dtype is None else rows.astype(dtype)

    def block(self, starts: Index, width: int) -> np.ndarray:
        """(B, width, ...) the rows from each of these on; what is beyond the end of a row's shard is any row."""
        shards = np.searchsorted(self._starts, starts, side="right") - 1
        rows = np.empty((len(starts), width, *self.shape[1:]), self.dtype)
        for shard in np.unique(shards).tolist():
            chosen = np.flatnonzero(shards == shard)
            first = starts[chosen] - self._starts[shard]
            rows[chosen] = self._open(shard).take(first[:, None] + np.arange(width), axis=0, mode="clip")
        return rows

    def _slice(self, start: int, stop: int) -> np.ndarray:
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces = []
        while start < stop:
            begin, end = int(self._starts[first]), min(stop, int(self._starts[first + 1]))
            if end > start:
                pieces.append(self._open(first)[start - begin : end - begin])
                start = end
            first += 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.zeros((0, *self.shape[1:]), self.dtype)

    def _take(self, index: np.ndarray) -> np.ndarray:
        if index.dtype == bool:
            index = np.flatnonzero(index)
        flat = index.reshape(-1).astype(np.int64)
        flat = np.where(flat < 0, flat + len(self), flat)
        if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < len(self):
            raise IndexError(f"rows {int(flat.min())} to {int(flat.max())} of {len(self)}")
        shards = np.searchsorted(self._starts, flat, side="right") - 1
        rows = np.empty((len(flat), *self.shape[1:]), self.dtype)
        for shard in np.unique(shards).tolist():
            chosen = shards == shard
            rows[chosen] = self._open(shard)[flat[chosen] - self._starts[shard]]
        return rows.reshape(*index.shape, *self.shape[1:])


Rows: TypeAlias = np.ndarray | ShardRows
"""The rows of a column: in one array, or in shards."""


def block(rows: Rows, starts: Index, width: int) -> np.ndarray:
    """(B, width, ...) the rows from each of these on; what follows the last row of a sequence is any row."""
    if isinstance(rows, ShardRows):
        return rows.block(starts, width)
    return np.asarray(rows.take(starts[:, None] + np.arange(width), axis=0, mode="clip"))
