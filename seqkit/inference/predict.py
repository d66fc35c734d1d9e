"""Predictions for new inputs, and text from a language model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from seqkit.data.store import memory_split
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem
from seqkit.model import Model
from seqkit.runtime import out_of_memory
from seqkit.types import Example, Field, Prediction, Task

CHUNK = 1024
"""Lines that are sorted by length and predicted together."""


def predict(
    model: Model, name: str, parts: tuple[Task, Field, Field], lines: Iterable[tuple[str, str]], *, batch: int = 64
) -> Iterator[tuple[str, str, Prediction]]:
    """(id, line) pairs to (id, line, prediction), in their order, a chunk at a time.

    Inputs longer than the task's limit are cut as in training, or windowed and stitched.

    Raises:
        DataError: lines that the task cannot read, all of a chunk at once.
    """
    task, input_field, target_field = parts
    parse = task.parse or input_field.parse
    rest = iter(lines)
    while chunk := list(islice(rest, CHUNK)):
        examples, problems = [], []
        for where, line in chunk:
            try:
                examples.append(Example(parse(line), None, where))
                input_field.encode(examples[-1].input)
            except ValueError as error:
                problems.append(Problem(where, str(error)))
        if problems:
            raise DataError(problems)
        split = memory_split(examples, input_field, task.limit)
        data = TaskData(name, task, input_field, target_field, {"predict": split})
        found = _predict_all(model, data, batch)
        origin = np.asarray(split.origin)
        for number, (where, line) in enumerate(chunk):
            windows = [found[i] for i in np.flatnonzero(origin == number)]
            prediction = windows[0] if len(windows) == 1 else model.head(name).stitch(windows)
            if task.finish is not None:
                prediction = task.finish(examples[number].input, prediction)
            yield where, line, prediction


@torch.inference_mode()
def _predict_all(model: Model, data: TaskData, batch: int) -> list[Prediction]:
    model.eval()
    lengths = data.splits["predict"].x.lengths
    order = np.argsort(lengths, kind="stable")
    found: dict[int, Prediction] = {}
    fits: int | None = None
    waiting = [order[start : start + batch] for start in range(0, len(order), batch)]
    while waiting:
        index = waiting.pop(0)
        made = data.batch("predict", index)
        smaller = out_of_memory.row_ranges(made, fits)
        if len(smaller) > 1:
            waiting[:0] = [index[rows.start : rows.stop] for rows in smaller]
            continue
        try:
            with out_of_memory.catch_oom(made):
                here = made.to(model.device)
                predictions = model.predict(data.name, here, model.encode(data.name, here))
        except out_of_memory.OutOfMemory as caught:
            error = caught.forget()
        else:
            found.update(zip(index.tolist(), predictions, strict=True))
            continue
        fits = out_of_memory.halved_budget(error, data.name)
        waiting.insert(0, index)
    return [found[i] for i in range(len(order))]
