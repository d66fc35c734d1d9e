"""From stored splits to batches: padding on the right, next-step targets, lanes of a stream, the plan of an epoch.

The order of everything is a pure function of (seed, epoch), so any position of a run is reached at once.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit import fault_injection
from seqkit.data import sampler
from seqkit.data.store import Column, Picked, Split
from seqkit.errors import DataError, Problem
from seqkit.fields.vocabulary import END, START
from seqkit.interfaces import Batch
from seqkit.settings import TrainSettings
from seqkit.types import Example, Field, Task

Index = NDArray[np.int64]

EVALUATION_WINDOW = 1024
"""Steps of a long next-step sequence that are scored at once, the state carried on: bounds memory, changes nothing."""
EVALUATION_TOKENS = 32_768
"""Padded steps of an evaluation batch unless the caller says otherwise."""
_COARSE = 64
"""Of a stream's examples, each of so many is known by where it begins; the others are looked up."""


@dataclass(frozen=True)
class TaskData:
    """One task with its fields fitted and its splits stored.

    `content` says what the data was: the files with their hashes, and the key of the store.
    """

    name: str
    task: Task
    input: Field
    target: Field
    splits: Mapping[str, Split]
    weight: float = 1.0
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task.window is not None and not self.target.derived:
            raise TypeError(f"task {self.name}: a window is for next-step targets, not {type(self.target).__name__}")

    def lengths(self, split: str) -> Index:
        """(n,) steps of each stored example as a batch would have it: a next-step sequence has one more (its end)."""
        stored = self.splits[split].x.lengths
        return stored + 1 if self.target.derived and self.task.window is None else stored

    def batch(self, split: str, index: Index, steps: int = 0) -> Batch:
        """The examples at `index`, padded on the right: to the longest of them, or to `steps` where that is more."""
        part = self.splits[split]
        ids = Picked(part.ids, index)
        complete = self.task.window is None
        x, lengths = gather(part.x, index, steps - (self.target.derived and complete))
        if self.target.derived:
            return _next_step(x, lengths, ids, complete=complete)
        y, y_lengths = None, None
        if part.y is not None:
            if part.y.offsets is None:
                y = to_tensor(part.y.data[index])
            else:
                # One target a step, or targets of their own lengths, which need no more room than they take.
                values, counts = gather(part.y, index, like=(lengths, x.shape[1]))
                y, y_lengths = torch.from_numpy(values), torch.from_numpy(counts)
        return Batch(torch.from_numpy(x), torch.from_numpy(lengths), y, y_lengths, ids=ids)

    def targets(self, split: str) -> list[Any]:
        """The true target of each stored example, decoded."""
        column = self.splits[split].y
        if column is None:
            raise TypeError(f"task {self.name}: a {type(self.target).__name__} target is not stored")
        return [self.target.decode(column[i]) for i in range(len(self.splits[split].x))]

    def read_again(self, split: str, ids: Sequence[str]) -> list[Example]:
        """The examples with these ids, which are in the order of the data, as they were read.

        Raises:
            DataError: the data are others by now.
        """
        found: list[Example] = []
        for example in self.task.read(split):
            if len(found) < len(ids) and example.id == ids[len(found)]:
                found.append(example)
        if len(found) < len(ids):
            what = f"{ids[len(found)]} is no longer there"
            raise DataError(Problem(split, what, "a task's `read` must give the same examples each time"))
        return found


