"""Tasks that share examples (`inputs_of`): their stored inputs are compared, and from then on there is one copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from seqkit.data.store import Column, Ids, Split
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem
from seqkit.types import Field

_BLOCK = 1 << 20
"""Rows that are compared at once."""


def share_inputs(data: Mapping[str, TaskData]) -> dict[str, TaskData]:
    """The tasks, each that names another (`inputs_of`) with the input field and the stored inputs of that one.

    Raises:
        DataError: two tasks do not have the same examples: another number of them, another id or another input.
    """
    shared = {
        name: _with_inputs_of(task_data, data[task_data.inputs_of])
        for name, task_data in data.items()
        if task_data.inputs_of is not None
    }

    def with_sharing(task_data: TaskData) -> TaskData:
        return replace(task_data, sharing=tuple(one for one in shared.values() if one.inputs_of == task_data.name))

    return {name: shared.get(name) or with_sharing(task_data) for name, task_data in data.items()}


def _with_inputs_of(task: TaskData, other: TaskData) -> TaskData:
    """The task with the inputs of another, after a comparison of all its splits."""
    splits = {}
    for name, split in task.splits.items():
        first = other.splits[name]
        if problem := _difference(split, first, task, other):
            raise DataError(problem)
        splits[name] = replace(split, x=first.x, ids=first.ids)
    return replace(task, input=other.input, splits=splits)


def _difference(split: Split, first: Split, task: TaskData, other: TaskData) -> Problem | None:
    """The first example of a split that is not the same in both tasks; None: all are."""
    where, hint = f"tasks.{task.name}.inputs_of", "tasks that share examples read the same ones, in the same order"
    pairs = () if _have_equal_ids(split, first) else zip(split.ids, first.ids, strict=False)
    for row, (id, expected) in enumerate(pairs):
        if id != expected:
            message = f"example {row + 1:,} of {split.name} is {id}, but that of task {other.name} is {expected}"
            return Problem(where, message, hint)
    if len(split) != len(first):
        message = f"{split.name} has {len(split):,} examples, but that of task {other.name} has {len(first):,}"
        return Problem(where, message, hint)
    unequal = _first_unequal(split.x, first.x)
    if unequal is None:
        return None
    # Where one input differs, symbols may have other numbers everywhere: what they stand for says which one it is.
    readable = (
        n for n in range(unequal, len(split)) if _reads_otherwise(task.input, split.x[n], other.input, first.x[n])
    )
    message = f"its input for task {task.name} is not that for task {other.name}"
    return Problem(split.ids[next(readable, unequal)], message, hint)


def _have_equal_ids(split: Split, first: Split) -> bool:
    """Whether all ids are equal, as far as that can be seen without decoding each of them."""
    if len(split) != len(first) or not (isinstance(split.ids, Ids) and isinstance(first.ids, Ids)):
        return False
    return _first_unequal(split.ids.column, first.ids.column) is None


def _reads_otherwise(field: Field, array: np.ndarray, other: Field, other_array: np.ndarray) -> bool:
    return not np.array_equal(field.decode(array), other.decode(other_array))


def _first_unequal(column: Column, other: Column) -> int | None:
    """The first example whose encoded inputs differ; None: they are all equal."""
    different = np.flatnonzero(column.lengths != other.lengths)
    if len(different):
        return int(different[0])
    if column.data.shape[1:] != other.data.shape[1:]:
        return 0
    for start in range(0, len(column.data), _BLOCK):
        block, expected = (np.asarray(one.data[start : start + _BLOCK]) for one in (column, other))
        unequal = (block != expected) & ~((block != block) & (expected != expected))  # NaN equals NaN here
        if unequal.any():
            row = start + int(np.flatnonzero(unequal.reshape(len(block), -1).any(axis=1))[0])
            return row if column.offsets is None else int(np.searchsorted(column.offsets, row, side="right")) - 1
    return None
