"""Time and memory of batches, measured on a few of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqkit.data.epoch import make_batches
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch
from seqkit.model import Model
from seqkit.optim.optimizers import build_optimizer
from seqkit.recipe import Recipe
from seqkit.recipe.rewrite import BATCH_SETTINGS
from seqkit.runtime.precision import precision
from seqkit.settings import TrainSettings
from seqkit.types import JSON, Index

TRIED = 8
"""Batches that are worked on to measure time and memory."""


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
            **{word: getattr(self.settings, word) for word in BATCH_SETTINGS},
            "batches": len(self.examples),
            "examples": float(self.examples.mean()),
            "valid": self.valid,
            "shapes": self.shapes,
            "seconds": self.seconds,
            "memory": self.memory,
        }


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes of a batch: a part for each batch, and a part for each padded step."""

    seconds: tuple[float, float]
    memory: tuple[float, float]

    @classmethod
    def measured(cls, model: Model, data: TaskData, recipe: Recipe, own: Way) -> Cost:
        """Work on batches from the shortest to the longest."""
        lengths = data.lengths("train")
        batches = make_batches(lengths, recipe.train, seed=recipe.seed, epoch=0)
        by_size = np.argsort(own.examples * own.padded, kind="stable")
        chosen = by_size[np.unique(np.linspace(0, len(batches) - 1, TRIED).round().astype(int))]
        made = [data.batch("train", batches[i], int(own.padded[i])) for i in chosen]
        return cls(*_lines(*measure(model, data, recipe, made)))

    def of(self, each: Way) -> Way:
        steps = each.examples * each.padded
        seconds = float((self.seconds[0] + self.seconds[1] * steps).sum())
        return dataclasses.replace(
            each, seconds=seconds, memory=int(self.memory[0] + self.memory[1] * float(steps.max()))
        )


def measure(
    model: Model, data: TaskData, recipe: Recipe, batches: Sequence[Batch]
) -> tuple[list[int], list[float], list[float]]:
    """Padded steps, seconds and bytes of each batch. The second time counts: the first prepares what a shape needs."""
    settings = recipe.train
    optimizer = build_optimizer(settings.optimizer, model)
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
