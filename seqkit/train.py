"""The training loop: one visible function that reads top to bottom.

Batch, loss, backward, clip, step, log, evaluate, save. What differs between tasks stays behind `loss` and `predict`;
what is written goes through the run. Everything a resumed run needs is in `Progressed` and in the saved tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seqkit import checkpoint, durable, faults, finite, states
from seqkit.backward import clip, gradients, norm_of, scale
from seqkit.batching import Epoch, TaskData
from seqkit.errors import Interrupted, RunError
from seqkit.evaluate import Outcome, better, evaluate, lower_is_better, score_name
from seqkit.lazy import forget, gather
from seqkit.model import Model
from seqkit.modules import State
from seqkit.optim import SCHEDULES, optimizer_of
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
        RunError: a loss, a gradient or the weights are not finite (the examples and the module are named), or a single
            example does not fit into memory.
    """
    device = model.device
    optimizer, parameters = optimizer_of(settings.optimizer, model), list(model.parameters())
    base_rates = [group["lr"] for group in optimizer.param_groups]
    plan = Epoch(data, settings, seed=seed, epoch=0)
    total = settings.steps or settings.epochs * len(plan)
    factor = SCHEDULES[settings.schedule.use](total, **settings.schedule.options)
    autocast, scaler = precision(settings.precision, device)
    average = Average(model, settings.average) if settings.average else None
    at, sums, carried = (
        Progressed(),
        Sums({name: model.head(name).loss_name for name in data}, device),
        dict[str, State](),
    )
    if saved is not None:
        at = _restore(saved, model, optimizer, scaler, average, sums, carried, device)
    clock, watch = Clock(), finite.Watch(device)
    checkpoint.preflight(run.checkpoints, _tensors(model, average))
    stop.check("stopped before the first step of this start; nothing is lost")

    def save() -> None:
        if not run.checkpoints.is_dir():  # to make it again would hide that everything in it is lost
            raise durable.cannot_write(FileNotFoundError(errno.ENOENT, ""), run.checkpoints)
        _save(run, at, model, optimizer, scaler, average, sums, carried, keep=settings.keep)

    def settle(due: bool, back: bool = False) -> None:
        """Between two steps: evaluate if it is time, save if it is time, leave if that was asked for."""
        at.due = due and at.evaluated != at.step
        if at.due:
            with (
                contextlib.suppress(Interrupted),  # it is made again on resume
                clock.stopped(),
                states.nothing_drawn(),
                average.in_place() if average else contextlib.nullcontext(),
            ):
                outcomes = {
                    name: evaluate(model, part, _judge(part), stop=stop, tell=run.log) for name, part in data.items()
                }
                _judged(at, data, outcomes, run, progress)
                at.due = False
        if due and not at.due:
            at.ended = _is_last(at, total, settings) or bool(settings.patience and at.waited > settings.patience)
        every = settings.save_every
        if at.evaluated == at.step or (every and at.step % every == 0) or back or stop.requested:
            save()
        if stop.requested and not at.ended:
            raise Interrupted(f"stopped after step {at.step:,}; go on with --resume {run.folder}", stop.exit_code)

    if settings.on_nan == "rollback" and saved is None:
        save()  # where a run goes back to that has not come to its first checkpoint
    if at.due:
        settle(True)
    while not at.ended:
        plan = Epoch(data, settings, seed=seed, epoch=at.epoch)
        for task, batches in plan.feed(at.turn, device):
            if not model.training:
                model.train()
            share = factor(at.step, at.to_minimise)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * share

            took = gradients(model, data[task], batches, carried.get(task), at.fits, autocast, scaler, run.log)
            grads = gather(parameters)
            scaler.unscale_(optimizer)
            if not took.divided:
                scale(grads, 1.0 / took.count)
            faults.at("step", model)
            norm = norm_of(grads)
            step = finite.Step(at.step + 1, task, took.batches, took.loss, norm, at.fits.get(task))
            # A scaler at work makes infinite gradients now and then, passes over them, and lowers its scale.
            fine = took.loss.isfinite() if scaler.is_enabled() else step.fine()
            watch.add(step, fine)
            bad = list(watch.bad())
            if bad and watch.at_once:
                step.gradients = finite.broken_gradients(model)
                forget(parameters)
            else:
                if not watch.at_once and not scaler.is_enabled():
                    optimizer.found_inf = (~fine).float()  # type: ignore[attr-defined]
                clip(grads, settings.clip, norm)
                scaler.step(optimizer)
                scaler.update()
            sums.add(task, took.loss, took.count, fine)
            if took.state is not None:
                carried[task] = finite.state(took.state) if settings.on_nan == "skip" else took.state
            at.step, at.turn = at.step + 1, at.turn + 1
            at.tokens += sum(batch.tokens for batch in batches)
            at.padded += sum(batch.lengths.numel() * batch.x.shape[1] for batch in batches)
            run.beat()
            if average:
                average.update(at.step)

            epoch_ended = at.turn == len(plan)
            ends = epoch_ended and settings.steps is None and at.epoch + 1 == settings.epochs
            logs = at.step % settings.log_every == 0 or at.step == total or ends
            if logs or epoch_ended or stop.requested or _pauses(settings, at.step):
                bad += watch.bad(wait=True)
                back = _sound(model, bad, at, settings, run, progress, autocast)
            else:
                back = bool(bad) and _sound(model, bad, at, settings, run, progress, autocast)
            if back:
                path = _goal(run, at, settings)
                at = _beyond(at, _restore(path, model, optimizer, scaler, average, sums, carried, device), run)
                carried.clear()
                watch.forget()
            last = at.step == total or ends
            progress.update(at.step, total, tokens=sum(batch.tokens for batch in batches), epoch=at.epoch + 1)
            if logs and not back:
                values = sums.take()
                speed = clock.lap(at)
                values |= {"lr": base_rates[0] * share} | _troubles(at)
                values |= {"grad/norm": float(norm)} if not bad else {}
                _log(run, at.step, at.epoch + at.turn / len(plan), values | speed)
                progress.note(values)
            if epoch_ended and settings.histograms:
                run.board.histograms(at.step, model)
            forget(parameters)
            if epoch_ended:
                at.epoch, at.turn = at.epoch + 1, 0
                carried.clear()
            every = settings.evaluate_every
            settle(last or (epoch_ended if every is None else at.step % every == 0), back)
            if at.ended or epoch_ended or back:
                break
    return at


