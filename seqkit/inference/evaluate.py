"""Scores of a model on a split. They do not depend on batch size, order or padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from seqkit import fault_injection
from seqkit.data.evaluation import evaluation_batches
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch, State
from seqkit.metrics import LOWER_IS_BETTER
from seqkit.model import Model
from seqkit.runs.interrupts import Interrupts
from seqkit.runtime import out_of_memory
from seqkit.types import Prediction


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found. Predictions, targets and ids are in the order of the data."""

    scores: dict[str, float]
    predictions: Sequence[Prediction]
    targets: Sequence[Any]
    ids: Sequence[str]


@torch.inference_mode()
def evaluate(
    model: Model,
    data: TaskData,
    split: str,
    *,
    batch: int | None = None,
    stop: Interrupts | None = None,
    tell: Callable[[str], object] | None = None,
) -> EvaluationResult:
    """Loss and metric of one task on one split.

    What does not fit into memory is scored in smaller parts, here alone: training goes on with its own batches.

    Args:
        batch: examples a batch; None: as many as fit a token budget.
        stop: what listens to signals; it is asked between batches.
        tell: gets a sentence if memory was short.

    Raises:
        Interrupted: asked to stop.
        RunError: a single example does not fit into memory.
    """
    was_training = model.training
    model.eval()
    part, head = data.splits[split], model.head(data.name)
    found: list[Prediction | None] = [None] * len(part.x)
    total, count, fits = 0.0, 0, None
    for index, windows in evaluation_batches(data, split, batch):
        waiting = [range(len(index))]
        while waiting:
            if stop is not None:
                stop.check("stopped during an evaluation")
            rows = waiting.pop(0)
            first = windows[0] if len(rows) == len(index) else windows[0].take(rows)
            smaller = out_of_memory.row_ranges(first, fits)
            if len(smaller) > 1:
                waiting[:0] = [rows[each.start : each.stop] for each in smaller]
                continue
            try:
                loss, terms, predictions = _scored(model, data, list(_rows(windows, rows)))
            except out_of_memory.OutOfMemory as caught:
                error = caught.forget()
            else:
                total, count = total + loss, count + terms
                for row, prediction in zip(rows, predictions, strict=False):
                    found[index[row]] = prediction
                continue
            fits = out_of_memory.halved_budget(error, data.name)
            waiting.insert(0, rows)
            if tell is not None:
                tell(f"evaluation: {out_of_memory.message(error, data.name, fits)}")
    model.train(was_training)
    scores = {head.loss_name: total / max(1, count)}
    if data.task.metric is None:
        return EvaluationResult(scores, [], [], [])
    parts = [prediction for prediction in found if prediction is not None]
    predictions, targets, ids = _whole(head, data, split, parts)
    if data.task.finish is not None:
        predictions, targets = _finished(data, split, predictions, ids)
    scores.update({name: float(value) for name, value in data.task.metric(predictions, targets).items()})
    return EvaluationResult(scores, predictions, targets, ids)


def _rows(windows: Sequence[Batch], rows: range) -> Iterator[Batch]:
    """The same windows with these rows alone; rows that have ended leave, the last ones first."""
    for window in windows:
        alive = range(rows.start, min(rows.stop, window.size))
        if len(alive):
            yield window if len(alive) == window.size else window.take(alive).trimmed()


def _scored(model: Model, data: TaskData, windows: Sequence[Batch]) -> tuple[float, int, list[Prediction]]:
    """Sum of the losses of consecutive windows, how many terms, and a prediction a row (none without a metric).

    Raises:
        OutOfMemory: what it says.
    """
    total, count, found = 0.0, 0, list[Prediction]()
    state: State | None = None
    for number, window in enumerate(windows):
        with out_of_memory.catch_oom(window):
            window = window.to(model.device)
            if state is not None:
                state = tuple(tensor[: window.size] for tensor in state)
            loss, terms, encoded = model.loss(data.name, window, state)
            loss = fault_injection.at("eval", loss)
            total, count = total + float(loss.double()), count + int(terms)
            if number + 1 < len(windows):
                state = encoded.state
            if data.task.metric is not None:
                found = model.predict(data.name, window, encoded)
    return total, count, found


def _whole(
    head: Any, data: TaskData, split: str, parts: list[Prediction]
) -> tuple[list[Prediction], list[Any], Sequence[str]]:
    """Windows of one example put together again, so that as many examples are scored as the data has."""
    part = data.splits[split]
    targets, origin = data.targets(split), np.asarray(part.origin)
    if len(origin) == 0 or origin[-1] + 1 == len(origin):
        return parts, targets, part.ids
    groups = np.split(np.arange(len(origin)), np.flatnonzero(np.diff(origin)) + 1)
    predictions = [head.stitch([parts[i] for i in group]) if len(group) > 1 else parts[group[0]] for group in groups]
    whole = [_join([targets[i] for i in group], data.target.ragged) for group in groups]
    return predictions, whole, [part.ids[group[0]] for group in groups]


def _finished(
    data: TaskData, split: str, predictions: list[Prediction], ids: Sequence[str]
) -> tuple[list[Prediction], list[Any]]:
    """Predictions and true targets as the user is to have them: what the fields do not keep is read again."""
    finish = data.task.finish
    assert finish is not None
    examples = data.read_again(split, ids)
    targets = [finish(example.input, Prediction(example.target)).value for example in examples]
    return [finish(each.input, said) for each, said in zip(examples, predictions, strict=True)], targets


def _join(targets: list[Any], aligned: bool) -> Any:
    """The target of a whole example: its windows' steps in a row, or the one target that all of them share."""
    return [step for target in targets for step in target] if aligned else targets[0]


def better(best: str, score: float, than: float | None) -> bool:
    """Whether a dev score beats the best so far. `best` is `name`, `min:name` or `max:name`. NaN beats nothing."""
    if than is None or (math.isnan(than) and not math.isnan(score)):
        return True
    return score < than if lower_is_better(best) else score > than


def lower_is_better(best: str) -> bool:
    kind, _, name = best.rpartition(":")
    return kind == "min" if kind else name in LOWER_IS_BETTER


def score_name(best: str) -> str:
    """`min:wer` -> `wer`."""
    return best.rpartition(":")[2]
