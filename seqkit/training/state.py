"""Checkpoints of a run: everything that the next step depends on, saved and restored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqkit.errors import RunError
from seqkit.interfaces import State
from seqkit.model import Model
from seqkit.runs import checkpoint, state_tree
from seqkit.runtime import random_state

if TYPE_CHECKING:
    from seqkit.runs.run_folder import Run
from seqkit.training.averaging import AveragedWeights
from seqkit.training.counters import TrainingCounters
from seqkit.training.loss_sums import LossSums


def save_all(
    run: Run,
    at: TrainingCounters,
    model: Model,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: AveragedWeights | None,
    sums: LossSums,
    carried: Mapping[str, State],
    *,
    keep: int,
) -> None:
    """A checkpoint of everything that the next step depends on."""
    optimizer_tensors, optimizer_state = state_tree.pack(optimizer.state_dict())
    random_tensors, generators = random_state.random_state()
    tensors = {"model": model.state_dict(), "optimizer": optimizer_tensors, "random": random_tensors}
    tensors["sums"] = sums.tensors
    if average:
        tensors["average"] = average.weights
    if carried:
        tensors["carried"] = {
            f"{task}.{i}": tensor for task, state in carried.items() for i, tensor in enumerate(state)
        }
    state = {
        "progress": dataclasses.asdict(at),
        "optimizer": optimizer_state,
        "random": generators,
        "scaler": scaler.state_dict(),
    }
    run.flush()
    path = checkpoint.save(run.checkpoints, at.step, tensors, state)
    _point(path, at)
    checkpoint.prune(run.checkpoints, keep)


def restore(
    path: Path,
    model: Model,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: AveragedWeights | None,
    sums: LossSums,
    carried: dict[str, State],
    device: torch.device,
) -> TrainingCounters:
    """Put everything back where `save_all` found it."""
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["model"])
    optimizer.load_state_dict(state_tree.unpack(tensors["optimizer"], state["optimizer"]))
    scaler.load_state_dict(state["scaler"])
    if average:
        average.weights = {name: tensor.to(device) for name, tensor in tensors["average"].items()}
    for name, tensor in tensors["sums"].items():
        sums.tensors[name].copy_(tensor)
    parts: dict[str, list[tuple[int, Tensor]]] = {}
    for key, tensor in tensors.get("carried", {}).items():
        task, _, number = key.rpartition(".")
        parts.setdefault(task, []).append((int(number), tensor.to(device)))
    for task, numbered in parts.items():
        carried[task] = tuple(tensor for _, tensor in sorted(numbered, key=lambda item: item[0]))
    random_state.restore_random_state(tensors["random"], state["random"])
    at = TrainingCounters(**state["progress"])
    # Whoever saved it may have been killed before the pointers were set.
    _point(path, at)
    return at


def tensors_of(model: Model, average: AveragedWeights | None) -> dict[str, Mapping[str, Tensor]]:
    """What a checkpoint will be made of, as far as its size goes: an optimiser may keep two numbers a weight."""
    weights = model.state_dict()
    moments = {f"{kind}.{name}": tensor for kind in ("first", "second") for name, tensor in weights.items()}
    return {"model": weights, "optimizer": moments} | ({"average": average.weights} if average else {})


def load_best(run: Run, model: Model) -> int:
    """Put the weights of the best checkpoint into the model (their average, where one was kept); its step."""
    path = checkpoint.read_pointer(run.checkpoints, "best")
    if path is None:
        raise RunError(f"{run.checkpoints}: no best checkpoint; the run ended before its first evaluation")
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["average"] if "average" in tensors else tensors["model"])
    return int(state["progress"]["step"])


def _point(path: Path, at: TrainingCounters) -> None:
    """Let `last`, and `best` if it is the best so far, mean the checkpoint of this step."""
    checkpoint.set_pointer(path.parent, "last", path)
    if at.best_step == at.step:
        checkpoint.set_pointer(path.parent, "best", path)
