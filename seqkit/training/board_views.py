"""What a run shows on TensorBoard beside its numbers: the recipe, sample predictions, confusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from seqkit.data.task_data import TaskData
from seqkit.inference.evaluate import EvaluationResult
from seqkit.metrics import confusion
from seqkit.model import Model
from seqkit.optim.gradients import gradient_values
from seqkit.runs.tensorboard import Board, chart_layout

SAMPLES = 20
"""Rows of the table of sample predictions."""
CONFUSED = 40
"""Most classes of which a confusion matrix can still be read."""


def introduce(board: Board, resolved: str, data: Mapping[str, TaskData], model: Model) -> None:
    """The resolved recipe, and the layout of the charts: train and dev on one, so the first look says if it learns."""
    board.source("recipe", resolved)
    charts = chart_layout({name: model.head(name).loss_name for name in data})
    for name, part in data.items():
        if part.task.metric is None:  # the loss is the score, and is on the chart beside it
            del charts[name]["scores on dev"]
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


def show_outcome(board: Board, step: int, data: TaskData, split: str, outcome: EvaluationResult) -> None:
    """A table of predictions and, for labels, the confusion matrix of one evaluation."""
    if not outcome.predictions:
        return
    part = data.splits[split]
    first = {int(example): row for row, example in reversed(list(enumerate(part.origin[: 10 * SAMPLES])))}
    rows = []
    for number, (prediction, target, where) in enumerate(
        zip(outcome.predictions, outcome.targets, outcome.ids, strict=True)
    ):
        if number == SAMPLES or number not in first:
            break
        given = _short(data.input.decode(part.x[first[number]]))
        sure = prediction.confidence
        mark = "" if prediction.value == target else "✗"
        shown = f"{sure:.2f}" if isinstance(sure, float) else ""
        rows.append([where, given, _short(target), _short(prediction.value), shown, mark])
    board.table(f"{data.name}/{split}/samples", ["id", "input", "target", "prediction", "confidence", ""], rows, step)
    labels = getattr(data.target, "labels", None)
    if labels is None or data.target.ragged or len(labels) > CONFUSED or not isinstance(outcome.targets[0], str):
        return
    # A task's `finish` may have made something else of the labels, which then has no place in the matrix.
    if set(labels).issuperset([*outcome.targets, *(prediction.value for prediction in outcome.predictions)]):
        matrix = confusion(outcome.targets, outcome.predictions, labels)
        board.confusion(f"{data.name}/{split}/confusion", list(labels), matrix, step)


def _short(value: Any) -> str:
    text = (
        value
        if isinstance(value, str)
        else " ".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
    )
    return text if len(text) <= 120 else text[:119] + "…"
