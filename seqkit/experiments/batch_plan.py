"""What each way of making batches would cost: padding, shapes, steps, time and memory, before anything is trained.

Padding, shapes and steps are counted on the batches of the first epoch, which are a pure function of the recipe. Time
and memory are a straight line through a few batches that are really worked on: so much a batch, and so much for each
of its padded steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqkit.data import sampler
from seqkit.data.epoch import make_batches, padding_edges
from seqkit.data.stream import Stream
from seqkit.data.task_data import TaskData
from seqkit.experiments import prepare
from seqkit.experiments.batch_cost import Cost, Way, measure
from seqkit.model import Model, build_model
from seqkit.recipe import Recipe
from seqkit.runs.progress import Progress
from seqkit.runtime import determinism
from seqkit.runtime.device import choose_device
from seqkit.settings import TrainSettings
from seqkit.types import Index

SHAPES = 16
"""Different lengths that the choices with few shapes allow."""


GOAL = 0.98
"""Share of true steps that is worth choosing batches for."""


SLACK = 0.02
"""Differences of predicted time below this are none: the recipe is then left as it is."""


@dataclass(frozen=True)
class Plan:
    """What was found about one task.

    Attributes:
        task: its name.
        unit: what a step is.
        lengths: (n,) steps of each training example; empty for a task that is read in lanes.
        ways: as the recipe has it, then the others.
        best: which of them to take.
        lanes: for a task with a window: (batches of an epoch, seconds, bytes).
    """

    task: str
    unit: str
    lengths: Index
    ways: Sequence[Way] = ()
    best: int = 0
    lanes: tuple[int, float, int] | None = None


def plan(recipe: Recipe, progress: Progress, *, measure: bool = True) -> list[Plan]:
    """Look at every way for each task of a recipe.

    Args:
        measure: work on some batches, to predict time and memory.
    """
    device = choose_device(recipe.device)
    data = prepare.prepare_data(recipe, progress, progress.say, splits=("train",))
    tasks = {name: (part.task, part.input, part.target) for name, part in data.items()}
    model = build_model(recipe, tasks).to(device) if measure else None
    found = []
    with determinism.deterministic(device):
        for name, part in data.items():
            if part.task.window is not None:
                found.append(_lanes(part, recipe, model))
                continue
            lengths = part.lengths("train")
            ways = [way(*each, lengths, seed=recipe.seed) for each in choices(lengths, recipe.train)]
            if model is not None:
                cost = Cost.measured(model, part, recipe, ways[0])
                ways = [cost.of(each) for each in ways]
            found.append(Plan(name, part.input.unit, lengths, ways, best(ways)))
    return found


def choices(lengths: Index, settings: TrainSettings) -> list[tuple[str, TrainSettings]]:
    """The ways worth looking at, by name: the recipe's own first. All have about as many batches as that."""
    own = make_batches(lengths, settings, seed=0, epoch=0)
    size = settings.batch if settings.tokens is None else max(1, round(len(lengths) / len(own)))
    tokens = _budget(lengths, len(own), settings)

    def to(**words: Any) -> TrainSettings:
        return dataclasses.replace(settings, **{"tokens": None, "batch": size, "pool": 64, "shapes": None} | words)

    found = [("as the recipe has it", settings)]
    for name, other in (
        (f"{size} examples by chance", to(pool=1)),
        (f"{size} examples, pools of 64", to()),
        (f"{size} examples, pools of 256", to(pool=256)),
        (f"{size} examples, pools of 256, {SHAPES} shapes", to(pool=256, shapes=SHAPES)),
        (f"{tokens:,} padded steps, pools of 64", to(tokens=tokens)),
        (f"{tokens:,} padded steps, pools of 256, {SHAPES} shapes", to(tokens=tokens, pool=256, shapes=SHAPES)),
    ):
        if other != settings:
            found.append((name, other))
    return found


def _budget(lengths: Index, count: int, settings: TrainSettings) -> int:
    """The padded steps a batch that make about so many batches."""
    low, high = int(lengths.max()), int(lengths.sum()) + int(lengths.max())
    while low < high:
        middle = (low + high) // 2
        tried = dataclasses.replace(settings, tokens=middle, pool=64, shapes=None)
        if len(make_batches(lengths, tried, seed=0, epoch=0)) > count:
            low = middle + 1
        else:
            high = middle
    return low


def way(name: str, settings: TrainSettings, lengths: Index, *, seed: int) -> Way:
    """Count what the first epoch would be."""
    batches = make_batches(lengths, settings, seed=seed, epoch=0)
    padded = np.asarray([int(lengths[index].max()) for index in batches], dtype=np.int64)
    if settings.shapes:
        to = padding_edges(lengths, settings, seed=seed)
        padded = to[np.searchsorted(to, padded)]
    examples = np.asarray([len(index) for index in batches], dtype=np.int64)
    return Way(name, settings, examples, padded, float(lengths.sum() / (examples * padded).sum()))


def best(ways: Sequence[Way]) -> int:
    """The way with the least predicted time (without one, the most true steps); the recipe's own if none is better by
    more than `SLACK`."""
    cost = [each.seconds if each.seconds is not None else float((each.examples * each.padded).sum()) for each in ways]
    least = min(range(len(ways)), key=lambda i: cost[i])
    return least if cost[least] < cost[0] * (1 - SLACK) else 0


def _lanes(data: TaskData, recipe: Recipe, model: Model | None) -> Plan:
    """A stream has no padding and one shape; its time and memory are still worth knowing."""
    assert data.task.window is not None
    stream = Stream(data.splits["train"].x)
    lanes = sampler.lanes(stream.total, batch=recipe.train.batch, window=data.task.window, seed=recipe.seed, epoch=0)
    count, seconds, memory = len(lanes.windows), 0.0, 0
    if model is not None:
        _, times, sizes = measure(model, data, recipe, [stream.window(lanes, 0)] * 3)
        seconds, memory = float(np.median(times)) * count, int(max(sizes))
    return Plan(data.name, data.input.unit, np.zeros(0, dtype=np.int64), lanes=(count, seconds, memory))
