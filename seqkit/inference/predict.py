"""Predictions for new inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from seqkit.data.store import encode_value, encoded_split, select_steps
from seqkit.data.task_data import TaskData
from seqkit.data.windows import check_future
from seqkit.errors import DataError, Problem
from seqkit.fields import NextValues
from seqkit.inference.inputs import Input, InputReader
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.runtime import out_of_memory
from seqkit.types import Field, Limit, Prediction, Task

T = TypeVar("T")

CHUNK = 1024
"""Most inputs that are sorted by length and predicted together."""

CHUNK_BYTES = 64 << 20
"""Most bytes of their encoded values; a chunk ends with the input that exceeds it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was predicted for an input, or why nothing was.

    Attributes:
        input: the input.
        prediction: None if there is an error.
        error: why the input cannot be used; an empty string if it can.
    """

    input: Input
    prediction: Prediction | None
    error: str = ""


def predict(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    lines: Iterable[tuple[str, str]],
    *,
    batch: int = 64,
) -> Iterator[tuple[str, str, Prediction]]:
    """(id, line) pairs to (id, line, prediction), in their order; see `predict_inputs`.

    Raises:
        DataError: lines that the task cannot read; all of them are found, and nothing is predicted after the first.
    """
    problems: list[Problem] = []
    inputs = InputReader(task_and_fields[0], task_and_fields[1]).texts(lines)
    for outcome in predict_inputs(model, name, task_and_fields, inputs, batch=batch):
        if outcome.prediction is None:
            problems.append(Problem(outcome.input.id, outcome.error))
        elif not problems:
            yield outcome.input.id, outcome.input.shown, outcome.prediction
    if problems:
        raise DataError(problems)


def predict_inputs(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    inputs: Iterable[Input],
    *,
    batch: int = 64,
    chunk: int | None = None,
    computing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Iterator[Outcome]:
    """An outcome for each input, in their order. Memory does not grow with their number.

    Inputs longer than the task's limit are cut as in training, or windowed and stitched.

    Args:
        name: of the task.
        task_and_fields: the task, and its fitted input and target fields.
        inputs: what to predict for; those that cannot be encoded have an error for their outcome.
        batch: inputs a batch.
        chunk: most inputs that are read before the first of them is predicted; they are sorted by length together.
            None: `CHUNK`.
        computing: makes a context for each chunk, in which its predictions are computed; none of it is open between.
    """
    for encodings in encode_chunks(task_and_fields, inputs, chunk or CHUNK):
        with computing():
            outcomes = list(_predict_chunk(model, name, task_and_fields, encodings, batch))
        yield from outcomes


Encoding: TypeAlias = tuple[Input, "np.ndarray | str"]
"""An input with its encoded value, or with the reason why it has none."""


def encode_chunks(
    task_and_fields: tuple[Task, Field, Field], inputs: Iterable[Input], most: int
) -> Iterator[list[Encoding]]:
    """The inputs in lists of at most `most`. If reading them fails, what was read before comes first."""
    _, field, target = task_and_fields
    chunk: list[Encoding] = []
    size = 0
    remaining = iter(inputs)
    while True:
        try:
            item = next(remaining, None)
        except Exception:
            if chunk:
                yield chunk
            raise
        if item is None:
            break
        try:
            x = encode_value(field, item.value)
            if isinstance(target, NextValues):
                check_future(x, target)
            size += x.nbytes
            chunk.append((item, x))
        except ValueError as error:
            chunk.append((item, str(error)))
        if len(chunk) == most or size > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _predict_chunk(
    model: Model, name: str, task_and_fields: tuple[Task, Field, Field], chunk: list[Encoding], batch: int
) -> Iterator[Outcome]:
    task = task_and_fields[0]

    def predict_rows(rows: Batch) -> list[Prediction]:
        return model.predict(name, rows, model.encode(name, rows))

    windows_of = iter(compute_windows(model, name, task_and_fields, chunk, batch, predict_rows))
    for item, x in chunk:
        if isinstance(x, str):
            yield Outcome(item, None, x)
            continue
        windows = next(windows_of)
        prediction = windows[0] if len(windows) == 1 else model.head(name).stitch(windows)
        if task.finish is not None:
            prediction = task.finish(item.value, prediction)
        yield Outcome(item, _with_places(prediction, item, len(x), task.limit))


def _with_places(prediction: Prediction, item: Input, steps: int, limit: Limit | None) -> Prediction:
    """The prediction whose spans say which characters of the text they are, if places of the steps are known."""
    if item.places is None or not isinstance(prediction.scores, Mapping) or not prediction.scores.get("spans"):
        return prediction
    places = item.places()
    kept = np.concatenate([np.arange(steps)[selection] for selection in select_steps(steps, limit)])
    spans = []
    for span in prediction.scores["spans"]:
        start, end = places[kept[span["start"]]][0], places[kept[span["end"] - 1]][1]
        place = {"start_char": start, "end_char": end, "text": item.shown[start:end]}
        spans.append({**span, **place})
    return replace(prediction, scores={**prediction.scores, "spans": spans})


@torch.inference_mode()
def compute_windows(
    model: Model,
    name: str,
    task_and_fields: tuple[Task, Field, Field],
    chunk: Sequence[Encoding],
    batch: int,
    compute: Callable[[Batch], list[T]],
) -> list[list[T]]:
    """For each usable input of a chunk what is computed for its windows, of which most inputs have one.

    Args:
        chunk: inputs with their encoded values.
        batch: rows a batch; rows of like length are in one batch.
        compute: gives something for each row of a batch, which is on the model's device.
    """
    task, input_field, target_field = task_and_fields
    usable = [(item.id, x) for item, x in chunk if not isinstance(x, str)]
    by_number: list[list[T]] = [[] for _ in usable]
    if not usable:
        return by_number
    model.eval()
    split = encoded_split(usable, input_field, task.limit)
    data = TaskData(name, task, input_field, target_field, {"predict": split})
    order = np.argsort(split.x.lengths, kind="stable")
    by_row: dict[int, T] = {}
    budgets: dict[str, int] = {}
    for start in range(0, len(order), batch):
        index = order[start : start + batch]
        in_parts = partial(_compute_in_parts, model, compute, data.batch("predict", index))
        results = out_of_memory.run_in_parts(in_parts, name, budgets, tell=lambda message: None)
        by_row.update(zip(index.tolist(), results, strict=True))
    for row, number in enumerate(split.origin):
        by_number[int(number)].append(by_row[row])
    return by_number


def _compute_in_parts(model: Model, compute: Callable[[Batch], list[T]], batch: Batch, budget: int | None) -> list[T]:
    """What is computed for each row of a batch.

    Raises:
        OutOfMemory: a part did not fit.
    """
    results: list[T] = []
    for rows in out_of_memory.row_ranges(batch, budget):
        sub_batch, _ = out_of_memory.take_rows(batch, None, rows)
        with out_of_memory.catch_oom(sub_batch):
            results += compute(sub_batch.to(model.device))
    return results
