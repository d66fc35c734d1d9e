"""The training loop, from top to bottom: batch, forward and backward, check, clip, step, log, validate, save, stop.

What differs between tasks is behind `Model.loss` and `Model.predict`. All that the loop changes is in `TrainingState`;
all that it writes goes through the run folder.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted
from seqkit.model import Model
from seqkit.optim.gradients import clear_gradients, clip_gradients, global_norm
from seqkit.runs import checkpoint
from seqkit.runtime.ranks import ALONE, Ranks
from seqkit.settings import InitSettings, TrainSettings
from seqkit.training import nonfinite
from seqkit.training.counters import TrainingCounters
from seqkit.training.layer_statistics import LayerStatistics, weights_and_gradients
from seqkit.training.memory_monitor import MemoryMonitor
from seqkit.training.nonfinite_source import nonfinite_gradients
from seqkit.training.recovery import recover
from seqkit.training.state import PlanStart, TrainingState
from seqkit.training.step import forward_backward, mean_gradients, step_graphs
from seqkit.training.throughput import Throughput
from seqkit.training.validation import log_values, validate

if TYPE_CHECKING:
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run


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
    init: InitSettings | None = None,
    plan_start: PlanStart | None = None,
    ranks: Ranks = ALONE,
) -> TrainingCounters:
    """Train until the steps, the epochs or the patience are used up. The best and the last weights are checkpoints.

    The best checkpoint is chosen by the first task's `best` score on dev (on train where there is no dev split), or by
    those of all tasks (`train.choose_by`), and of equal scores by the lower loss.

    Args:
        model: on the device to train on.
        data: the tasks by name.
        settings: the recipe's `train:` section.
        run: the run folder that numbers and checkpoints go to.
        seed: of the recipe; the order of the data depends on it.
        init: of the recipe: how weights that were taken from another model are trained.
        stop: listens to signals.
        progress: shows the steps.
        saved: the checkpoint to go on from; None: from the first step.
        plan_start: where data or batches were last changed within the run, if they were.
        ranks: the processes that train the model together; each calls this, and each gets the same weights.

    Raises:
        Interrupted: asked to stop; a checkpoint of the last finished step has been written.
        RunError: a loss, a gradient or the weights are not finite (the examples and the module are named), or a single
            example does not fit into memory.
    """
    state = TrainingState.create(
        model, data, settings, seed=seed, init=init, plan_start=plan_start, ranks=ranks, stop=stop
    )
    if saved is not None:
        _go_on_from(state, saved, plan_start, progress)
    _begin(state, run, stop)
    if settings.on_nan == "rollback" and saved is None:
        state.save(run)  # until there is another checkpoint, a rollback goes back to this one
    if state.counters.due:  # the run was stopped during this evaluation
        validate(state, data, run, progress, stop)
        state.save(run)
        _stop_if_requested(state, run, stop)
    throughput, layers = Throughput(model.device), LayerStatistics(model, settings.log_every)
    memory = MemoryMonitor(state, data, run)
    while not state.counters.ended:
        plan = EpochPlan(data, settings, seed=seed, epoch=state.counters.epoch)
        monitor = nonfinite.NonFiniteMonitor(model.device)
        state.transferred.begin_epoch(state.counters.epoch)
        model.train()
        # The counter `turn` says how many steps of this epoch are done: a resumed run starts in the middle.
        for task, batches in plan.batches_from(state.counters.turn, model.device):
            # Forward and backward.
            throughput.begin(is_measured=(state.counters.step + 1) % settings.log_every == 0)
            lr = state.set_learning_rate()
            result = forward_backward(state, data[task], batches, run.log, throughput.mark)
            gradients = mean_gradients(state, result)
            norm = global_norm(gradients)

            # Check, clip, step. A GPU answers some steps later; meanwhile its optimiser skips what is not finite.
            record = nonfinite.StepRecord(state.counters.step + 1, task, result, norm, state.scaler.is_enabled())
            failed = monitor.check(record, state.optimizer)
            if record in failed:
                record.bad_gradients = nonfinite_gradients(model)
                clear_gradients(state.parameters)
            else:
                layers.before_step(state.counters.step + 1)
                memory.observe(record, plan)
                clip_gradients(gradients, settings.clip, norm)
                state.scaler.step(state.optimizer)
                state.scaler.update()
                throughput.mark("optimiser")

            # Count.
            state.loss_sums.add_step(result.by_task, record.is_finite)
            state.end_step(task, batches, result.carried)
            run.beat()

            # Skip or roll back what was not finite. Nothing is logged, evaluated or saved before all checks are back.
            epoch_ended = state.counters.turn == len(plan)
            is_pause = epoch_ended or state.is_anything_due or stop.requested
            failed += monitor.failed(wait=is_pause)
            memory.settle(wait=is_pause)
            rolled_back = bool(failed or is_pause) and recover(state, failed, run, progress)

            # Log.
            tokens = sum(batch.tokens for batch in batches)
            progress.update(state.counters.step, state.total_steps, tokens=tokens, epoch=state.counters.epoch + 1)
            if epoch_ended:
                state.end_epoch()
            if state.is_log_due and not rolled_back:
                values = state.loss_sums.take_means() | {"lr": lr} | state.counters.failures()
                values |= {"grad/norm": float(norm)} if not failed else {}
                progress.note(values)
                _log(state, run, values | throughput.lap(state.counters), len(plan), layers, throughput)
            if epoch_ended and settings.histograms:
                run.board.histograms(state.counters.step, weights_and_gradients(model))
            clear_gradients(state.parameters)

            # Validate, save, stop.
            if state.is_validation_due:
                with throughput.paused(), progress.paused():
                    validate(state, data, run, progress, stop)
            if state.is_save_due or rolled_back or stop.requested:
                state.save(run)
            _stop_if_requested(state, run, stop)
            throughput.end()
            if state.counters.ended or epoch_ended or rolled_back:
                break
    memory.finish(progress)
    return state.counters


def _go_on_from(state: TrainingState, saved: Path, plan_start: PlanStart | None, progress: Progress) -> None:
    """Load a checkpoint of this run, whose data or batches were last changed at `plan_start`, if they were."""
    if not state.load(saved, changed=plan_start is not None):
        progress.warn(
            f"{saved}: written by a seqkit that drew random numbers in another way; the steps that follow have other "
            "dropout than they would have had there"
        )
    if plan_start is not None and state.counters.step <= plan_start.step:
        state.restart_epoch()
    # A run that had ended goes on if it has been given more steps, more epochs or more patience since.
    state.counters.ended = state.counters.ended and (state.is_last_step or state.is_out_of_patience)


def _begin(state: TrainingState, run: Run, stop: Interrupts) -> None:
    """All processes begin with the same weights, there is room for checkpoints, and nobody has asked to stop."""
    state.begin_together()
    state.graphs = step_graphs(state, run.log)
    checkpoint.check_free_space(run.checkpoints, state.checkpoint_tensors())
    stop.check("stopped before the first step of this start; nothing is lost")


def _log(
    state: TrainingState,
    run: Run,
    values: dict[str, float],
    turns: int,
    layers: LayerStatistics,
    throughput: Throughput,
) -> None:
    """Write numbers of this step, in an epoch of so many turns; TensorBoard has more of them."""
    counters = state.counters
    log_values(run, counters.step, counters.epoch + counters.turn / turns, values, on_board=state.is_shown)
    if state.is_shown:
        run.board.scalars(counters.step, layers.after_step() | throughput.resources())


def _stop_if_requested(state: TrainingState, run: Run, stop: Interrupts) -> None:
    if stop.requested and not state.counters.ended:
        message = f"stopped after step {state.counters.step:,}; go on with --resume {shlex.quote(str(run.folder))}"
        raise Interrupted(message, stop.exit_code)
