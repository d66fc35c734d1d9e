"""What a run shows on TensorBoard beside its numbers: the recipe, sample predictions, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from seqkit.analysis import describe_difference, errors_first
from seqkit.data.task_data import TaskData
from seqkit.inference.evaluate import EvaluationResult
from seqkit.metrics import confusion
from seqkit.model import Model
from seqkit.optim.gradients import gradient_values
from seqkit.runs.tensorboard import Board, chart_layout

SAMPLES = 20
"""Rows of the table of sample predictions."""
MAX_CLASSES = 40
"""Most classes for which a confusion matrix is readable."""


def introduce(
    board: Board, resolved: str, hyperparameters: Mapping[str, Any], data: Mapping[str, TaskData], model: Model
) -> None:
    """What is known before the first step: the resolved recipe, its options as columns, and the custom charts."""
    board.source("recipe", resolved)
    board.hparams(hyperparameters)
    charts = chart_layout({name: model.head(name).loss_name for name in data})
    for name, task_data in data.items():
        if task_data.task.metric is None:  # the loss is the score, and is on the chart beside it
            del charts[name]["scores"]
    board.layout(charts)


def weights_and_gradients(module: nn.Module) -> dict[str, Tensor]:
    """The tensors for histograms: `weights/<name>` and `gradients/<name>` of each parameter, with slashes for dots."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        tag = name.replace(".", "/")
        tensors[f"weights/{tag}"] = parameter.detach()
        if parameter.grad is not None:
            tensors[f"gradients/{tag}"] = gradient_values(parameter.grad.detach())
    return tensors


def show_final_scores(board: Board, step: int, best_step: int, scores: Mapping[str, float]) -> None:
    """The scores of the best checkpoint: a table, and those on test as points on the charts of dev.

    Args:
        board: the run's.
        step: the last one.
        best_step: the checkpoint's.
        scores: `task/split/score` -> number.
    """
    rows = [(*name.split("/", 2), f"{value:.4f}") for name, value in scores.items()]
    board.table("scores of the best checkpoint", ["task", "split", "score", f"at step {best_step:,}"], rows, step)
    board.scalars(best_step, {name: value for name, value in scores.items() if "/test/" in name})
    board.finish()


def show_result(board: Board, step: int, data: TaskData, split: str, result: EvaluationResult) -> None:
    """A table of sample predictions, errors first, and for labels the confusion matrix of an evaluation."""
    if not result.predictions:
        return
    rows = _sample_rows(data, split, result)
    board.table(
        f"{data.name}/{split}/samples", ["id", "input", "target", "prediction", "confidence", "difference"], rows, step
    )
    labels = getattr(data.target, "labels", None)
    if labels is None or data.target.ragged or len(labels) > MAX_CLASSES or not isinstance(result.targets[0], str):
        return
    # A task's `finish` may have turned labels into something else, which has no place in the matrix.
    if set(labels).issuperset([*result.targets, *(prediction.value for prediction in result.predictions)]):
        matrix = confusion(result.targets, result.predictions, labels)
        board.confusion(f"{data.name}/{split}/confusion", list(labels), matrix, step)


def _sample_rows(data: TaskData, split: str, result: EvaluationResult) -> list[list[str]]:
    """A row for each of the examples that teach most: id, input, target, prediction, confidence, and what differs."""
    stored = data.splits[split]
    # An example may be stored in several windows; its first one is shown.
    first_row = {int(example): row for row, example in reversed(list(enumerate(stored.origin)))}
    rows = []
    for number in errors_first(result.predictions, result.targets):
        if number not in first_row:
            continue
        prediction, target = result.predictions[number], result.targets[number]
        shown_input = _shorten(data.input.decode(stored.x[first_row[number]]))
        confidence = "" if prediction.confidence is None else f"{np.mean(prediction.confidence):.2f}"
        difference = _shorten(describe_difference(target, prediction.value))
        row = [result.ids[number], shown_input, _shorten(target), _shorten(prediction.value), confidence, difference]
        rows.append(row)
        if len(rows) == SAMPLES:
            break
    return rows


def _shorten(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"
