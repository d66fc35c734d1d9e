"""What each way of making batches would cost: padding, shapes, steps, time and memory, before anything is trained.

Padding, shapes and steps are counted on the batches of the first epoch, which are a pure function of the recipe. Time
and memory are a straight line through a few batches that are really worked on: so much a batch, and so much for each
of its padded steps.
"""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit import recipe as recipes
from seqkit.data.task_data import Stream, TaskData, cut, edges
from seqkit.errors import UsageError
from seqkit.experiments import run_recipe
from seqkit.interfaces import Batch
from seqkit.io import atomic
from seqkit.model import model as model_room
from seqkit.model.model import Model
from seqkit.optim.optimizers import optimizer_of
from seqkit.recipe import Recipe
from seqkit.runs.progress import Progress
from seqkit.settings import TrainSettings
from seqkit.training.loop import precision
from seqkit.types import JSON

Index: TypeAlias = NDArray[np.int64]

SHAPES = 16
"""Different lengths that the choices with few shapes allow."""
GOAL = 0.98
"""Share of true steps that is worth choosing batches for."""
TRIED = 8
"""Batches that are worked on to measure time and memory."""
SLACK = 0.02
"""Differences of predicted time below this are none: the recipe is then left as it is."""
WORDS = ("batch", "tokens", "pool", "shapes")
"""The settings that a choice is made of."""


@dataclass(frozen=True)
class Way:
    """One way of making batches, and what an epoch would be.

    Attributes:
        name: in words.
        settings: of training.
        examples: (n,) of each batch.
        padded: (n,) length that each batch is padded to.
        valid: share of the steps that are no padding.
        seconds: predicted, of an epoch's training; None: not measured.
        memory: predicted bytes at the largest batch; None: not measured.
    """

    name: str
    settings: TrainSettings
    examples: Index
    padded: Index
    valid: float
    seconds: float | None = None
    memory: int | None = None

    @property
    def shapes(self) -> int:
        """How many different padded lengths there are."""
        return len(np.unique(self.padded))

    def facts(self) -> JSON:
        """As JSON."""
        return {
            "name": self.name,
            **{word: getattr(self.settings, word) for word in WORDS},
            "batches": len(self.examples),
            "examples": float(self.examples.mean()),
            "valid": self.valid,
            "shapes": self.shapes,
            "seconds": self.seconds,
            "memory": self.memory,
        }


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
    device = run_recipe.choose_device(recipe.device)
    data = run_recipe.prepare_data(recipe, progress, progress.say, splits=("train",))
    tasks = {name: (part.task, part.input, part.target) for name, part in data.items()}
    model = model_room.build(recipe, tasks).to(device) if measure else None
    found = []
    with run_recipe.computing_on(device):
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
    own = cut(lengths, settings, seed=0, epoch=0)
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
        if len(cut(lengths, tried, seed=0, epoch=0)) > count:
            low = middle + 1
        else:
            high = middle
    return low


def way(name: str, settings: TrainSettings, lengths: Index, *, seed: int) -> Way:
    """Count what the first epoch would be."""
    batches = cut(lengths, settings, seed=seed, epoch=0)
    padded = np.asarray([int(lengths[index].max()) for index in batches], dtype=np.int64)
    if settings.shapes:
        to = edges(lengths, settings, seed=seed)
        padded = to[np.searchsorted(to, padded)]
    examples = np.asarray([len(index) for index in batches], dtype=np.int64)
    return Way(name, settings, examples, padded, float(lengths.sum() / (examples * padded).sum()))


