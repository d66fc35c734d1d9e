"""The plan of an epoch: which batches, in which order, as a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from seqkit import fault_injection
from seqkit.data import sampler
from seqkit.data.prefetch import prefetch
from seqkit.data.stream import Stream
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Asked, Batch, Mixed
from seqkit.lazy_sequence import LazySequence
from seqkit.settings import TrainSettings
from seqkit.types import Index


def make_batches(
    lengths: Index, settings: TrainSettings, *, seed: int, epoch: int, file_ends: Index | None = None
) -> Sequence[Index]:
    """The batches of an epoch under these settings: arrays of example numbers.

    `file_ends` are the examples after the last of each file, if they are stored file by file.
    """
    size = settings.batch if settings.tokens is None else None
    return sampler.batch_shuffled(
        lengths,
        seed=seed,
        epoch=epoch,
        batch=size,
        tokens=settings.tokens,
        pool=settings.pool,
        file_ends=file_ends,
        mix=settings.mix,
    )


def padding_edges(lengths: Index, settings: TrainSettings, *, seed: int, file_ends: Index | None = None) -> Index:
    """The lengths that batches are padded to in training. They are chosen for epoch 0 and hold for every epoch."""
    assert settings.shapes is not None
    batches = make_batches(lengths, settings, seed=seed, epoch=0, file_ends=file_ends)
    longest = [int(lengths[index].max()) for index in batches]
    # The longest example of all is an edge, whichever batch it comes in; weight 0: it is not counted twice.
    weights = [*map(len, batches), 0]
    return sampler.choose_edges([*longest, int(lengths.max())], settings.shapes, weights=weights)


def steps_per_epoch(data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int) -> int:
    """Optimiser steps of epoch 0, which is the length of its plan, without making the plan."""
    steps = 0
    for task_data in with_own_inputs(data).values():
        window = task_data.task.window
        if window is None:
            ends = task_data.splits["train"].shard_ends
            batches = len(make_batches(task_data.lengths("train"), settings, seed=seed, epoch=0, file_ends=ends))
        else:
            total = Stream(task_data.splits["train"].x).total
            batches = len(sampler.cut_lanes(total, batch=settings.batch, window=window, seed=seed, epoch=0).windows)
        steps += _turn_count(batches, settings)
    return steps


def with_own_inputs(data: Mapping[str, TaskData]) -> dict[str, TaskData]:
    """The tasks that have batches of their own. The targets of the others are in the batches of these."""
    return {name: task_data for name, task_data in data.items() if task_data.inputs_of is None}


def _turn_count(batches: int, settings: TrainSettings) -> int:
    """How many turns so many batches of a task make."""
    return -(-batches // settings.accumulate)


@dataclass(frozen=True)
class Turn:
    """What one optimiser step is made of: some batches of one task.

    `batches` are arrays of example numbers, or window numbers of the task's stream.
    """

    task: str
    batches: tuple[Any, ...]


class Turns(LazySequence[Turn]):
    """The turns of an epoch, each made on access.

    Args:
        batches: the batches of each task, in order.
        order: (n,) the number of the task that takes each turn.
        accumulate: batches of a turn; the last turn of a task may have fewer.
    """

    def __init__(self, batches: Mapping[str, Sequence[Any]], order: Index, accumulate: int) -> None:
        self._names, self._batches = list(batches), list(batches.values())
        self._order, self._accumulate = order, accumulate
        self._turn_of_task = np.empty_like(order)
        """(n,) how many turns the same task had before."""
        for task in range(len(self._names)):
            is_task = order == task
            self._turn_of_task[is_task] = np.arange(np.count_nonzero(is_task))

    def __len__(self) -> int:
        return len(self._order)

    def item(self, i: int) -> Turn:
        task, start = int(self._order[i]), int(self._turn_of_task[i]) * self._accumulate
        return Turn(self._names[task], tuple(self._batches[task][start : start + self._accumulate]))


class EpochPlan:
    """The plan of one epoch: every task's data once, the turns of the tasks mixed. A pure function of (seed, epoch).

    It takes 16 bytes of memory an example (36 while it is computed) and a few a batch; for a stream, only the starts of
    some examples.

    Attributes:
        data: the tasks that have inputs of their own. The targets of others are in the batches of these.
        turns: what each optimiser step of the epoch is made of.
    """

    def __init__(self, data: Mapping[str, TaskData], settings: TrainSettings, *, seed: int, epoch: int) -> None:
        self.data = data = with_own_inputs(data)
        self._streams: dict[str, tuple[Stream, sampler.Lanes]] = {}
        self._edges = {
            name: padding_edges(
                task_data.lengths("train"), settings, seed=seed, file_ends=task_data.splits["train"].shard_ends
            )
            for name, task_data in data.items()
            if settings.shapes and task_data.task.window is None
        }
        self._partners = {
            name: sampler.partners(len(task_data.splits["train"].x), settings.mixup, seed=seed, epoch=epoch)
            for name, task_data in data.items()
            if settings.mixup
        }
        batches = {name: self._plan_task(name, settings, seed, epoch) for name in data}
        counts = [_turn_count(len(task_batches), settings) for task_batches in batches.values()]
        order = sampler.interleave(counts, seed=seed, epoch=epoch)
        self.turns = Turns(batches, order, settings.accumulate)

    def __len__(self) -> int:
        return len(self.turns)

    def batches_from(self, start: int, device: torch.device) -> Iterator[tuple[str, list[Batch]]]:
        """(task, batches on `device`) of each turn from `start` on. For a GPU they are made ahead, in pinned memory."""
        turns = (self.turns[i] for i in range(start, len(self.turns)))
        if device.type == "cpu":
            for turn in turns:
                yield turn.task, self.batches(turn)
            return
        asked = {name: Asked() for name in self.data}
        pinned = ((turn.task, [batch.pin(asked[turn.task]) for batch in self.batches(turn)]) for turn in turns)
        for task, batches in prefetch(pinned):
            yield task, [batch.to(device) for batch in batches]
            asked[task].note(batches)

    def batches(self, turn: Turn) -> list[Batch]:
        """The batches of a turn, on the CPU."""
        if turn.task in self._streams:
            stream, lanes = self._streams[turn.task]
            batches = [stream.window(lanes, number) for number in turn.batches]
        else:
            batches = [self._with_partners(turn.task, index) for index in turn.batches]
        return [fault_injection.at("batch.fetch", batch) for batch in batches]

    def look_back(self, turn: Turn, steps: int, rows: int) -> tuple[Batch, int]:
        """Some lanes of a turn's last window with the text before it, `steps` in all; and the steps of that window.

        The turn is one of a task that is read in windows.
        """
        stream, lanes = self._streams[turn.task]
        start, stop = lanes.windows[turn.batches[-1]]
        return stream.look_back(lanes, turn.batches[-1], steps, rows), stop - start

    def _plan_task(self, name: str, settings: TrainSettings, seed: int, epoch: int) -> Sequence[Any]:
        """The task's batches in order: arrays of example numbers, or window numbers of its stream."""
        task_data = self.data[name]
        window = task_data.task.window
        if window is None:
            ends = task_data.splits["train"].shard_ends
            return make_batches(task_data.lengths("train"), settings, seed=seed, epoch=epoch, file_ends=ends)
        stream = Stream(task_data.splits["train"].x)
        vary = settings.vary_windows
        lanes = sampler.cut_lanes(stream.total, batch=settings.batch, window=window, seed=seed, epoch=epoch, vary=vary)
        self._streams[name] = stream, lanes
        return range(len(lanes.windows))

    def _with_partners(self, name: str, index: Index) -> Batch:
        """These examples as a batch, with those that they are mixed with if they are."""
        batch = self._pad(name, index)
        if name not in self._partners:
            return batch
        others, shares = self._partners[name]
        return replace(batch, mixed=Mixed(self._pad(name, others[index]), torch.from_numpy(shares[index])))

    def _pad(self, name: str, index: Index) -> Batch:
        """These examples as a batch, padded to the next edge if there are edges."""
        task_data = self.data[name]
        if name not in self._edges:
            return task_data.batch("train", index)
        edges = self._edges[name]
        longest = int(task_data.lengths("train", index).max())
        return task_data.batch("train", index, int(edges[np.searchsorted(edges, longest)]))
