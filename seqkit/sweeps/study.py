"""Carrying out a sweep: trials that several processes and machines share through one folder, and that survive kills.

    sweeps/lr/
      journal.log      Optuna's journal: every trial with its options, scores by step, and how it ended
      sweep.json       what is searched; a sweep that goes on must search the same
      trial-0000/      the run folder of each trial
      trial-0000.lock  held by the process that works on the trial, and released when it ends, however it ends
      best.yaml        the resolved recipe of the best trial so far

A trial whose process was killed is not lost and not repeated: the next process that looks for work takes it over, and
its run goes on from its last checkpoint. So a sweep of N trials ends with N trials. Locks are `flock`s, which the
system releases with the process, on one machine and on shared file systems that have them.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seqkit.errors import Interrupted, MissingExtra, SeqkitError, UsageError
from seqkit.io import atomic
from seqkit.recipe import Recipe
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.lock import describe_holder
from seqkit.runs.progress import Progress
from seqkit.runs.records import is_run_folder, read_history, read_status
from seqkit.runs.run_folder import Run
from seqkit.sweeps.spec import Choices, Sweep
from seqkit.types import JSON

if TYPE_CHECKING:
    import optuna

JOURNAL: Final = "journal.log"
BEST: Final = "best.yaml"

_STARTUP: Final = 5
"""So many trials finish before one is pruned."""


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: from 0.
        state: waiting, running, finished, pruned or failed.
        value: the score that decides; None until it has finished. Of a pruned trial, the last one on dev.
        options: what was chosen for it.
        folder: its run folder.
    """

    number: int
    state: str
    value: float | None
    options: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has come to.

    Attributes:
        key: the score that decides.
        trials: all of them, by number.
        best: the best finished one; None if none has finished.
        folder: of the sweep.
    """

    key: str
    trials: list[Trial]
    best: Trial | None
    folder: Path

    def facts(self) -> JSON:
        """As JSON."""
        rows = [
            {
                "number": trial.number,
                "state": trial.state,
                "value": trial.value,
                "options": dict(trial.options),
                "run": str(trial.folder),
            }
            for trial in self.trials
        ]
        best = None if self.best is None else self.best.number
        recipe = None if self.best is None else str(self.folder / BEST)
        return {"score": self.key, "trials": rows, "best": best, "best_recipe": recipe}


def run_sweep(sweep: Sweep, folder: Path, progress: Progress, *, tell: Callable[[str], None]) -> SweepResult:
    """Work on a sweep until no trial is left for this process.

    Args:
        sweep: what is searched.
        folder: of the sweep; one that exists is gone on with.
        progress: shows the trainings.
        tell: gets a line a trial.

    Raises:
        Interrupted: asked to stop; the trial is gone on with by the next process.
        MissingExtra: Optuna is not installed.
        UsageError: the folder is of another sweep.
    """
    optuna = import_optuna()
    study = _open_study(optuna, sweep, folder)
    while True:
        with _held(folder / "claim.lock"):
            claimed = _claim(optuna, study, sweep, folder)
        if claimed is None:
            break
        trial, lock = claimed
        try:
            _work_on(optuna, study, trial, sweep, folder, progress, tell)
        finally:
            os.close(lock)
        with _held(folder / "claim.lock"):
            _write_best(read_result(study, sweep, folder))
    return read_result(study, sweep, folder)


def import_optuna() -> Any:
    """Optuna, which says nothing by itself.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtra("seqkit sweep", "sweep") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _open_study(optuna: Any, sweep: Sweep, folder: Path) -> Any:
    """The study in the folder, or a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder / "claim.lock"):
        facts, before = sweep.facts(), atomic.read_json(folder / "sweep.json")
        if before is None:
            if any(path.name not in ("claim.lock", JOURNAL) for path in folder.iterdir()):
                raise UsageError(f"--out {folder}: is neither empty nor the folder of a sweep")
            atomic.write_json(folder / "sweep.json", facts)
        elif before != atomic.json_safe(facts):
            changed = [key for key in facts if not isinstance(before, dict) or before.get(key) != facts[key]]
            raise UsageError(
                f"{folder}: is of a sweep with another {', '.join(changed)}; choose another folder with --out "
                "(only the number of trials may change)"
            )
        _drop_half_a_line(folder / JOURNAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            backend = optuna.storages.journal.JournalFileBackend(
                str(folder / JOURNAL), _lock_of(folder / "journal.lock")
            )
            storage = optuna.storages.JournalStorage(backend)
            return optuna.create_study(
                storage=storage,
                study_name=sweep.name,
                load_if_exists=True,
                direction="minimize" if sweep.lower else "maximize",
                pruner=_pruner(optuna, sweep),
            )


def _pruner(optuna: Any, sweep: Sweep) -> Any:
    if sweep.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=0, n_min_trials=_STARTUP - 1)


def _sampler(optuna: Any, sweep: Sweep, number: int) -> Any:
    """The sampler of one trial. Its seed depends on the number alone, so that a restart repeats no trial."""
    seed = (sweep.seed * 1_000_003 + number) % 2**32
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def _claim(optuna: Any, study: optuna.Study, sweep: Sweep, folder: Path) -> tuple[Any, int] | None:
    """A trial for this process, with its lock: one whose process is gone, or a new one; None if there is none left."""
    states = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=False)
    for frozen in trials:
        if frozen.state == states.RUNNING and (lock := _take_over(folder, frozen.number)) is not None:
            study.sampler = _sampler(optuna, sweep, frozen.number)
            return optuna.trial.Trial(study, frozen._trial_id), lock
    # One that was planned by a process that was killed before it began.
    waiting = [frozen.number for frozen in trials if frozen.state == states.WAITING]
    if not waiting and len(trials) >= sweep.trials:
        return None
    number = waiting[0] if waiting else len(trials)
    lock = _try_lock(_lock_path(folder, number))
    if lock is None:
        raise UsageError(
            f"{_lock_path(folder, number)}: is locked, but there is no such trial; is the journal another?"
        )
    if sweep.sampler == "grid":
        study.enqueue_trial(sweep.grid[number])
    study.sampler = _sampler(optuna, sweep, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return study.ask(), lock


def _take_over(folder: Path, number: int) -> int | None:
    """The lock of a trial whose process is gone; None if the process lives, here or on another machine."""
    lock = _try_lock(_lock_path(folder, number))
    if lock is None:
        return None
    if describe_holder(read_status(_run_folder(folder, number))):  # locks may not reach other machines
        os.close(lock)
        return None
    return lock


def _options_of(optuna: Any, trial: Any, sweep: Sweep) -> dict[str, str]:
    """What is chosen for a trial, as a recipe writes it. What was chosen before a kill stays."""
    values: dict[str, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for key, parameter in sweep.search.items():
            if isinstance(parameter, Choices):
                values[key] = trial.suggest_categorical(key, parameter.values)
            elif parameter.is_whole:
                step = int(parameter.step or 1)
                values[key] = repr(trial.suggest_int(key, parameter.low, parameter.high, log=parameter.log, step=step))
            else:
                value = trial.suggest_float(key, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
                values[key] = repr(value)
    return values


def _work_on(
    optuna: Any,
    study: optuna.Study,
    trial: Any,
    sweep: Sweep,
    folder: Path,
    progress: Progress,
    tell: Callable[[str], None],
) -> None:
    """Train a trial to its end, or go on with it, and record how it ended."""
    states = optuna.trial.TrialState
    values = _options_of(optuna, trial, sweep)
    shown = " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in values.items())
    recipe = sweep.load_recipe(values)
    try:
        value, pruned_at = _train(recipe, sweep, trial, _run_folder(folder, trial.number), progress)
    except Interrupted:
        raise
    except SeqkitError as error:
        study.tell(trial, state=states.FAIL)
        tell(f"trial {trial.number}: failed: {str(error).partition(chr(10))[0]}  ({shown})")
        return
    if pruned_at is not None:
        study.tell(trial, state=states.PRUNED)
        tell(f"trial {trial.number}: pruned after step {pruned_at:,}, {sweep.key} {value:.4f}  ({shown})")
    elif value != value:
        study.tell(trial, state=states.FAIL)
        tell(f"trial {trial.number}: failed: {sweep.key} is not a number  ({shown})")
    else:
        study.tell(trial, value)
        tell(f"trial {trial.number}: {sweep.key} {value:.4f}  ({shown})")


def _train(recipe: Recipe, sweep: Sweep, trial: Any, folder: Path, progress: Progress) -> tuple[float, int | None]:
    """The score of a trial, and the step at which it was pruned, if it was."""
    from seqkit.experiments.run_recipe import run_recipe

    if is_run_folder(folder):
        if read_status(folder).get("state") == "finished":  # killed after its end, before that was recorded
            return _score_of(folder, sweep), None
        run = Run.resume(folder)
        resumes = True
    else:
        run = Run.create(recipe.name, text=recipe.text, resolved=recipe.resolved(), out=folder)
        resumes = False
    with Interrupts() as stop:
        watched = _Watched(trial, sweep, stop)
        run.watch(watched.see)
        try:
            result = run_recipe(recipe, run, progress, resume=resumes, stop=stop)
        except Interrupted:
            if watched.pruned_at is None:
                raise
            run.set_status("interrupted", reason=f"pruned after step {watched.pruned_at:,}: the median trial is better")
            return watched.last, watched.pruned_at
    return result.scores.get(sweep.key, _best_so_far(folder, sweep)), None


class _Watched:
    """Reports the scores of a trial's evaluations, and asks its run to stop if it should be pruned."""

    def __init__(self, trial: Any, sweep: Sweep, stop: Interrupts) -> None:
        self._trial, self._sweep, self._stop = trial, sweep, stop
        self.last = float("nan")
        self.pruned_at: int | None = None

    def see(self, step: int, values: Mapping[str, float]) -> None:
        """Called with the numbers that the run has logged."""
        if self._sweep.key not in values:
            return
        self.last = values[self._sweep.key]
        known = self._trial.storage.get_trial(self._trial._trial_id).intermediate_values
        if step not in known:  # a resumed run evaluates the step of its checkpoint again
            self._trial.report(self.last, step)
        if self._trial.should_prune():
            self.pruned_at = step
            self._stop.request()