def best(ways: Sequence[Way]) -> int:
    """The way with the least predicted time (without one, the most true steps); the recipe's own if none is better by
    more than `SLACK`."""
    cost = [each.seconds if each.seconds is not None else float((each.examples * each.padded).sum()) for each in ways]
    least = min(range(len(ways)), key=lambda i: cost[i])
    return least if cost[least] < cost[0] * (1 - SLACK) else 0


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of a batch: a part for each batch, and a part for each padded step."""

    seconds: tuple[float, float]
    memory: tuple[float, float]

    @classmethod
    def measured(cls, model: Model, data: TaskData, recipe: Recipe, own: Way) -> Cost:
        """Work on batches from the shortest to the longest."""
        lengths = data.lengths("train")
        batches = cut(lengths, recipe.train, seed=recipe.seed, epoch=0)
        by_size = np.argsort(own.examples * own.padded, kind="stable")
        chosen = by_size[np.unique(np.linspace(0, len(batches) - 1, TRIED).round().astype(int))]
        made = [data.batch("train", batches[i], int(own.padded[i])) for i in chosen]
        return cls(*_lines(*_worked(model, data, recipe, made)))

    def of(self, each: Way) -> Way:
        steps = each.examples * each.padded
        seconds = float((self.seconds[0] + self.seconds[1] * steps).sum())
        return dataclasses.replace(
            each, seconds=seconds, memory=int(self.memory[0] + self.memory[1] * float(steps.max()))
        )


def _worked(
    model: Model, data: TaskData, recipe: Recipe, batches: Sequence[Batch]
) -> tuple[list[int], list[float], list[float]]:
    """Padded steps, seconds and bytes of each batch. The second time counts: the first prepares what a shape needs."""
    settings = recipe.train
    optimizer = optimizer_of(settings.optimizer, model)
    autocast, _ = precision(settings.precision, model.device)
    model.train()
    steps, seconds, memory = [], [], []
    for batch in batches:
        for _ in range(2):
            there = batch.to(model.device)
            _wait(model)
            began = time.perf_counter()
            with Kept(model) as kept, autocast():
                total, count, _ = model.loss(data.name, there)
            torch.autograd.backward(total / count)
            optimizer.step()
            optimizer.zero_grad()
            _wait(model)
            took = time.perf_counter() - began
        steps.append(batch.lengths.numel() * batch.x.shape[1])
        seconds.append(took)
        fixed = sum(p.nbytes * 2 for p in model.parameters())  # each weight has a gradient
        fixed += sum(v.nbytes for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor))
        memory.append(float(kept.bytes + fixed))
    return steps, seconds, memory


def _lines(steps: Sequence[int], *values: Sequence[float]) -> list[tuple[float, float]]:
    """For each row of values, (what stays, what comes with each step): least squares, neither below 0."""
    found = []
    x = np.asarray(steps, dtype=np.float64)
    for row in values:
        y = np.asarray(row)
        slope = float(np.polyfit(x, y, 1)[0]) if len(np.unique(x)) > 1 else 0.0
        slope = min(max(slope, 0.0), float(y.mean() / x.mean()))
        found.append((float(y.mean() - slope * x.mean()), slope))
    return found


def _wait(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


class Kept:
    """Counts the bytes of what a forward pass keeps for the backward pass, each storage once, weights left out."""

    def __init__(self, model: Model) -> None:
        self.seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.bytes = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)


def _lanes(data: TaskData, recipe: Recipe, model: Model | None) -> Plan:
    """A stream has no padding and one shape; its time and memory are still worth knowing."""
    from seqkit.data import sampler

    assert data.task.window is not None
    stream = Stream(data.splits["train"].x)
    lanes = sampler.lanes(stream.total, batch=recipe.train.batch, window=data.task.window, seed=recipe.seed, epoch=0)
    count, seconds, memory = len(lanes.windows), 0.0, 0
    if model is not None:
        _, times, sizes = _worked(model, data, recipe, [stream.window(lanes, 0)] * 3)
        seconds, memory = float(np.median(times)) * count, int(max(sizes))
    return Plan(data.name, data.input.unit, np.zeros(0, dtype=np.int64), lanes=(count, seconds, memory))


def write(path: Path, recipe: Recipe, chosen: TrainSettings) -> dict[str, Any]:
    """Write the choice into the recipe's `train:`, with everything else in the file as it was.

    Returns:
        What was changed, by name.

    Raises:
        UsageError: the file cannot be changed without changing more than that.
    """
    from ruamel.yaml import YAML

    changed = {word: getattr(chosen, word) for word in WORDS if getattr(chosen, word) != getattr(recipe.train, word)}
    if not changed:
        return {}
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    text = path.read_text(encoding="utf-8")
    document = yaml.load(text)
    train = document.get("train")
    if train is None:
        document["train"] = train = {}
    for word, value in changed.items():
        train[word] = value
    if changed.get("tokens") is None and "tokens" in changed:
        train.pop("tokens", None)
    stream = io.StringIO()
    yaml.dump(document, stream)
    draft = path.with_name(f".{path.stem}-plan.yaml")  # in the same folder: paths in a recipe are relative to it
    try:
        draft.write_text(stream.getvalue(), encoding="utf-8")
        made = recipes.load(draft)
    finally:
        draft.unlink(missing_ok=True)
    if dataclasses.replace(made, train=recipe.train) != recipe or made.train != chosen:
        settings = ", ".join(f"{word}: {value}" for word, value in changed.items())
        raise UsageError(f"{path}: cannot be changed without changing more; write into train: {settings}")
    atomic.write(path, stream.getvalue())
    return changed


def histogram(lengths: Index, *, rows: int = 12, width: int = 40) -> list[str]:
    """Lines that show how many examples have how many steps. Each line covers as wide a range of lengths."""
    low, high = int(lengths.min()), int(lengths.max())
    size = max(1, -(-(high - low + 1) // rows))
    counts = np.bincount((lengths - low) // size)
    found = []
    for number, count in enumerate(counts):
        first, last = low + number * size, min(high, low + (number + 1) * size - 1)
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        bar = "#" * max(int(count > 0), round(width * count / counts.max()))
        found.append(f"{span:>16}  {count:>9,}  {bar}".rstrip())
    return found


def table(each: Plan) -> list[str]:
    """The findings about a task, as lines."""
    if each.lanes is not None:
        count, seconds, memory = each.lanes
        cost = f", about {_time(seconds)} an epoch, {atomic.readable(memory)}" if memory else ""
        return [f"{each.task}: a stream in lanes: {count:,} batches of one shape, no padding{cost}"]
    found = [f"{each.task}: {len(each.lengths):,} examples; {each.unit} an example:", *histogram(each.lengths), ""]
    found.append(f"   {'batches':<52} {'number':>8} {'true steps':>10} {'shapes':>6} {'an epoch':>9} {'memory':>9}")
    for number, one in enumerate(each.ways):
        costs = ("-", "-") if one.seconds is None else (_time(one.seconds), atomic.readable(one.memory or 0))
        found.append(
            f"{'->' if number == each.best else '  '} {one.name:<52} {len(one.examples):>8,} {one.valid:>10.3f} "
            f"{one.shapes:>6} {costs[0]:>9} {costs[1]:>9}"
        )
    if not any(one.valid >= GOAL and one.shapes <= SHAPES for one in each.ways):
        nearest = max((one for one in each.ways if one.shapes <= SHAPES), key=lambda one: one.valid, default=None)
        said = "none of them has" if nearest is None else f"{nearest.valid:.3f} is the most that these have with"
        found.append(f"   {GOAL} of true steps with {SHAPES} shapes is not reached: {said} {SHAPES} shapes or fewer")
    return found


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
