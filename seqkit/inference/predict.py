"""Predictions for new inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch

from seqkit.data.store import memory_split
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.runtime import out_of_memory
from seqkit.types import Example, Field, Prediction, Task

CHUNK = 1024
"""Lines that are sorted by length and predicted together."""


def predict(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    lines: Iterable[tuple[str, str]],
    *,
    batch: int = 64,
) -> Iterator[tuple[str, str, Prediction]]:
    """(id, line) pairs to (id, line, prediction), in their order, a chunk at a time.

    Inputs longer than the task's limit are cut as in training, or windowed and stitched.

    Args:
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        batch: inputs a batch.

    Raises:
        DataError: lines that the task cannot read, all of a chunk at once.
    """
    task, input_field, target_field = task_and_fields
    rest = iter(lines)
    while chunk := list(islice(rest, CHUNK)):
        examples = _read(task, input_field, chunk)
        split = memory_split(examples, input_field, task.limit)
        data = TaskData(name, task, input_field, target_field, {"predict": split})
        by_row = _predict_split(model, data, batch)
        origin = np.asarray(split.origin)
        for number, (line_id, line) in enumerate(chunk):
            windows = [by_row[row] for row in np.flatnonzero(origin == number)]
            prediction = windows[0] if len(windows) == 1 else model.head(name).stitch(windows)
            if task.finish is not None:
                prediction = task.finish(examples[number].input, prediction)
            yield line_id, line, prediction


def _read(task: Task, input_field: Field, lines: Iterable[tuple[str, str]]) -> list[Example]:
    """The inputs on these lines.

    Raises:
        DataError: some cannot be read or encoded.
    """
    parse = task.parse or input_field.parse
    examples, problems = [], []
    for line_id, line in lines:
        try:
            examples.append(Example(parse(line), None, line_id))
            input_field.encode(examples[-1].input)
        except ValueError as error:
            problems.append(Problem(line_id, str(error)))
    if problems:
        raise DataError(problems)
    return examples


@torch.inference_mode()
def _predict_split(model: Model, data: TaskData, size: int) -> list[Prediction]:
    """A prediction for each stored row, worked on in batches of `size` rows of like length."""
    model.eval()
    order = np.argsort(data.splits["predict"].x.lengths, kind="stable")
    by_row: dict[int, Prediction] = {}
    budgets: dict[str, int] = {}
    for start in range(0, len(order), size):
        index = order[start : start + size]
        compute = partial(_predict_in_parts, model, data, data.batch("predict", index))
        predictions = out_of_memory.run_in_parts(compute, data.name, budgets, tell=lambda message: None)
        by_row.update(zip(index.tolist(), predictions, strict=True))
    return [by_row[row] for row in range(len(order))]


def _predict_in_parts(model: Model, data: TaskData, batch: Batch, budget: int | None) -> list[Prediction]:
    """A prediction for each row of a batch.

    Raises:
        OutOfMemory: a part did not fit.
    """
    predictions: list[Prediction] = []
    for rows in out_of_memory.row_ranges(batch, budget):
        sub_batch, _ = out_of_memory.take_rows(batch, None, rows)
        with out_of_memory.catch_oom(sub_batch):
            sub_batch = sub_batch.to(model.device)
            predictions += model.predict(data.name, sub_batch, model.encode(data.name, sub_batch))
    return predictions
