"""A split as one circular text, read in lanes, a window at a time."""

from __future__ import annotations

import numpy as np
import torch

from seqkit.data import sampler
from seqkit.data.store import Column
from seqkit.interfaces import Batch
from seqkit.types import START, Index

_STRIDE = 64
"""The starts of every so many examples are kept in memory; those between are looked up."""


class Stream:
    """All examples of a split joined into one circular text, each after a start symbol. Nothing is copied.

    Example d starts at symbol `offsets[d] + d` of the stream, with its start symbol.

    Attributes:
        total: symbols of the stream.
    """

    def __init__(self, column: Column) -> None:
        assert column.offsets is not None, "a stream is made of sequences"
        self._data, self._offsets = column.data, np.asarray(column.offsets)
        self._sparse_starts = self._starts(0, len(column), _STRIDE)
        self.total = int(self._offsets[-1]) + len(column)

    def window(self, lanes: sampler.Lanes, number: int) -> Batch:
        """(B, W) inputs and targets: one window of every lane. The first window of an epoch carries no state."""
        start, stop = lanes.windows[number]
        steps = stop - start
        x, y = (np.empty((len(lanes.starts), steps), dtype=np.int64) for _ in range(2))
        for lane, lane_start in enumerate(lanes.starts.tolist()):
            first = (lane_start + start) % self.total
            symbols = self.read(first, first + steps + 1)
            x[lane], y[lane] = symbols[:-1], symbols[1:]
        lengths = torch.full((len(x),), steps, dtype=torch.int64)
        ids = [f"lane {lane}, symbols {start + 1} to {stop}" for lane in range(len(x))]
        numbers = torch.arange(len(x)) + number * len(x)  # of a window of a lane: no two in a step are the same
        targets = torch.from_numpy(y)
        return Batch(torch.from_numpy(x), lengths, targets, lengths, carry=number > 0, ids=ids, numbers=numbers)

    def look_back(self, lanes: sampler.Lanes, number: int, steps: int, rows: int) -> Batch:
        """(rows, steps) the first lanes of a window with the steps before it, `steps` in all and none of them twice."""
        stop, steps = lanes.windows[number][1], min(steps, self.total - 1)
        starts = [(lane_start + stop - steps) % self.total for lane_start in lanes.starts[:rows].tolist()]
        symbols = np.stack([self.read(start, start + steps + 1) for start in starts])
        x, y = torch.from_numpy(symbols[:, :-1].copy()), torch.from_numpy(symbols[:, 1:].copy())
        lengths = torch.full((len(x),), steps, dtype=torch.int64)
        return Batch(x, lengths, y, lengths, ids=[f"lane {lane}" for lane in range(len(x))])

    def read(self, start: int, stop: int) -> Index:
        """(stop - start,) symbols `start` to `stop` of the stream, which goes on with its beginning after its end."""
        if stop > self.total:
            return np.concatenate([self.read(start, self.total), self.read(0, stop - self.total)])
        symbols = np.empty(stop - start, dtype=np.int64)
        if start >= stop:
            return symbols
        first = self._example_at(start)
        # An example has two symbols at least, its start symbol among them, which bounds how many start here.
        last = min(first + len(symbols) // 2 + 2, len(self._offsets) - 1)
        boundaries = self._starts(first, last) - start
        boundaries = boundaries[int(boundaries[0] < 0) : int(np.searchsorted(boundaries, len(symbols)))]
        # `first + 1` start symbols come before `start`, or `first` if example `first` starts right there.
        starts_here = len(boundaries) > 0 and boundaries[0] == 0
        data_start = int(self._offsets[first]) if starts_here else start - first - 1
        data = self._data[data_start : data_start + len(symbols) - len(boundaries)]
        if not len(boundaries):
            symbols[:] = data
            return symbols
        is_data = np.ones(len(symbols), dtype=bool)
        is_data[boundaries] = False
        symbols[is_data] = data
        symbols[boundaries] = START
        return symbols

    def _starts(self, first: int, stop: int, stride: int = 1) -> Index:
        """Where examples `first` to `stop`, by `stride`, start in the stream."""
        return self._offsets[first:stop:stride] + np.arange(first, stop, stride)

    def _example_at(self, symbol: int) -> int:
        """The number of the example that a symbol of the stream belongs to."""
        first = (int(np.searchsorted(self._sparse_starts, symbol, side="right")) - 1) * _STRIDE
        starts = self._starts(first, min(first + _STRIDE, len(self._offsets) - 1))
        return first + int(np.searchsorted(starts, symbol, side="right")) - 1
