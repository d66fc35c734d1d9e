"""The plan of an epoch: which batches, in which order, as a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from seqkit import fault_injection
from seqkit.data import sampler
from seqkit.data.prefetch import prefetch
from seqkit.data.stream import Stream
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch
from seqkit.settings import TrainSettings
from seqkit.types import Index


def make_batches(lengths: Index, settings: TrainSettings, *, seed: int, epoch: int) -> Sequence[Index]:
    """The batches of an epoch as the settings have them: arrays of example numbers."""
    size = settings.batch if settings.tokens is None else None
    return sampler.batches(lengths, seed=seed, epoch=epoch, batch=size, tokens=settings.tokens, pool=settings.pool)


def padding_edges(lengths: Index, settings: TrainSettings, *, seed: int) -> Index:
    """The lengths that batches are padded to in training, by those of the first epoch: the same in every epoch."""
    assert settings.shapes is not None
    batches = make_batches(lengths, settings, seed=seed, epoch=0)
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


def steps_per_epoch(data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int) -> int:
    """Optimiser steps of the first epoch: the length of its plan, found without making one."""
    counts = []
    for task_data in data.values():
        window = task_data.task.window
        if window is None:
            batches = len(make_batches(task_data.lengths("train"), settings, seed=seed, epoch=0))
        else:
            total = Stream(task_data.splits["train"].x).total
            batches = len(sampler.lanes(total, batch=settings.batch, window=window, seed=seed, epoch=0).windows)
        counts.append(-(-batches // settings.accumulate))
    return sum(counts)


class EpochPlan:
    """The plan of one epoch: every task's data once, the tasks' turns mixed. A pure function of (seed, epoch).

    In memory are 8 bytes for the length of each example and 8 for its place in the order (36 while it is worked out),
    and some a batch; of a stream only where every 64th example begins.
    """

    def __init__(self, data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int, epoch: int) -> None:
        self.data = data
        self._streams: dict[str, tuple[Stream, sampler.Lanes]] = {}
        self._edges = {
            name: padding_edges(part.lengths("train"), settings, seed=seed)
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
            return make_batches(lengths, settings, seed=seed, epoch=epoch)
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

    def batches_from(self, start: int, device: torch.device) -> Iterator[tuple[str, list[Batch]]]:
        """The turns from `start` on, their batches on `device`; for a GPU they are made ahead, in pinned memory."""
        turns = (self.turns[i] for i in range(start, len(self.turns)))
        if device.type == "cpu":
            for turn in turns:
                yield turn.task, self.batches(turn)
            return
        for task, batches in prefetch((turn.task, [b.pin() for b in self.batches(turn)]) for turn in turns):
            yield task, [batch.to(device) for batch in batches]