def _pauses(settings: TrainSettings, step: int) -> bool:
    """Whether the run evaluates or saves after this step, beside what the ends of epochs ask for."""
    return any(every is not None and step % every == 0 for every in (settings.evaluate_every, settings.save_every))


def _troubles(at: Progressed) -> dict[str, float]:
    """Counts of what went wrong, from the first time on."""
    counts = {"train/skipped": float(at.skipped), "train/rollbacks": float(at.rollbacks)}
    return {name: count for name, count in counts.items() if count}


def _is_last(at: Progressed, total: int, settings: TrainSettings) -> bool:
    """Whether the steps or the epochs are used up, between two steps."""
    return at.step == total or (settings.steps is None and at.epoch == settings.epochs and at.turn == 0)


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


def precision(
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


def _sound(
    model: Model,
    bad: Sequence[finite.Step],
    at: Progressed,
    settings: TrainSettings,
    run: Run,
    progress: Progress,
    autocast: finite.Autocast,
) -> bool:
    """Deal with steps that were not finite as `train.on_nan` says. True: the run must go back to a checkpoint.

    Raises:
        RunError: the policy is to stop, or it has come to its limit, or what is broken cannot be skipped.
    """
    for step in bad:
        finding = finite.diagnose(model, step, autocast)
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
    if broken := finite.broken_weights(model):
        what = f"step {at.step}: the weights {', '.join(broken[:3])} are not finite"
        if settings.on_nan != "rollback":
            raise RunError(f"{what}; the checkpoints before it are sound. {_HINT}")
        run.log(what)
        return True
    return False


_HINT = "Lower train.optimizer.lr, set train.clip, or choose another train.on_nan (stop, skip, rollback)"


def _goal(run: Run, at: Progressed, settings: TrainSettings) -> Path:
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


def _beyond(at: Progressed, back: Progressed, run: Run) -> Progressed:
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
    _point(path, at)
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
    at = Progressed(**state["progress"])
    # Whoever saved it may have been killed before the pointers were set.
    _point(path, at)
    return at


def _point(path: Path, at: Progressed) -> None:
    """Let `last`, and `best` if it is the best so far, mean the checkpoint of this step."""
    checkpoint.point(path.parent, "last", path)
    if at.best_step == at.step:
        checkpoint.point(path.parent, "best", path)
