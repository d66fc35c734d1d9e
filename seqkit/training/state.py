"""What stands beside the loop: how far a run has come, its checkpoints and evaluations, and steps that were not finite.

The loop (`seqkit.training.loop`) decides when; what is done then is here. Everything a resumed run needs is in `Progressed` and
in the saved tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.inference.evaluate import Outcome, better, lower_is_better, score_name
from seqkit.interfaces import State
from seqkit.model.model import Model
from seqkit.runs import checkpoint
from seqkit.runtime import random_state
from seqkit.settings import TrainSettings
from seqkit.training import nonfinite
from seqkit.training.board_views import show_outcome

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run


@dataclass
class Progressed:
    """How far a run has come: all counters that resume needs, as JSON."""

    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    turn: int = 0
    """Turns of this epoch that are done; the next one is `plan.turns[turn]`."""
    tokens: int = 0
    """Real input steps seen."""
    padded: int = 0
    """Input steps computed, padding counted."""
    logged_tokens: int = 0
    logged_padded: int = 0
    """What the two were at the last log."""
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    """Evaluations since the best one."""
    to_minimise: list[float] = field(default_factory=list)
    """What each evaluation gave, as a number to minimise: what reduce-on-plateau looks at."""
    evaluated: int = -1
    """The step of the last evaluation."""
    due: bool = False
    """True if the evaluation at this step is still to come: the run was stopped in the middle of it."""
    ended: bool = False
    """True once training stopped by itself (steps, epochs or patience)."""
    skipped: int = 0
    """Steps that were left out because something in them was not finite (train.on_nan: skip)."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint (train.on_nan: rollback)."""
    bad_at: int = -1
    """The last step that was left out, or the step of the checkpoint that was last gone back to."""
    bad_in_row: int = 0
    """How often that has happened in a row."""
    fits: dict[str, int] = field(default_factory=dict)
    """For each task that ran out of memory: the most padded steps worked on at once since then."""


class Sums:
    """Loss sums and counts of each task since the last log, on the device: nothing is read until it is logged."""

    def __init__(self, names: Mapping[str, str], device: torch.device) -> None:
        self.tensors = {name: torch.zeros(2, dtype=torch.float64, device=device) for name in names}
        self.names = names

    def add(self, task: str, loss: Tensor, count: Tensor, fine: Tensor) -> None:
        """A step's sums, if they are finite: what is not is told on its own and hidden in no mean."""
        new = torch.stack([loss.double(), count.to(loss.device).double()])
        self.tensors[task] += torch.where(fine, new, 0.0)

    def take(self) -> dict[str, float]:
        """Mean loss of each task that had any, and start again."""
        means = {}
        for task, tensor in self.tensors.items():
            total, count = tensor.tolist()
            if count:
                means[f"{task}/train/{self.names[task]}"] = total / count
            tensor.zero_()
        return means


