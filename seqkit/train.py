"""The training loop: one visible function that reads top to bottom.

Batch, loss, backward, clip, step, log, evaluate, save. What differs between tasks stays behind `loss` and `predict`;
what is written goes through the run. Everything a resumed run needs is in `Progressed` and in the saved tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seqkit import checkpoint
from seqkit.batching import Epoch, TaskData
from seqkit.errors import Interrupted, RunError
from seqkit.evaluate import Outcome, better, evaluate, lower_is_better, score_name
from seqkit.model import Model
from seqkit.modules import Batch, State
from seqkit.optim import OPTIMIZERS, SCHEDULES
from seqkit.settings import TrainSettings
from seqkit.show import show_outcome

if TYPE_CHECKING:
    from seqkit.progress import Progress
    from seqkit.run import Run
    from seqkit.signals import Interrupts


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
    ended: bool = False
    """True once training stopped by itself (steps, epochs or patience)."""


def train(
    model: Model,
    data: Mapping[str, TaskData],
    settings: TrainSettings,
    run: Run,
    /,
    *,
    seed: int,
    stop: Interrupts,
    progress: Progress,
    saved: Path | None = None,
) -> Progressed:
    """Train until the steps, the epochs or the patience are used up. The best and the last weights are checkpoints.

    The checkpoint is chosen by the first task's `best` score on dev (on train where there is no dev split).
    `saved` is the checkpoint to go on from.

    Raises:
        Interrupted: asked to stop; a checkpoint of the last finished step has been written.
        RunError: a loss or a gradient is not finite; the examples are named.
    """
    device = model.device
    optimizer = OPTIMIZERS[settings.optimizer.use](model.parameters(), **settings.optimizer.options)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    plan = Epoch(data, settings, seed=seed, epoch=0)
    total = settings.steps or settings.epochs * len(plan)
    factor = SCHEDULES[settings.schedule.use](total, **settings.schedule.options)
    autocast, scaler = _precision(settings.precision, device)
    average = Average(model, settings.average) if settings.average else None
    at, sums, carried = (
        Progressed(),
        Sums({name: model.head(name).loss_name for name in data}, device),
        dict[str, State](),
    )
    if saved is not None:
        at = _restore(saved, model, optimizer, scaler, average, sums, carried, device)
    clock = Clock()
    checkpoint.preflight(run.checkpoints, _tensors(model, average))

    while not at.ended:
        plan = Epoch(data, settings, seed=seed, epoch=at.epoch)
        for task, batches in plan.feed(at.turn, device):
            model.train()
            share = factor(at.step, at.to_minimise)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * share

            counts = []
            for batch in batches:
                state = carried.get(task) if batch.carry else None
                with autocast():
                    loss, count, encoded = model.loss(task, batch, state)
                if device.type == "cpu":
                    _check_finite(loss, at, task, batch)
                # Several batches a step share one mean, which is known only at the end: until then, gradients are sums.
                scale = data[task].weight * (1.0 if len(batches) > 1 else 1.0 / count)
                scaler.scale(loss * scale).backward()  # type: ignore[no-untyped-call]
                if data[task].task.window is not None:
                    carried[task] = tuple(tensor.detach() for tensor in encoded.state)
                counts.append(count)
                sums.add(task, loss, count)
                at.tokens, at.padded = at.tokens + batch.tokens, at.padded + batch.lengths.numel() * batch.x.shape[1]
            scaler.unscale_(optimizer)
            if len(batches) > 1:
                _scale_gradients(model, 1.0 / torch.stack(counts).sum())
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip or math.inf)
            scaler.step(optimizer)
            scaler.update()
            at.step, at.turn = at.step + 1, at.turn + 1
            run.beat()
            if average:
                average.update(at.step)

            epoch_ended = at.turn == len(plan)
            last = at.step == total or (epoch_ended and settings.steps is None and at.epoch + 1 == settings.epochs)
            progress.update(at.step, total, tokens=sum(batch.tokens for batch in batches), epoch=at.epoch + 1)
            if at.step % settings.log_every == 0 or last:
                values = sums.take()
                _check_logged(values, float(norm), at)
                speed = clock.lap(at)
                values |= {"lr": base_rates[0] * share, "grad/norm": float(norm)}
                _log(run, at.step, at.epoch + at.turn / len(plan), values | speed)
                progress.note(values)
            if epoch_ended and settings.histograms:
                run.board.histograms(at.step, model)
            optimizer.zero_grad()
            if epoch_ended:
                at.epoch, at.turn = at.epoch + 1, 0
                carried.clear()
            every = settings.evaluate_every
            if last or (epoch_ended if every is None else at.step % every == 0):
                with clock.stopped(), average.in_place() if average else contextlib.nullcontext():
                    outcomes = {name: evaluate(model, part, _judge(part)) for name, part in data.items()}
                    _judged(at, data, outcomes, run, progress)
                at.ended = last or (settings.patience is not None and at.waited > settings.patience)
            due = settings.save_every
            if at.evaluated == at.step or (due and at.step % due == 0) or stop.requested:
                _save(run, at, model, optimizer, scaler, average, sums, carried, keep=settings.keep)
            if stop.requested and not at.ended:
                raise Interrupted(f"stopped after step {at.step:,}; go on with --resume {run.folder}", stop.exit_code)
            if at.ended or epoch_ended:
                break
    return at


def _log(run: Run, step: int, epoch: float, values: Mapping[str, float]) -> None:
    """The same numbers to metrics.jsonl and to TensorBoard: nobody needs the one to read the other."""
    run.metrics(step, values, epoch=epoch)
    run.board.scalars(step, values)


def load_best(run: Run, model: Model) -> int:
    """Put the weights of the best checkpoint into the model (their average, where one was kept); its step."""
    path = checkpoint.pointed(run.checkpoints, "best")
    if path is None:
        raise RunError(f"{run.checkpoints}: no best checkpoint; the run ended before its first evaluation")
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["average"] if "average" in tensors else tensors["model"])
    return int(state["progress"]["step"])


def _judge(data: TaskData) -> str:
    """The split that chooses the checkpoint."""
    return "dev" if "dev" in data.splits else "train"


def _judged(
    at: Progressed, data: Mapping[str, TaskData], outcomes: Mapping[str, Outcome], run: Run, progress: Progress
) -> None:
    """Write down an evaluation and remember whether it is the best. The first task decides."""
    scores = {f"{n}/{_judge(data[n])}/{k}": v for n, outcome in outcomes.items() for k, v in outcome.scores.items()}
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
    _log(run, at.step, at.epoch, scores)
    for part_name, outcome in outcomes.items():
        show_outcome(run.board, at.step, data[part_name], _judge(data[part_name]), outcome)
    mark = "  best so far" if at.best_step == at.step else ""
    shown = "  ".join(f"{key} {value:.4f}" for key, value in scores.items())
    run.log(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")
    progress.say(f"step {at.step:,}  epoch {at.epoch}  {shown}{mark}")


class Sums:
    """Loss sums and counts of each task since the last log, on the device: nothing is read until it is logged."""

    def __init__(self, names: Mapping[str, str], device: torch.device) -> None:
        self.tensors = {name: torch.zeros(2, dtype=torch.float64, device=device) for name in names}
        self.names = names

    def add(self, task: str, loss: Tensor, count: Tensor) -> None:
        self.tensors[task] += torch.stack([loss.detach().double(), count.detach().double()])

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


class Clock:
    """Speed and padding since the last log; time spent on anything but training does not count."""

    def __init__(self) -> None:
        self.since = time.perf_counter()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def lap(self, at: Progressed) -> dict[str, float]:
        now = time.perf_counter()
        tokens, padded = at.tokens - at.logged_tokens, at.padded - at.logged_padded
        speed = {"time/tokens_per_s": tokens / max(1e-9, now - self.since), "data/padding": 1 - tokens / max(1, padded)}
        self.since, at.logged_tokens, at.logged_padded = now, at.tokens, at.padded
        return speed


def _precision(
    wanted: str, device: torch.device
) -> tuple[Callable[[], contextlib.AbstractContextManager[Any]], torch.amp.GradScaler]:
    """Autocast and a gradient scaler, the latter at work under fp16 only: bf16 has the range of fp32."""
    if wanted == "auto":
        wanted = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if dtype is torch.float16 and device.type == "cpu":
        raise RunError("train.precision: fp16 needs a GPU; use fp32, or device: cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    if dtype is None:
        return contextlib.nullcontext, scaler
    return lambda: torch.autocast(device.type, dtype=dtype), scaler


def _scale_gradients(model: Model, by: Tensor) -> None:
    torch._foreach_mul_([p.grad for p in model.parameters() if p.grad is not None], by)


def _check_finite(loss: Tensor, at: Progressed, task: str, batch: Batch) -> None:
    if not math.isfinite(loss.item()):
        shown = ", ".join(str(i) for i in list(batch.ids)[:8])
        raise RunError(
            f"step {at.step + 1}: the loss of task {task} is {loss.item()}; nothing of this step was applied. "
            f"Examples: {shown}. Lower train.optimizer.lr, or set train.clip"
        )


def _check_logged(values: Mapping[str, float], norm: float, at: Progressed) -> None:
    bad = [key for key, value in values.items() if not math.isfinite(value)]
    if bad or not math.isfinite(norm):
        raise RunError(
            f"step {at.step}: {', '.join(bad) or 'grad/norm'} is not finite; "
            "lower train.optimizer.lr, or set train.clip"
        )


def _save(
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
    optimizer_tensors, optimizer_state = checkpoint.pack(optimizer.state_dict())
    random_tensors, random_state = checkpoint.random_state()
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
        "random": random_state,
        "scaler": scaler.state_dict(),
    }
    run.flush()
    path = checkpoint.save(run.checkpoints, at.step, tensors, state)
    checkpoint.point(run.checkpoints, "last", path)
    if at.best_step == at.step:
        checkpoint.point(run.checkpoints, "best", path)
    checkpoint.retain(run.checkpoints, keep)


def _tensors(model: Model, average: Average | None) -> dict[str, Mapping[str, Tensor]]:
    """What a checkpoint will be made of, as far as its size goes: an optimiser may keep two numbers a weight."""
    weights = model.state_dict()
    moments = {f"{kind}.{name}": tensor for kind in ("first", "second") for name, tensor in weights.items()}
    return {"model": weights, "optimizer": moments} | ({"average": average.weights} if average else {})


def _restore(
    path: Path,
    model: Model,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    average: Average | None,
    sums: Sums,
    carried: dict[str, State],
    device: torch.device,
) -> Progressed:
    """Put everything back where `_save` found it."""
    tensors, state = checkpoint.load(path)
    model.load_state_dict(tensors["model"])
    optimizer.load_state_dict(checkpoint.unpack(tensors["optimizer"], state["optimizer"]))
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
    checkpoint.restore_random_state(tensors["random"], state["random"])
    return Progressed(**state["progress"])
