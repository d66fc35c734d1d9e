"""From stored splits to batches: padding on the right, next-step targets, lanes of a stream, the plan of an epoch.

The order of everything is a pure function of (seed, epoch), so any position of a run is reached at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from seqkit.data.padding import gather, next_step, to_tensor
from seqkit.data.store import SelectedIds, Split
from seqkit.errors import DataError, Problem
from seqkit.interfaces import Batch
from seqkit.types import Example, Field, Index, Task


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
        ids = SelectedIds(part.ids, index)
        complete = self.task.window is None
        x, lengths = gather(part.x, index, steps - (self.target.derived and complete))
        if self.target.derived:
            return next_step(x, lengths, ids, complete=complete)
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
