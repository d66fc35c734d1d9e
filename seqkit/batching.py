"""From stored splits to batches: padding on the right, next-step targets, lanes of a stream, the plan of an epoch.

The order of everything is a pure function of (seed, epoch), so any position of a run is reached at once.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit import faults, sampler
from seqkit.errors import DataError, Problem
from seqkit.modules import Batch
from seqkit.settings import TrainSettings
from seqkit.store import Column, Picked, Split
from seqkit.types import Example, Field, Task
from seqkit.vocab import END, START

Index = NDArray[np.int64]

EVALUATION_WINDOW = 1024
"""Steps of a long next-step sequence that are scored at once, the state carried on: bounds memory, changes nothing."""
EVALUATION_TOKENS = 32_768
"""Padded steps of an evaluation batch unless the caller says otherwise."""


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
                values, counts = gather(part.y, index)
                if np.array_equal(counts, lengths):  # one target a step
                    values = _padded(values, x.shape[1])
                y, y_lengths = to_tensor(values), torch.from_numpy(counts)
        return Batch(to_tensor(x), torch.from_numpy(lengths), y, y_lengths, ids=ids)

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


def gather(column: Column, index: Index, steps: int = 0) -> tuple[NDArray[Any], Index]:
    """Rows of a ragged column as (B, T, ...) padded with zeros on the right, and their lengths (B,).

    T is the longest of them, or `steps` where that is more.
    """
    if column.offsets is None:  # one row an example: sequences of one step
        return np.asarray(column.data[index])[:, None], np.ones(len(index), dtype=np.int64)
    starts = column.offsets[index].astype(np.int64)
    lengths = column.offsets[index + 1].astype(np.int64) - starts
    times = np.arange(lengths.max())
    values = np.asarray(column.data[starts[:, None] + np.minimum(times, lengths[:, None] - 1)])
    values[times >= lengths[:, None]] = 0
    return _padded(values, steps), lengths


def _padded(values: NDArray[Any], steps: int) -> NDArray[Any]:
    """(B, T, ...) with zeros up to `steps`, where that is more than T."""
    more = steps - values.shape[1]
    return values if more <= 0 else np.pad(values, [(0, 0), (0, more)] + [(0, 0)] * (values.ndim - 2))


def to_tensor(array: NDArray[Any]) -> Tensor:
    """Integers as int64, all else as float32: what layers and losses take."""
    if array.dtype.kind in "iub":
        return torch.from_numpy(array.astype(np.int64))
    return torch.from_numpy(array.astype(np.float32))


def _next_step(x: NDArray[Any], lengths: Index, ids: Sequence[str], *, complete: bool) -> Batch:
    """Symbols (B, T) to inputs and next-symbol targets, -1 where there is none.

    A complete sequence is predicted from its start symbol to its end symbol; a piece of a longer text has no end to
    predict: every one of its symbols is scored, the first from the start symbol.
    """
    rows, steps = x.shape
    inputs = np.zeros((rows, steps + 1), dtype=np.int64)
    targets = np.full((rows, steps + 1), -1, dtype=np.int64)
    inputs[:, 0] = START
    inputs[:, 1:] = x
    real = np.arange(steps) < lengths[:, None]
    targets[:, :steps][real] = x[real]
    if complete:
        targets[np.arange(rows), lengths] = END
        lengths = lengths + 1
    else:
        inputs, targets = inputs[:, :steps], targets[:, :steps]
    inputs[np.arange(inputs.shape[1]) >= lengths[:, None]] = 0
    return Batch(
        torch.from_numpy(inputs),
        torch.from_numpy(lengths),
        torch.from_numpy(targets),
        torch.from_numpy(lengths),
        ids=ids,
    )


class Stream:
    """All examples of a split joined into one endless text, each after a start symbol. Nothing is copied."""

    def __init__(self, column: Column) -> None:
        assert column.offsets is not None, "a stream is made of sequences"
        self.column = column
        self.starts = column.offsets[:-1].astype(np.int64) + np.arange(len(column))  # where each start symbol stands
        self.total = int(column.offsets[-1]) + len(column)

    def take(self, start: int, stop: int) -> Index:
        """Symbols start..stop of the stream, which begins again at its end."""
        if stop > self.total:
            return np.concatenate([self.take(start, self.total), self.take(0, stop - self.total)])
        where = np.arange(start, stop)
        document = np.searchsorted(self.starts, where, side="right") - 1
        symbols = np.asarray(self.column.data[np.maximum(where - document - 1, 0)], dtype=np.int64)
        symbols[where == self.starts[document]] = START
        return symbols

    def window(self, lanes: sampler.Lanes, number: int) -> Batch:
        """(B, W) inputs and targets of one window of every lane; the first window of an epoch carries nothing."""
        a, b = lanes.windows[number]
        rows = np.stack([self._row(int(start) + a, b - a + 1) for start in lanes.starts])
        lengths = torch.full((len(rows),), b - a, dtype=torch.int64)
        x, y = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
        ids = [f"lane {lane}, symbols {a + 1} to {b}" for lane in range(len(rows))]
        return Batch(x, lengths, y, lengths, carry=number > 0, ids=ids)

    def _row(self, start: int, steps: int) -> Index:
        start %= self.total
        return self.take(start, start + steps)


def cut(lengths: Index, settings: TrainSettings, *, seed: int, epoch: int) -> list[Index]:
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


class Epoch:
    """The plan of one epoch: every task's data once, the tasks' turns mixed. A pure function of (seed, epoch)."""

    def __init__(self, data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int, epoch: int) -> None:
        self.data = data
        self._streams: dict[str, tuple[Stream, sampler.Lanes]] = {}
        self._edges = {
            name: edges(part.lengths("train"), settings, seed=seed)
            for name, part in data.items()
            if settings.shapes and part.task.window is None
        }
        chunks: dict[str, list[tuple[Any, ...]]] = {}
        for name in data:
            units = self._units(name, settings, seed, epoch)
            size = settings.accumulate
            chunks[name] = [tuple(units[i : i + size]) for i in range(0, len(units), size)]
        order = sampler.interleave([len(c) for c in chunks.values()], seed=seed, epoch=epoch)
        names, queues = list(chunks), [iter(c) for c in chunks.values()]
        self.turns = [Turn(names[k], next(queues[k])) for k in order]

    def _units(self, name: str, settings: TrainSettings, seed: int, epoch: int) -> list[Any]:
        """The task's batches: arrays of example numbers, or window numbers of its stream."""
        task = self.data[name]
        if task.task.window is None:
            lengths = task.lengths("train")
            return cut(lengths, settings, seed=seed, epoch=epoch)
        stream = Stream(task.splits["train"].x)
        lanes = sampler.lanes(stream.total, batch=settings.batch, window=task.task.window, seed=seed, epoch=epoch)
        self._streams[name] = stream, lanes
        return list(range(len(lanes.windows)))

    def __len__(self) -> int:
        return len(self.turns)

    def batches(self, turn: Turn) -> list[Batch]:
        """The batches of a turn, on the CPU."""
        if turn.task in self._streams:
            stream, lanes = self._streams[turn.task]
            made = [stream.window(lanes, number) for number in turn.batches]
        else:
            made = [self._batch(turn.task, index) for index in turn.batches]
        return [faults.at("batch.fetch", batch) for batch in made]

    def _batch(self, name: str, index: Index) -> Batch:
        """The examples, padded to the next edge where there are edges."""
        task = self.data[name]
        if name not in self._edges:
            return task.batch("train", index)
        longest = task.lengths("train")[index].max()
        return task.batch("train", index, int(self._edges[name][np.searchsorted(self._edges[name], longest)]))

    def feed(self, start: int, device: torch.device) -> Iterator[tuple[str, list[Batch]]]:
        """The turns from `start` on, their batches on `device`; for a GPU they are made ahead, in pinned memory."""
        turns = self.turns[start:]
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