class Average:
    """An exponential moving average of the weights; early steps weigh more, so that it does not remember the start."""

    def __init__(self, model: Model, decay: float) -> None:
        self.model, self.decay = model, decay
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self.model.state_dict()
        moving = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.weights[n] for n in moving], [current[n] for n in moving], 1 - decay)
        for name, tensor in self.weights.items():
            if not tensor.is_floating_point():
                tensor.copy_(current[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights, for as long as the block lasts."""
        kept = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.model.load_state_dict(kept)


def save_all(
    run: Run,
    at: Progressed,
    model: Model,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
    sums: Sums,
    carried: Mapping[str, State],
    *,
    keep: int,
) -> None:
    """A checkpoint of everything that the next step depends on."""
    optimizer_tensors, optimizer_state = random_state.pack(optimizer.state_dict())
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
    checkpoint.retain(run.checkpoints, keep)


def restore(
    path: Path,
    model: Model,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
    sums: Sums,
    carried: dict[str, State],
    device: torch.device,
) -> Progressed:
    """Put everything back where `save_all` found it."""
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["model"])
    optimizer.load_state_dict(random_state.unpack(tensors["optimizer"], state["optimizer"]))
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
    at = Progressed(**state["progress"])
    # Whoever saved it may have been killed before the pointers were set.
    _point(path, at)
    return at


def tensors_of(model: Model, average: Average | None) -> dict[str, Mapping[str, Tensor]]:
    """What a checkpoint will be made of, as far as its size goes: an optimiser may keep two numbers a weight."""
    weights = model.state_dict()
    moments = {f"{kind}.{name}": tensor for kind in ("first", "second") for name, tensor in weights.items()}
    return {"model": weights, "optimizer": moments} | ({"average": average.weights} if average else {})


def load_best(run: Run, model: Model) -> int:
    """Put the weights of the best checkpoint into the model (their average, where one was kept); its step."""
    path = checkpoint.pointed(run.checkpoints, "best")
    if path is None:
        raise RunError(f"{run.checkpoints}: no best checkpoint; the run ended before its first evaluation")
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["average"] if "average" in tensors else tensors["model"])
    return int(state["progress"]["step"])


def judge(data: TaskData) -> str:
    """The split that chooses the checkpoint."""
    return "dev" if "dev" in data.splits else "train"


def judged(
    at: Progressed, data: Mapping[str, TaskData], outcomes: Mapping[str, Outcome], run: Run, progress: Progress
) -> None:
    """Write down an evaluation and remember whether it is the best. The first task decides."""
    scores = {f"{n}/{judge(data[n])}/{k}": v for n, outcome in outcomes.items() for k, v in outcome.scores.items()}
    first = next(iter(data.values()))
    name = score_name(first.task.best)
    if name not in outcomes[first.name].scores:
        known = ", ".join(sorted(outcomes[first.name].scores))
        raise RunError(f"task {first.name} chooses by the score '{name}', and there is none; its scores are: {known}")
    score = outcomes[first.name].scores[name]
    if better(first.task.best, score, at.best):
        at.best, at.best_step, at.waited = score, at.step, 0
    else:
        at.waited += 1
    at.evaluated = at.step
    at.to_minimise.append(score if lower_is_better(first.task.best) else -score)
    log(run, at.step, at.epoch, scores)
    for part_name, outcome in outcomes.items():
        show_outcome(run.board, at.step, data[part_name], judge(data[part_name]), outcome)
    mark = "  best so far" if at.best_step == at.step else ""
    shown = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
    run.log(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")
    progress.say(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")


def log(run: Run, step: int, epoch: float, values: Mapping[str, float]) -> None:
    """The same numbers to metrics.jsonl and to TensorBoard: nobody needs the one to read the other."""
    run.metrics(step, values, epoch=epoch)
    run.board.scalars(step, values)


def sound(
    model: Model,
    bad: Sequence[nonfinite.Step],
    at: Progressed,
    settings: TrainSettings,
    run: Run,
    progress: Progress,
    autocast: nonfinite.Autocast,
) -> bool:
    """Deal with steps that were not finite as `train.on_nan` says. True: the run must go back to a checkpoint.

    Raises:
        RunError: the policy is to stop, or it has come to its limit, or what is broken cannot be skipped.
    """
    for step in bad:
        finding = nonfinite.diagnose(model, step, autocast)
        what = f"step {step.number}: {step.said()}; nothing of this step was applied. {finding}"
        if settings.on_nan == "rollback":
            run.log(what)
            return True
        if settings.on_nan == "stop":
            raise RunError(f"{what}. {_HINT}")
        if finding.kind == "weights":
            raise RunError(f"{what}. To skip steps cannot mend weights: take train.on_nan: rollback")
        at.bad_in_row = at.bad_in_row + 1 if step.number == at.bad_at + 1 else 1
        at.bad_at, at.skipped = step.number, at.skipped + 1
        if at.bad_in_row > settings.nan_limit:
            raise RunError(f"{what}. More than {settings.nan_limit} in a row (train.nan_limit). {_HINT}")
        run.log(f"{what}. Skipped: {at.skipped} so far")
        progress.say(f"step {step.number:,}: {step.said()}; skipped")
    if broken := nonfinite.broken_weights(model):
        what = f"step {at.step}: the weights {', '.join(broken[:3])} are not finite"
        if settings.on_nan != "rollback":
            raise RunError(f"{what}; the checkpoints before it are sound. {_HINT}")
        run.log(what)
        return True
    return False


_HINT = "Lower train.optimizer.lr, set train.clip, or choose another train.on_nan (stop, skip, rollback)"


def goal(run: Run, at: Progressed, settings: TrainSettings) -> Path:
    """The checkpoint to go back to.

    Raises:
        RunError: there is none, or the run has gone back to it too often.
    """
    path = checkpoint.newest(run.checkpoints, tell=run.log)
    if path is None:
        raise RunError(f"step {at.step}: nothing to go back to: {run.checkpoints} has no valid checkpoint")
    if at.bad_at == checkpoint.step_of(path) and at.bad_in_row >= settings.nan_limit:
        raise RunError(
            f"step {at.step}: the run has gone back to {path.name} {at.bad_in_row} times without coming to another "
            f"checkpoint (train.nan_limit: {settings.nan_limit}). {_HINT}"
        )
    return path


def beyond(at: Progressed, back: Progressed, run: Run) -> Progressed:
    """Where a run goes on that has gone back: at the checkpoint's weights, and behind the data that led astray."""
    back.bad_in_row = at.bad_in_row + 1 if at.bad_at == back.step else 1
    back.bad_at, back.rollbacks, back.skipped = back.step, at.rollbacks + 1, at.skipped
    back.epoch, back.turn, back.fits = at.epoch, at.turn, at.fits
    run.rewind(back.step)
    run.log(
        f"went back from step {at.step} to the checkpoint of step {back.step}; goes on with the data behind it, at "
        f"batch {at.turn + 1} of epoch {at.epoch + 1}, so that what led there is not repeated"
    )
    return back


def _point(path: Path, at: Progressed) -> None:
    """Let `last`, and `best` if it is the best so far, mean the checkpoint of this step."""
    checkpoint.point(path.parent, "last", path)
    if at.best_step == at.step:
        checkpoint.point(path.parent, "best", path)
