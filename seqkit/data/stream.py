"""A split as one endless text, read in lanes, a window at a time."""

from __future__ import annotations

import numpy as np
import torch

from seqkit.data import sampler
from seqkit.data.store import Column
from seqkit.interfaces import Batch
from seqkit.types import START, Index

_COARSE = 64
"""Of a stream's examples, each of so many is known by where it begins; the others are looked up."""


class Stream:
    """All examples of a split joined into one endless text, each after a start symbol. Nothing is copied.

    Example d begins at symbol `offsets[d] + d`, its start symbol. What is kept in memory is where every 64th begins.
    """

    def __init__(self, column: Column) -> None:
        assert column.offsets is not None, "a stream is made of sequences"
        self._data, self._offsets = np.asarray(column.data), np.asarray(column.offsets)
        self._coarse = self._starts(0, len(column), _COARSE)
        self.total = int(self._offsets[-1]) + len(column)

    def _starts(self, first: int, stop: int, step: int = 1) -> Index:
        """Where the start symbols of some examples stand."""
        return self._offsets[first:stop:step] + np.arange(first, stop, step)

    def _example(self, symbol: int) -> int:
        """The example in which a symbol stands."""
        first = (int(np.searchsorted(self._coarse, symbol, side="right")) - 1) * _COARSE
        near = self._starts(first, min(first + _COARSE, len(self._offsets) - 1))
        return first + int(np.searchsorted(near, symbol, side="right")) - 1

    def take(self, start: int, stop: int) -> Index:
        """Symbols start..stop of the stream, which begins again at its end."""
        if stop > self.total:
            return np.concatenate([self.take(start, self.total), self.take(0, stop - self.total)])
        symbols = np.empty(stop - start, dtype=np.int64)
        if start >= stop:
            return symbols
        first = self._example(start)
        # An example takes two symbols at least, which bounds how many begin here.
        marks = self._starts(first, min(first + len(symbols) // 2 + 2, len(self._offsets) - 1)) - start
        marks = marks[int(marks[0] < 0) : int(np.searchsorted(marks, len(symbols)))]
        # The example before the first start symbol is `first`, unless that one begins here: then there is none before.
        begin = int(self._offsets[first]) if len(marks) and marks[0] == 0 else start - first - 1
        rest = self._data[begin : begin + len(symbols) - len(marks)]
        if not len(marks):
            symbols[:] = rest
            return symbols
        real = np.ones(len(symbols), dtype=bool)
        real[marks] = False
        symbols[real] = rest
        symbols[marks] = START
        return symbols

    def window(self, lanes: sampler.Lanes, number: int) -> Batch:
        """(B, W) inputs and targets of one window of every lane; the first window of an epoch carries nothing."""
        a, b = lanes.windows[number]
        x, y = (np.empty((len(lanes.starts), b - a), dtype=np.int64) for _ in range(2))
        for lane, start in enumerate(lanes.starts.tolist()):
            row = self._row(start + a, b - a + 1)
            x[lane], y[lane] = row[:-1], row[1:]
        lengths = torch.full((len(x),), b - a, dtype=torch.int64)
        ids = [f"lane {lane}, symbols {a + 1} to {b}" for lane in range(len(x))]
        return Batch(torch.from_numpy(x), lengths, torch.from_numpy(y), lengths, carry=number > 0, ids=ids)

    def _row(self, start: int, steps: int) -> Index:
        start %= self.total
        return self.take(start, start + steps)