def gather(
    column: Column, index: Index, steps: int = 0, *, like: tuple[Index, int] | None = None
) -> tuple[NDArray[Any], Index]:
    """Rows of a ragged column as (B, T, ...) padded with zeros on the right, and their lengths (B,).

    T is the longest of them, or `steps` where that is more. Numbers are int64 or float32, as `to_tensor` gives them.

    Args:
        column: where the rows are.
        index: (B,) the examples.
        steps: the least T.
        like: (lengths (B,), T): where the lengths are these, T is the least T.
    """
    data = np.asarray(column.data)
    if column.offsets is None:  # one row an example: sequences of one step
        return _final(data[index])[:, None], np.ones(len(index), dtype=np.int64)
    offsets = np.asarray(column.offsets)
    starts = offsets.take(index)
    lengths = offsets.take(index + 1) - starts
    longest = int(lengths.max())
    width = max(longest, steps, like[1] if like is not None and np.array_equal(like[0], lengths) else 0)
    times = np.arange(longest)
    # Behind an end stands what follows in the file (or its last row): read with the rest, then overwritten.
    rows = data.take(starts[:, None] + times, axis=0, mode="clip")
    behind = times >= lengths[:, None]
    if data.ndim > 1:
        behind = behind.reshape(*behind.shape, *[1] * (data.ndim - 1))
    if width == longest:
        values = rows.astype(_type(data.dtype), copy=False)
        np.copyto(values, 0, where=behind)
        return values, lengths
    values = np.zeros((len(index), width, *data.shape[1:]), _type(data.dtype))
    np.copyto(values[:, :longest], rows, where=~behind)
    return values, lengths


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Integers as int64, all else as float32: what layers and losses take."""
    return torch.from_numpy(_final(array))


def _final(array: NDArray[Any]) -> NDArray[Any]:
    """The array in its last type; nothing is copied where it has it already."""
    return np.asarray(array.astype(_type(array.dtype), copy=False))


def _type(dtype: np.dtype[Any]) -> type[np.int64] | type[np.float32]:
    return np.int64 if dtype.kind in "iub" else np.float32


def _next_step(x: NDArray[Any], lengths: Index, ids: Sequence[str], *, complete: bool) -> Batch:
    """Symbols (B, T) to inputs and next-symbol targets, -1 where there is none.

    A complete sequence is predicted from its start symbol to its end symbol; a piece of a longer text has no end to
    predict: every one of its symbols is scored, the first from the start symbol.
    """
    rows, steps = x.shape
    width = steps + complete
    inputs = np.empty((rows, width), dtype=np.int64)
    targets = np.full((rows, width), -1, dtype=np.int64)
    inputs[:, 0] = START
    inputs[:, 1:] = x[:, : width - 1]
    np.copyto(targets[:, :steps], x, where=np.arange(steps) < lengths[:, None])
    if complete:
        targets[np.arange(rows), lengths] = END
        lengths = lengths + 1
    else:
        # The last symbol of a shorter piece is no input: it is only predicted.
        short = np.flatnonzero(lengths < steps)
        inputs[short, lengths[short]] = 0
    return Batch(
        torch.from_numpy(inputs),
        torch.from_numpy(lengths),
        torch.from_numpy(targets),
        torch.from_numpy(lengths),
        ids=ids,
    )


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


def cut(lengths: Index, settings: TrainSettings, *, seed: int, epoch: int) -> Sequence[Index]:
    """The batches of an epoch as the settings have them: arrays of example numbers."""
    size = settings.batch if settings.tokens is None else None
    return sampler.batches(lengths, seed=seed, epoch=epoch, batch=size, tokens=settings.tokens, pool=settings.pool)


def edges(lengths: Index, settings: TrainSettings, *, seed: int) -> Index:
    """The lengths that batches are padded to in training, by those of the first epoch: the same in every epoch."""
    assert settings.shapes is not None
    batches = cut(lengths, settings, seed=seed, epoch=0)
    longest = [int(lengths[index].max()) for index in batches]
    return sampler.edges([*longest, int(lengths.max())], settings.shapes, weights=[*map(len, batches), 0])


@dataclass(frozen=True)
class Turn:
    """What one optimiser step is made of: some batches of one task."""

    task: str
    batches: tuple[Any, ...]


class Turns(Sequence[Turn]):
    """The turns of an epoch, each made when it is asked for.

    Args:
        units: by task, its batches in order.
        order: (n,) which task each turn takes, by its number.
        accumulate: batches of a turn; the last turn of a task may have fewer.
    """

    def __init__(self, units: Mapping[str, Sequence[Any]], order: Index, accumulate: int) -> None:
        self._names, self._units = list(units), list(units.values())
        self._order, self._size = order, accumulate
        self._place = np.empty_like(order)
        for task in range(len(self._names)):
            own = order == task
            self._place[own] = np.arange(np.count_nonzero(own))

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, i: int) -> Turn: ...
    @overload
    def __getitem__(self, i: slice) -> list[Turn]: ...
    def __getitem__(self, i: int | slice) -> Turn | list[Turn]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        task, at = int(self._order[i]), int(self._place[i]) * self._size
        return Turn(self._names[task], tuple(self._units[task][at : at + self._size]))


class Epoch:
    """The plan of one epoch: every task's data once, the tasks' turns mixed. A pure function of (seed, epoch).

    In memory are 8 bytes for the length of each example and 8 for its place in the order (36 while it is worked out),
    and some a batch; of a stream only where every 64th example begins.
    """

    def __init__(self, data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int, epoch: int) -> None:
        self.data = data
        self._streams: dict[str, tuple[Stream, sampler.Lanes]] = {}
        self._edges = {
            name: edges(part.lengths("train"), settings, seed=seed)
            for name, part in data.items()
            if settings.shapes and part.task.window is None
        }
        units = {name: self._units(name, settings, seed, epoch) for name in data}
        counts = [-(-len(own) // settings.accumulate) for own in units.values()]
        order = sampler.interleave(counts, seed=seed, epoch=epoch)
        self.turns = Turns(units, order, settings.accumulate)

    def _units(self, name: str, settings: TrainSettings, seed: int, epoch: int) -> Sequence[Any]:
        """The task's batches: arrays of example numbers, or window numbers of its stream."""
        task = self.data[name]
        if task.task.window is None:
            lengths = task.lengths("train")
            return cut(lengths, settings, seed=seed, epoch=epoch)
        stream = Stream(task.splits["train"].x)
        lanes = sampler.lanes(stream.total, batch=settings.batch, window=task.task.window, seed=seed, epoch=epoch)
        self._streams[name] = stream, lanes
        return range(len(lanes.windows))

    def __len__(self) -> int:
        return len(self.turns)

    def batches(self, turn: Turn) -> list[Batch]:
        """The batches of a turn, on the CPU."""
        if turn.task in self._streams:
            stream, lanes = self._streams[turn.task]
            made = [stream.window(lanes, number) for number in turn.batches]
        else:
            made = [self._batch(turn.task, index) for index in turn.batches]
        return [fault_injection.at("batch.fetch", batch) for batch in made]

    def _batch(self, name: str, index: Index) -> Batch:
        """The examples, padded to the next edge where there are edges."""
        task = self.data[name]
        if name not in self._edges:
            return task.batch("train", index)
        longest = task.splits["train"].x.lengths[index].max() + (task.target.derived and task.task.window is None)
        return task.batch("train", index, int(self._edges[name][np.searchsorted(self._edges[name], longest)]))

    def feed(self, start: int, device: torch.device) -> Iterator[tuple[str, list[Batch]]]:
        """The turns from `start` on, their batches on `device`; for a GPU they are made ahead, in pinned memory."""
        turns = (self.turns[i] for i in range(start, len(self.turns)))
        if device.type == "cpu":
            for turn in turns:
                yield turn.task, self.batches(turn)
            return
        for task, batches in _ahead((turn.task, [b.pin() for b in self.batches(turn)]) for turn in turns):
            yield task, [batch.to(device) for batch in batches]


