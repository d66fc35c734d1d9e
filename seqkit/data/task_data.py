"""One task's data: its stored splits and fitted fields, from which batches are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqkit.data.padding import next_step, pad_rows, to_tensor
from seqkit.data.store import Column, SelectedIds, Split
from seqkit.data.windows import UNLABELLED, cut_windows, next_rows, read_ahead, scale_rows
from seqkit.errors import DataError, Problem
from seqkit.fields import NextValues, Vectors
from seqkit.interfaces import Batch, Targets
from seqkit.types import Example, Field, Index, Task


@dataclass(frozen=True)
class TaskData:
    """One task with its fitted fields and its stored splits.

    Attributes:
        name: the task's name in the recipe.
        task: how its examples are read and scored.
        input: the fitted input field.
        target: the fitted target field.
        splits: by name. Where the next values of a series are predicted, an example is a window of it.
        weight: what its loss is multiplied by in a joint recipe.
        content: what the data were: the files with their hashes, and the key of the store. JSON.
        inputs_of: the task whose inputs are its inputs too, so that its targets are in the batches of that one; None:
            it has batches of its own.
        sharing: the tasks that share its inputs. Their targets are in its batches.

    Raises:
        TypeError: the task has a window, but its target is no next-step target.
    """

    name: str
    task: Task
    input: Field
    target: Field
    splits: Mapping[str, Split]
    weight: float = 1.0
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs_of: str | None = None
    sharing: tuple[TaskData, ...] = ()

    def __post_init__(self) -> None:
        if self.task.window is not None and not self.reads_symbols:
            raise TypeError(f"task {self.name}: a window is for next-symbol targets, not {type(self.target).__name__}")
        if isinstance(self.input, Vectors) and self.input.reads_ahead and not isinstance(self.target, NextValues):
            kind = type(self.target).__name__
            raise TypeError(f"task {self.name}: covariates and lags are for targets of next values, not {kind}")
        if isinstance(self.target, NextValues):
            splits = {name: cut_windows(split, name, self.target) for name, split in self.splits.items()}
            object.__setattr__(self, "splits", splits)

    @property
    def reads_symbols(self) -> bool:
        """Whether the target is the next symbol of the input."""
        return self.target.derived and not isinstance(self.target, NextValues)

    @property
    def _adds_end(self) -> bool:
        """Whether a sequence has one more step in a batch than in the store: a complete next-step one has, its end."""
        return self.reads_symbols and self.task.window is None

    def lengths(self, split: str, index: Index | None = None) -> Index:
        """(n,) steps that each stored example has in a batch; with `index` (B,), only of those examples."""
        lengths = self.splits[split].x.lengths
        if index is not None:
            lengths = lengths[index]
        if isinstance(self.target, NextValues) and self.target.source is not None and self.target.source.reads_ahead:
            return lengths + self.target.horizon
        return lengths + 1 if self._adds_end else lengths

    def batch(self, split: str, index: Index, steps: int = 0) -> Batch:
        """The examples at `index`, padded on the right: to the longest of them, or to `steps` if that is more."""
        stored = self.splits[split]
        ids = SelectedIds(stored.ids, index)
        if self.reads_symbols:
            x, lengths = pad_rows(stored.x, index, steps - self._adds_end)
            return next_step(x, lengths, ids, index, complete=self._adds_end)
        y_lengths: torch.Tensor | None = None
        x, lengths, y, extra = self._inputs(split, index, steps)
        if stored.y is not None:
            y, y_lengths = _pad_targets(stored.y, index, (lengths, x.shape[1]))
        columns = {one.name: one.splits[split].y for one in self.sharing if split in one.splits}
        return Batch(
            torch.from_numpy(x),
            torch.from_numpy(lengths),
            y,
            y_lengths,
            ids=ids,
            extra=extra,
            numbers=torch.from_numpy(index),
            also={
                name: Targets(*_pad_targets(column, index, (lengths, x.shape[1])))
                for name, column in columns.items()
                if column is not None
            },
        )

    def _inputs(
        self, split: str, index: Index, steps: int
    ) -> tuple[NDArray[Any], Index, torch.Tensor | None, dict[str, torch.Tensor]]:
        """Padded inputs and their lengths, next values if they are the target, and the `extra` of a batch."""
        column, source, y = self.splits[split].x, self.input, None
        if isinstance(self.target, NextValues) and split != UNLABELLED:
            y = next_rows(column, index, self.target)
        if isinstance(source, Vectors) and isinstance(self.target, NextValues) and source.reads_ahead:
            return read_ahead(source, self.target, column, index, y, steps=steps)
        x, lengths = pad_rows(column, index, steps)
        extra: dict[str, torch.Tensor] = {}
        if isinstance(source, Vectors) and source.scaling is not None:
            horizon = self.target.horizon if isinstance(self.target, NextValues) else 0
            x, y, extra = scale_rows(source.scaling, x, lengths, y, horizon=horizon)
        return source.mark_missing(x) if isinstance(source, Vectors) else x, lengths, y, extra

    def targets(self, split: str) -> list[Any]:
        """The true target of each stored example, decoded. Raises TypeError for a target that is not stored."""
        if isinstance(self.target, NextValues):
            x = self.splits[split].x
            rows = (next_rows(x, np.array([i]), self.target) for i in range(len(x)))
            return [self.target.decode(future.numpy()[0]) for future in rows]
        column = self.splits[split].y
        if column is None:
            raise TypeError(f"task {self.name}: a {type(self.target).__name__} target is not stored")
        return [self.target.decode(column[i]) for i in range(len(column))]

    def read_again(self, split: str, ids: Sequence[str]) -> list[Example]:
        """The examples with these ids, as they are read. The ids must be in the order of the data.

        Raises:
            DataError: an example is no longer there, because the data has changed.
        """
        examples: list[Example] = []
        for example in self.task.read(split):
            if len(examples) < len(ids) and example.id == ids[len(examples)]:
                examples.append(example)
        if len(examples) < len(ids):
            message = f"{ids[len(examples)]} is no longer there"
            raise DataError(Problem(split, message, "a task's `read` must give the same examples each time"))
        return examples


def _pad_targets(column: Column, index: Index, inputs: tuple[Index, int]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The targets of these examples, (B, ...) or padded (B, U, ...), and their lengths (B,) if they have any.

    Those with one row a step become as wide as the inputs, others are padded to the longest of them only.

    Args:
        column: where they are.
        index: (B,) the examples.
        inputs: lengths (B,) and padded length T of the inputs.
    """
    if column.offsets is None:
        return to_tensor(column.data[index]), None
    padded, lengths = pad_rows(column, index, like=inputs)
    return torch.from_numpy(padded), torch.from_numpy(lengths)
