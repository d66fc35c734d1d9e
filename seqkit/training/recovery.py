"""What happens after a step that was not finite: stop, skip it, or go back to a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqkit.errors import RunError
from seqkit.model import Model
from seqkit.runs import checkpoint
from seqkit.settings import TrainSettings
from seqkit.training import nonfinite_source

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run
from seqkit.training.counters import TrainingCounters


def handle_nonfinite(
    model: Model,
    bad: Sequence[nonfinite_source.StepRecord],
    at: TrainingCounters,
    settings: TrainSettings,
    run: Run,
    progress: Progress,
    autocast: nonfinite_source.Autocast,
) -> bool:
    """Deal with steps that were not finite as `train.on_nan` says. True: the run must go back to a checkpoint.

    Raises:
        RunError: the policy is to stop, or it has come to its limit, or what is broken cannot be skipped.
    """
    for step in bad:
        finding = nonfinite_source.find_source(model, step, autocast)
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
    if broken := nonfinite_source.broken_weights(model):
        what = f"step {at.step}: the weights {', '.join(broken[:3])} are not finite"
        if settings.on_nan != "rollback":
            raise RunError(f"{what}; the checkpoints before it are sound. {_HINT}")
        run.log(what)
        return True
    return False


_HINT = "Lower train.optimizer.lr, set train.clip, or choose another train.on_nan (stop, skip, rollback)"


def rollback_checkpoint(run: Run, at: TrainingCounters, settings: TrainSettings) -> Path:
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


def skip_bad_data(at: TrainingCounters, back: TrainingCounters, run: Run) -> TrainingCounters:
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