def _score_of(folder: Path, sweep: Sweep) -> float:
    scores = atomic.read_json(folder / "metrics.json")
    if isinstance(scores, dict) and isinstance(scores.get(sweep.key), int | float):
        return float(scores[sweep.key])
    return _best_so_far(folder, sweep)


def _best_so_far(folder: Path, sweep: Sweep) -> float:
    """The best score of a run, where its metrics.json has none: of a task without dev."""
    values = [row[sweep.key] for row in read_history(folder) if sweep.key in row]
    return (min if sweep.lower else max)(values, default=float("nan"))


# Results


def read_result(study: optuna.Study, sweep: Sweep, folder: Path) -> SweepResult:
    """What the sweep has come to so far."""
    names = {"COMPLETE": "finished", "FAIL": "failed"}
    trials = []
    for frozen in study.get_trials(deepcopy=False):
        steps = sorted(frozen.intermediate_values)
        value = frozen.value if frozen.value is not None else (frozen.intermediate_values[steps[-1]] if steps else None)
        options = {
            key: value if isinstance(sweep.search[key], Choices) else repr(value)
            for key, value in frozen.params.items()
            if key in sweep.search
        }
        state = names.get(frozen.state.name, frozen.state.name.lower())
        trials.append(Trial(frozen.number, state, value, options, _run_folder(folder, frozen.number)))
    finished = [trial for trial in trials if trial.state == "finished" and trial.value is not None]
    sign = 1 if sweep.lower else -1
    best = min(finished, key=lambda trial: (sign * float(trial.value or 0.0), trial.number), default=None)
    return SweepResult(sweep.key, trials, best, folder)


def _write_best(result: SweepResult) -> None:
    """Write the recipe of the best trial so far, which trains it again."""
    if result.best is None:
        return
    text = (result.best.folder / "resolved.yaml").read_text("utf-8")
    score = f"{result.key} {result.best.value:.4f}"
    head = f"# The best of {len(result.trials)} trials: trial {result.best.number}, {score}.\n"
    atomic.write(result.folder / BEST, head + text)


# Files


def _run_folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}"


def _lock_path(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:04d}.lock"


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Only one process at a time is inside."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _try_lock(path: Path) -> int | None:
    """The open file of a lock that is held until it is closed; None if another process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _lock_of(path: Path) -> Any:
    """A lock for Optuna's journal that is released with the process, however it ends."""
    from optuna.storages.journal._file import BaseJournalFileLock

    class Lock(BaseJournalFileLock):
        handle = -1

        def acquire(self) -> bool:
            self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self.handle, fcntl.LOCK_EX)
            return True

        def release(self) -> None:
            os.close(self.handle)

    return Lock()


def _drop_half_a_line(path: Path) -> None:
    """Remove an incomplete last line, which a process that was killed has left: Optuna would refuse all after it."""
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
