"""The training loop: one visible function that reads top to bottom.

Batch, loss, backward, clip, step, log, evaluate, save. What differs between tasks stays behind `loss` and `predict`;
what is written goes through the run. What is done at a checkpoint, at an evaluation and about a step that was not
finite stands in `seqkit.training.state`.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seqkit import fault_injection
from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted
from seqkit.inference.evaluate import evaluate
from seqkit.interfaces import State
from seqkit.io import atomic
from seqkit.model import Model
from seqkit.optim.gradients import clear_gradients, clip_gradients, dense_gradients, global_norm, scale_gradients
from seqkit.optim.optimizers import optimizer_of
from seqkit.optim.schedules import SCHEDULES
from seqkit.runs import checkpoint
from seqkit.runtime import random_state
from seqkit.settings import TrainSettings
from seqkit.training import nonfinite, nonfinite_source
from seqkit.training.averaging import AveragedWeights
from seqkit.training.counters import TrainingCounters
from seqkit.training.loss_sums import LossSums
from seqkit.training.recovery import handle_nonfinite, rollback_checkpoint, skip_bad_data
from seqkit.training.state import restore, save_all, tensors_of
from seqkit.training.step import forward_backward
from seqkit.training.validation import log_values, record_validation, selection_split

if TYPE_CHECKING:
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
from seqkit.runtime.precision import precision
from seqkit.training.throughput import Throughput


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
) -> TrainingCounters:
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
    plan = EpochPlan(data, settings, seed=seed, epoch=0)
    total = settings.steps or settings.epochs * len(plan)
    factor = SCHEDULES[settings.schedule.use](total, **settings.schedule.options)
    autocast, scaler = precision(settings.precision, device)
    average = AveragedWeights(model, settings.average) if settings.average else None
    at, sums, carried = (
        TrainingCounters(),
        LossSums({name: model.head(name).loss_name for name in data}, device),
        dict[str, State](),
    )
    if saved is not None:
        at = restore(saved, model, optimizer, scaler, average, sums, carried, device)
    clock, watch = Throughput(), nonfinite.NonFiniteMonitor(device)
    checkpoint.check_free_space(run.checkpoints, tensors_of(model, average))
    stop.check("stopped before the first step of this start; nothing is lost")

    def save() -> None:
        if not run.checkpoints.is_dir():  # to make it again would hide that everything in it is lost
            raise atomic.write_error(FileNotFoundError(errno.ENOENT, ""), run.checkpoints)
        save_all(run, at, model, optimizer, scaler, average, sums, carried, keep=settings.keep)

    def settle(due: bool, back: bool = False) -> None:
        """Between two steps: evaluate if it is time, save if it is time, leave if that was asked for."""
        at.due = due and at.evaluated != at.step
        if at.due:
            with (
                contextlib.suppress(Interrupted),  # it is made again on resume
                clock.stopped(),
                random_state.preserve_random_state(),
                average.in_place() if average else contextlib.nullcontext(),
            ):
                outcomes = {
                    name: evaluate(model, part, selection_split(part), stop=stop, tell=run.log)
                    for name, part in data.items()
                }
                record_validation(at, data, outcomes, run, progress)
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
        plan = EpochPlan(data, settings, seed=seed, epoch=at.epoch)
        for task, batches in plan.feed(at.turn, device):
            if not model.training:
                model.train()
            share = factor(at.step, at.to_minimise)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * share

            took = forward_backward(model, data[task], batches, carried.get(task), at.fits, autocast, scaler, run.log)
            grads = dense_gradients(parameters)
            scaler.unscale_(optimizer)
            if not took.divided:
                scale_gradients(grads, 1.0 / took.count)
            fault_injection.at("step", model)
            norm = global_norm(grads)
            step = nonfinite_source.StepRecord(at.step + 1, task, took.batches, took.loss, norm, at.fits.get(task))
            # A scaler at work makes infinite gradients now and then, passes over them, and lowers its scale.
            fine = took.loss.isfinite() if scaler.is_enabled() else step.fine()
            watch.add(step, fine)
            bad = list(watch.bad())
            if bad and watch.at_once:
                step.gradients = nonfinite_source.broken_gradients(model)
                clear_gradients(parameters)
            else:
                if not watch.at_once and not scaler.is_enabled():
                    optimizer.found_inf = (~fine).float()  # type: ignore[attr-defined]
                clip_gradients(grads, settings.clip, norm)
                scaler.step(optimizer)
                scaler.update()
            sums.add(task, took.loss, took.count, fine)
            if took.state is not None:
                carried[task] = nonfinite.state(took.state) if settings.on_nan == "skip" else took.state
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
                back = handle_nonfinite(model, bad, at, settings, run, progress, autocast)
            else:
                back = bool(bad) and handle_nonfinite(model, bad, at, settings, run, progress, autocast)
            if back:
                path = rollback_checkpoint(run, at, settings)
                at = skip_bad_data(at, restore(path, model, optimizer, scaler, average, sums, carried, device), run)
                carried.clear()
                watch.forget()
            last = at.step == total or ends
            progress.update(at.step, total, tokens=sum(batch.tokens for batch in batches), epoch=at.epoch + 1)
            if logs and not back:
                values = sums.take()
                speed = clock.lap(at)
                values |= {"lr": base_rates[0] * share} | _troubles(at)
                values |= {"grad/norm": float(norm)} if not bad else {}
                log_values(run, at.step, at.epoch + at.turn / len(plan), values | speed)
                progress.note(values)
            if epoch_ended and settings.histograms:
                run.board.histograms(at.step, model)
            clear_gradients(parameters)
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


def _troubles(at: TrainingCounters) -> dict[str, float]:
    """Counts of what went wrong, from the first time on."""
    counts = {"train/skipped": float(at.skipped), "train/rollbacks": float(at.rollbacks)}
    return {name: count for name, count in counts.items() if count}


def _is_last(at: TrainingCounters, total: int, settings: TrainSettings) -> bool:
    """Whether the steps or the epochs are used up, between two steps."""
    return at.step == total or (settings.steps is None and at.epoch == settings.epochs and at.turn == 0)