def _ahead(items: Iterator[Any], depth: int = 4) -> Iterator[Any]:
    """The same items, made by a thread up to `depth` ahead; its errors are raised here; it ends with its consumer."""
    line: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not closed.is_set():
            try:
                line.put((kind, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=work, name="seqkit-batches", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = line.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        closed.set()
        thread.join()


def evaluation_batches(data: TaskData, split: str, batch: int | None = None) -> Iterator[tuple[Index, list[Batch]]]:
    """Every example of a split once, longest last: (numbers of the examples, their batch or consecutive windows).

    The windows of a long next-step sequence carry the state; examples that have ended leave the batch, so `windows[k]`
    holds the first `windows[k].size` rows of `windows[k - 1]`.
    """
    lengths = data.lengths(split)
    budget = {"batch": batch} if batch else {"tokens": EVALUATION_TOKENS}
    for index in sampler.in_order(lengths, **budget):
        index = index[np.argsort(-lengths[index], kind="stable")]
        whole = data.batch(split, index)
        if data.target.derived and whole.x.shape[1] > EVALUATION_WINDOW:
            yield index, list(_windows(whole))
        else:
            yield index, [whole]


def _windows(batch: Batch) -> Iterator[Batch]:
    """Consecutive windows of a batch whose rows are sorted from long to short."""
    assert batch.y is not None
    for a in range(0, batch.x.shape[1], EVALUATION_WINDOW):
        alive = int((batch.lengths > a).sum())
        lengths = (batch.lengths[:alive] - a).clamp(max=EVALUATION_WINDOW)
        cut = slice(a, a + int(lengths.max()))
        yield Batch(
            batch.x[:alive, cut], lengths, batch.y[:alive, cut], lengths, carry=a > 0, ids=list(batch.ids)[:alive]
        )
