"""Time and memory of batches, measured on a few of them and predicted for all."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from seqkit.data.epoch import make_batches
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch, Mixed
from seqkit.model import Model
from seqkit.optim.optimizers import build_optimizer
from seqkit.recipe import Recipe
from seqkit.recipe.rewrite import BATCH_SETTINGS
from seqkit.runtime.precision import precision
from seqkit.settings import TrainSettings
from seqkit.training.objective import Objective
from seqkit.types import JSON, Index

MEASURED = 8
"""Batches that are trained on to measure time and memory."""


@dataclass(frozen=True)
class BatchingChoice:
    """Settings for making batches, and what an epoch of such batches is like.

    Attributes:
        name: the settings, as a recipe has them.
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
        """The choice as JSON."""
        return {
            "name": self.name,
            **{name: getattr(self.settings, name) for name in BATCH_SETTINGS},
            "batches": len(self.examples),
            "examples": float(self.examples.mean()),
            "valid": self.valid,
            "shapes": self.shapes,
            "seconds": self.seconds,
            "memory": self.memory,
        }


@dataclass(frozen=True)
class BatchCost:
    """Seconds and bytes of a batch, each as (constant, per padded step)."""

    seconds: tuple[float, float]
    memory: tuple[float, float]

    @classmethod
    def measure(cls, model: Model, data: TaskData, recipe: Recipe, choice: BatchingChoice) -> BatchCost:
        """Train on some of the recipe's own batches, from the smallest to the largest."""
        lengths = data.lengths("train")
        batches = make_batches(lengths, recipe.train, seed=recipe.seed, epoch=0)
        by_size = np.argsort(choice.examples * choice.padded, kind="stable")
        measured = by_size[np.unique(np.linspace(0, len(batches) - 1, MEASURED).round().astype(int))]
        padded = [data.batch("train", batches[i], int(choice.padded[i])) for i in measured]
        return cls(*_fit_lines(*measure_batches(model, data, recipe, padded)))

    def predict(self, choice: BatchingChoice) -> BatchingChoice:
        """The same choice with the time and memory that its batches will take."""
        steps = choice.examples * choice.padded
        seconds = float((self.seconds[0] + self.seconds[1] * steps).sum())
        memory = int(self.memory[0] + self.memory[1] * float(steps.max()))
        return dataclasses.replace(choice, seconds=seconds, memory=memory)


def measure_batches(
    model: Model, data: TaskData, recipe: Recipe, batches: Sequence[Batch]
) -> tuple[list[int], list[float], list[float]]:
    """Padded steps, seconds and bytes of training on each batch, with all that the recipe's objective computes of it.

    Each is trained on twice and the second time counts: the first prepares what libraries need for its shape.
    """
    objective = Objective.of(recipe.train, model, {data.name: data})
    optimizer = build_optimizer(recipe.train.optimizer, model)
    autocast, _ = precision(recipe.train.precision, model.device)
    model.train()
    steps, seconds, memory = [], [], []
    for batch in batches:
        if recipe.train.mixup is not None:  # with any examples: the time is about the same
            batch = dataclasses.replace(batch, mixed=Mixed(batch, torch.full((batch.size,), 0.5)))
        for _ in range(2):
            on_device = batch.to(model.device)
            _synchronize(model)
            began = time.perf_counter()
            with SavedActivations(model) as saved, autocast():
                computed = objective.compute(model, data.name, on_device, None, lambda batch: nullcontext())
            torch.autograd.backward(computed.objective / computed.count)
            optimizer.step()
            optimizer.zero_grad()
            _synchronize(model)
            elapsed = time.perf_counter() - began
        steps.append(batch.lengths.numel() * batch.x.shape[1])
        seconds.append(elapsed)
        weights_and_gradients = sum(p.nbytes * 2 for p in model.parameters())
        moments = sum(v.nbytes for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor))
        memory.append(float(saved.bytes + weights_and_gradients + moments))
    return steps, seconds, memory


def _fit_lines(steps: Sequence[int], *rows: Sequence[float]) -> list[tuple[float, float]]:
    """(constant, per step) of each row of values, by least squares, neither below 0."""
    lines = []
    x = np.asarray(steps, dtype=np.float64)
    for row in rows:
        y = np.asarray(row)
        slope = float(np.polyfit(x, y, 1)[0]) if len(np.unique(x)) > 1 else 0.0
        slope = min(max(slope, 0.0), float(y.mean() / x.mean()))
        lines.append((float(y.mean() - slope * x.mean()), slope))
    return lines


def _synchronize(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


class SavedActivations:
    """Counts the bytes that a forward pass within the block saves for the backward pass.

    Each storage counts once, and the weights do not.
    """

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

    def __enter__(self) -> Self:
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
