"""What happens after a step that was not finite: stop, skip it, or go back to a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqkit.errors import RunError
from seqkit.runs import checkpoint
from seqkit.settings import TrainSettings
from seqkit.training import nonfinite_source
from seqkit.training.counters import TrainingCounters
from seqkit.training.nonfinite import StepRecord
from seqkit.training.state import TrainingState

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

_HINT = "Lower train.optimizer.lr, set train.clip, or choose another train.on_nan (stop, skip, rollback)"


def recover(state: TrainingState, failed: Sequence[StepRecord], run: Run, progress: Progress) -> bool:
    """Deal with steps that were not finite, and with weights that are not, as `train.on_nan` says.

    Returns:
        Whether the state is now that of the newest checkpoint, with the next batch the one after the bad one.

    Raises:
        RunError: the policy is to stop, or it has come to its limit, or what is broken cannot be skipped.
    """
    if not handle_nonfinite(state, failed, run, progress):
        return False
    path = state.ranks.share(lambda: rollback_checkpoint(run, state.counters, state.settings))
    failed_counters = state.counters
    state.load(path)
    skip_bad_data(state.counters, failed_counters, run)
    state.carried.clear()
    return True


def handle_nonfinite(state: TrainingState, failed: Sequence[StepRecord], run: Run, progress: Progress) -> bool:
    """Count and report skipped steps. Returns whether the run must go back to a checkpoint.

    Raises:
        RunError: as `recover`.
    """
    counters, settings = state.counters, state.settings
    for record in failed:
        source = nonfinite_source.find_source(
            state.model, record, functools.partial(state.forward_pass, step=record.number - 1)
        )
        source = nonfinite_source.most_telling(state.ranks.collect(source))
        message = f"step {record.number}: {record}; nothing of this step was applied. {source}"
        if settings.on_nan == "rollback":
            run.log(message)
            return True
        if settings.on_nan == "stop":
            raise RunError(f"{message}. {_HINT}")
        if source.kind == "weights":
            raise RunError(f"{message}. Skipping steps cannot repair weights; set train.on_nan: rollback")
        counters.bad_in_row = counters.bad_in_row + 1 if record.number == counters.bad_at + 1 else 1
        counters.bad_at, counters.skipped = record.number, counters.skipped + 1
        if counters.bad_in_row > settings.nan_limit:
            raise RunError(f"{message}. More than {settings.nan_limit} in a row (train.nan_limit). {_HINT}")
        run.log(f"{message}. Skipped: {counters.skipped} so far")
        progress.say(f"step {record.number:,}: {record}; skipped")
    if names := nonfinite_source.nonfinite_weights(state.model):
        message = f"step {counters.step}: the weights {', '.join(names[:3])} are not finite"
        if settings.on_nan != "rollback":
            raise RunError(f"{message}; earlier checkpoints are not affected. {_HINT}")
        run.log(message)
        return True
    return False


def rollback_checkpoint(run: Run, counters: TrainingCounters, settings: TrainSettings) -> Path:
    """The checkpoint to go back to.

    Raises:
        RunError: there is none, or the run has gone back to it too often.
    """
    path = checkpoint.newest(run.checkpoints, tell=run.log)
    if path is None:
        raise RunError(f"step {counters.step}: nothing to go back to: {run.checkpoints} has no valid checkpoint")
    if counters.bad_at == checkpoint.step_of(path) and counters.bad_in_row >= settings.nan_limit:
        raise RunError(
            f"step {counters.step}: the run has gone back to {path.name} {counters.bad_in_row} times without coming to "
            f"another checkpoint (train.nan_limit: {settings.nan_limit}). {_HINT}"
        )
    return path


def skip_bad_data(counters: TrainingCounters, failed: TrainingCounters, run: Run) -> None:
    """Go on from the checkpoint's weights, with the batch after the bad one.

    Args:
        counters: of the checkpoint; what the rollback counts, and the position in the data, is written into them.
        failed: what the counters were before the rollback.
    """
    counters.bad_in_row = failed.bad_in_row + 1 if failed.bad_at == counters.step else 1
    counters.bad_at, counters.rollbacks, counters.skipped = counters.step, failed.rollbacks + 1, failed.skipped
    counters.epoch, counters.turn, counters.fits = failed.epoch, failed.turn, failed.fits
    run.rewind(counters.step)
    run.log(
        f"went back from step {failed.step} to the checkpoint of step {counters.step}; goes on with batch "
        f"{failed.turn + 1} of epoch {failed.epoch + 1}, the one after the bad one"
    )
