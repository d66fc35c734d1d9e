"""A recipe carried out from start to end: data, model, training, test scores, model folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqkit import fault_injection, kernels
from seqkit._version import __version__
from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, Problem, RunError, UsageError
from seqkit.inference.evaluate import evaluate
from seqkit.io import atomic
from seqkit.io.download import listening
from seqkit.model import model as model_room
from seqkit.recipe import Recipe, TaskEntry, build_task
from seqkit.registry import provenance, registry
from seqkit.registry.distribution import Distribution
from seqkit.runs import checkpoint
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.runtime import out_of_memory
from seqkit.runtime.random_state import nothing_drawn
from seqkit.training.board_views import introduce
from seqkit.training.loop import train
from seqkit.training.state import load_best
from seqkit.types import Choice


@dataclass(frozen=True)
class Finished:
    """What a run ended with."""

    folder: Path
    scores: dict[str, float]
    best_step: int


def carry_out(
    recipe: Recipe, run: Run, progress: Progress, *, resume: bool = False, stop: Interrupts | None = None
) -> Finished:
    """Train what the recipe says in this run folder, score the best checkpoint, write the model.

    Args:
        stop: what listens to signals already; None: signals are listened to from here to the end.

    Raises:
        Interrupted: asked to stop; the run can be resumed from its last finished step.
        SeqkitError: anything that went wrong, with the run's status saying so.
    """
    with (
        contextlib.nullcontext(stop) if stop is not None else Interrupts() as heard,
        run,
        computing_on(choose_device(recipe.device)) as device,
        out_of_memory.reported(),
    ):
        run.status("running")
        fault_injection.announce(run.log)
        return _carry_out(recipe, device, run, progress, heard, resume=resume)


def _carry_out(
    recipe: Recipe, device: torch.device, run: Run, progress: Progress, stop: Interrupts, *, resume: bool
) -> Finished:
    plugins = provenance.used(recipe.uses)
    if resume:
        for line in provenance.changes(atomic.read_json(run.folder / "plugins.json"), "this run", house=True):
            run.log(line)
            progress.say(line)
    run.plugins(plugins)
    run.log(
        f"device {describe(device)}; {torch.get_num_threads()} threads; torch {torch.__version__}; seqkit {__version__}"
    )
    data = prepare_data(recipe, progress, run.log, stop=stop)
    run.data({name: _facts(part) for name, part in data.items()})
    stop.check("stopped before training; go on with --resume")
    random.seed(recipe.seed)
    np.random.seed(recipe.seed % 2**32)
    model = model_room.build(recipe, {name: (part.task, part.input, part.target) for name, part in data.items()})
    model = model.to(device)
    run.log(f"{model.count_parameters():,} parameters; recurrent layers: {kernels.describe(device)}")
    progress.say(f"{run.folder}: {model.count_parameters():,} parameters on {describe(device)}")
    saved = _go_on_from(run) if resume else None
    if saved is None:
        with nothing_drawn():
            introduce(run.board, run.resolved, data, model)
    at = train(model, data, recipe.train, run, seed=recipe.seed, stop=stop, progress=progress, saved=saved)
    best_step = load_best(run, model)
    scores: dict[str, float] = {}
    for name, part in data.items():
        for split in part.splits:
            if split != "train":
                outcome = evaluate(model, part, split, stop=stop)
                scores |= {f"{name}/{split}/{key}": value for key, value in outcome.scores.items()}
    fault_injection.at("report")
    model_room.save(model, run.model, run.resolved, {n: (part.input, part.target) for n, part in data.items()}, plugins)
    tests = {key: value for key, value in scores.items() if "/test/" in key}
    run.metrics(at.step, tests, epoch=at.epoch)
    run.board.scalars(at.step, tests)
    for key in recipe.expect:
        if key not in scores:
            raise RunError(f"expect: there is no score '{key}'; this run has: {', '.join(sorted(scores))}")
    run.final(scores)
    run.status("running", steps=at.step, best_step=best_step, parameters=model.count_parameters())
    run.board.hparams(flatten(recipe), scores)
    stop.check("stopped when all was trained and written; --resume only says so")
    return Finished(run.folder, scores, best_step)


def _go_on_from(run: Run) -> Path | None:
    """The newest valid checkpoint, and the run's records taken back to it; None if the run never came to save one.

    Raises:
        RunError: there were checkpoints, and every one is damaged: starting over would bury what is left of them.
    """
    saved = checkpoint.newest(run.checkpoints, tell=run.log)
    if saved is None and any(run.checkpoints.glob(f"*{checkpoint.CORRUPT}*")):
        raise RunError(
            f"{run.checkpoints}: every checkpoint is damaged (see run.log); start a new run from resolved.yaml"
        )
    run.rewind(checkpoint.step_of(saved) if saved else -1)
    return saved


def prepare_data(
    recipe: Recipe,
    progress: Progress,
    tell: Callable[[str], None],
    *,
    fitted: Mapping[str, Any] | None = None,
    splits: tuple[str, ...] | None = None,
    stop: Interrupts | None = None,
) -> dict[str, TaskData]:
    """Every task's splits, read, encoded and stored once. Truncation, unknown symbols and repeats are told.

    Raises:
        Interrupted: asked to stop; what was being stored is gone.
    """

    def told(done: int, of: int | None, what: str) -> None:
        if stop is not None:
            stop.check("stopped while the data were prepared; go on with --resume")
        progress.stage(what, done, of)

    data = {}
    for name, entry in recipe.tasks.items():
        task, *fields = fitted[name] if fitted else (build_task(entry),)
        try:
            with listening(tell=tell, progress=told):
                prepared = store.prepare(
                    task, key=_key(entry), progress=told, fitted=tuple(fields) if fields else None, splits=splits
                )
        except OSError as error:
            raise DataError(Problem(f"tasks.{name}", f"cannot read the data: {error}")) from error
        content = {"key": prepared.folder.name, "files": prepared.files}
        data[name] = TaskData(name, task, prepared.input, prepared.target, prepared.splits, entry.weight, content)
        told_of = [line for split in prepared.splits.values() for line in split.report.lines()]
        for line in (*prepared.notes, *told_of, *(task.notes() if task.notes is not None else ())):
            tell(f"{name}: {line}")
            progress.say(f"{name}: {line}")
    return data


def _key(entry: TaskEntry) -> dict[str, Any]:
    """What the stored data depends on beside the bytes of its files: the options, and the code that reads."""
    options = json.loads(json.dumps(dict(entry.options), default=str, sort_keys=True))
    return {"use": entry.use, "options": options, "code": _code(entry.use)}


def _code(use: str) -> str:
    """SHA-256 of a task's code: of all that its distribution brings; of its package alone, if it comes with seqkit."""
    plugin = registry.find("tasks", use)
    if plugin.distribution != registry.HOME:
        return Distribution(plugin.distribution, [plugin.module]).sha256
    code = hashlib.sha256()
    for path in sorted(Path(inspect.getfile(registry.load("tasks", use))).parent.glob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()


def _facts(data: TaskData) -> dict[str, Any]:
    splits = {name: split.report.facts() for name, split in data.splits.items()}
    return {"about": dict(data.task.about), **data.content, "splits": splits}


def choose_device(wanted: str) -> torch.device:
    """`auto`: the GPU if there is one. Raises UsageError for a GPU that is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(
            f"device: {wanted} was asked for, and torch sees {torch.cuda.device_count()} GPUs; use device: auto"
        )
    return device


@contextlib.contextmanager
def computing_on(device: torch.device) -> Iterator[torch.device]:
    """The same numbers on every run of one machine, whatever its threads do first, for as long as the block lasts.

    On the CPU, what adds up by index does it in one order (where torch knows none, it warns), and numbers too small for
    full precision count as zero: they can cost a factor of ten. Torch starts its threads with the latter setting if
    nothing was computed before; it does not say what it was.
    """
    cudnn, checks = torch.backends.cudnn, torch.utils.deterministic
    ordered = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = checks.fill_uninitialized_memory  # type: ignore[attr-defined, unused-ignore]
    before = cudnn.benchmark, cudnn.deterministic
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        cudnn.benchmark, cudnn.deterministic = False, True
    else:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # A help in debugging that comes with it, at the price of speed.
        checks.fill_uninitialized_memory = False  # type: ignore[attr-defined, unused-ignore]
    try:
        yield device
    finally:
        torch.set_flush_denormal(False)
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(ordered[0], warn_only=ordered[1])
        checks.fill_uninitialized_memory = filled  # type: ignore[attr-defined, unused-ignore]


def describe(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


@dataclass(frozen=True)
class Bound:
    """What a score is expected to be: at least `low`, at most `high`, or both."""

    low: float | None
    high: float | None

    @classmethod
    def of(cls, words: Mapping[str, float]) -> Bound | None:
        """The bound in an entry of a recipe's `expect`; None if it has none."""
        low, high = words.get("at_least"), words.get("at_most")
        return None if low is None and high is None else cls(low, high)

    def met(self, score: float) -> bool:
        return (self.low is None or score >= self.low) and (self.high is None or score <= self.high)

    def __str__(self) -> str:
        sides = (("at least", self.low), ("at most", self.high))
        return ", ".join(f"{side} {limit:g}" for side, limit in sides if limit is not None)


def flatten(recipe: Recipe) -> dict[str, str | float | bool]:
    """The recipe's options with dotted keys, for TensorBoard's table of hyperparameters."""
    flat: dict[str, str | float | bool] = {"seed": recipe.seed, "encoder.dim": recipe.dim}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Choice):
            walk(f"{prefix}.use", value.use)
            walk(prefix, value.options)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix}.{key}", item)
        else:
            flat[prefix] = value if isinstance(value, bool | int | float | str) else str(value)

    walk("encoder", recipe.encoder)
    for name, entry in recipe.tasks.items():
        walk(name, {"use": entry.use, "weight": entry.weight, **entry.options, "head": entry.head})
    for setting in dataclasses.fields(recipe.train):
        walk(f"train.{setting.name}", getattr(recipe.train, setting.name))
    return flat
