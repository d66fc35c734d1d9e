"""What each choice of batches would cost: padding, shapes, steps, time and memory, before anything is trained.

Padding, shapes and steps are counted on the batches of the first epoch, which are a pure function of the recipe. Time
and memory are predicted by a straight line through a few batches that are really trained on: so much a batch, and so
much for each of its padded steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqkit.data import sampler
from seqkit.data.epoch import make_batches, padding_edges, with_own_inputs
from seqkit.data.stream import Stream
from seqkit.data.task_data import TaskData
from seqkit.experiments.batch_cost import BatchCost, BatchingChoice, measure_batches
from seqkit.experiments.prepare import prepare_data, tasks_and_fields
from seqkit.model import Model, build_model
from seqkit.recipe import Recipe
from seqkit.runs.progress import Progress
from seqkit.runtime.determinism import deterministic
from seqkit.runtime.device import choose_device
from seqkit.settings import TrainSettings
from seqkit.types import Index

SHAPES = 16
"""Different lengths that the choices with few shapes allow."""

VALID = 0.98
"""Share of steps without padding that is worth choosing batches for."""

TOLERANCE = 0.02
"""Predicted times that differ by a smaller share count as equal: the recipe is then left as it is."""


@dataclass(frozen=True)
class BatchPlan:
    """The choices that one task has.

    Attributes:
        task: its name.
        unit: what a step is.
        lengths: (n,) steps of each training example; empty for a task that is read in lanes.
        choices: as the recipe has it, then the others.
        best: which of them to take.
        lanes: for a task with a window: (batches of an epoch, seconds, bytes).
    """

    task: str
    unit: str
    lengths: Index
    choices: Sequence[BatchingChoice] = ()
    best: int = 0
    lanes: tuple[int, float, int] | None = None


def plan_batches(recipe: Recipe, progress: Progress, *, measure: bool = True) -> list[BatchPlan]:
    """The choices that each task of a recipe has.

    Args:
        measure: train on some batches, to predict time and memory.
    """
    device = choose_device(recipe.device)
    data = prepare_data(recipe, progress, splits=("train",))
    model = build_model(recipe, tasks_and_fields(data)).to(device) if measure else None
    plans = []
    with deterministic(device, tf32=recipe.train.tf32):
        for name, task_data in with_own_inputs(data).items():
            if task_data.task.window is not None:
                plans.append(_plan_stream(task_data, recipe, model))
                continue
            lengths = task_data.lengths("train")
            choices = [
                count_batches(description, settings, lengths, seed=recipe.seed)
                for description, settings in candidates(lengths, recipe.train)
            ]
            if model is not None:
                cost = BatchCost.measure(model, task_data, recipe, choices[0])
                choices = [cost.predict(choice) for choice in choices]
            plans.append(BatchPlan(name, task_data.input.unit, lengths, choices, choose_best(choices)))
    return plans


def candidates(lengths: Index, settings: TrainSettings) -> list[tuple[str, TrainSettings]]:
    """Settings worth comparing, as a recipe has them; first the recipe's own. All make about as many batches."""
    count = len(make_batches(lengths, settings, seed=0, epoch=0))
    size = settings.batch if settings.tokens is None else max(1, round(len(lengths) / count))
    tokens = _token_budget(lengths, count, settings)

    def change(**changes: Any) -> TrainSettings:
        return dataclasses.replace(settings, **{"tokens": None, "batch": size, "pool": 64, "shapes": None} | changes)

    variants = [
        (f"batch: {size}, pool: 1", change(pool=1)),
        (f"batch: {size}, pool: 64", change()),
        (f"batch: {size}, pool: 256", change(pool=256)),
        (f"batch: {size}, pool: 256, shapes: {SHAPES}", change(pool=256, shapes=SHAPES)),
        (f"tokens: {tokens}, pool: 64", change(tokens=tokens)),
        (f"tokens: {tokens}, pool: 256, shapes: {SHAPES}", change(tokens=tokens, pool=256, shapes=SHAPES)),
    ]
    return [("as the recipe has it", settings), *((name, changed) for name, changed in variants if changed != settings)]


def _token_budget(lengths: Index, count: int, settings: TrainSettings) -> int:
    """The padded steps a batch that make about so many batches."""
    low, high = int(lengths.max()), int(lengths.sum()) + int(lengths.max())
    while low < high:
        middle = (low + high) // 2
        with_budget = dataclasses.replace(settings, tokens=middle, pool=64, shapes=None)
        if len(make_batches(lengths, with_budget, seed=0, epoch=0)) > count:
            low = middle + 1
        else:
            high = middle
    return low


def count_batches(name: str, settings: TrainSettings, lengths: Index, *, seed: int) -> BatchingChoice:
    """The batches of the first epoch under these settings: how many examples they have, and how long they are."""
    batches = make_batches(lengths, settings, seed=seed, epoch=0)
    padded = np.asarray([int(lengths[index].max()) for index in batches], dtype=np.int64)
    if settings.shapes:
        edges = padding_edges(lengths, settings, seed=seed)
        padded = edges[np.searchsorted(edges, padded)]
    examples = np.asarray([len(index) for index in batches], dtype=np.int64)
    return BatchingChoice(name, settings, examples, padded, float(lengths.sum() / (examples * padded).sum()))


def choose_best(choices: Sequence[BatchingChoice]) -> int:
    """The choice with the least predicted time (where none was measured, the fewest padded steps).

    It is the recipe's own, the first, if no other is better by more than `TOLERANCE`.
    """
    cost = [
        float((choice.examples * choice.padded).sum()) if choice.seconds is None else choice.seconds
        for choice in choices
    ]
    least = min(range(len(choices)), key=lambda i: cost[i])
    return least if cost[least] < cost[0] * (1 - TOLERANCE) else 0


def _plan_stream(data: TaskData, recipe: Recipe, model: Model | None) -> BatchPlan:
    """A stream has no padding and a single shape; only its time and memory are worth knowing."""
    assert data.task.window is not None
    stream = Stream(data.splits["train"].x)
    lanes = sampler.cut_lanes(
        stream.total, batch=recipe.train.batch, window=data.task.window, seed=recipe.seed, epoch=0
    )
    count, seconds, memory = len(lanes.windows), 0.0, 0
    if model is not None:
        _, times, sizes = measure_batches(model, data, recipe, [stream.window(lanes, 0)] * 3)
        seconds, memory = float(np.median(times)) * count, int(max(sizes))
    return BatchPlan(data.name, data.input.unit, np.zeros(0, dtype=np.int64), lanes=(count, seconds, memory))
