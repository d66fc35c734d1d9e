"""A recipe carried out from start to end: data, model, training, test scores, model folder."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seqkit import fault_injection, kernels
from seqkit._version import __version__
from seqkit.errors import RunError
from seqkit.experiments.hyperparameters import flatten
from seqkit.experiments.prepare import data_facts, prepare_data
from seqkit.inference.evaluate import evaluate
from seqkit.io import atomic
from seqkit.model import build_model, save_model
from seqkit.recipe import Recipe
from seqkit.registry import provenance
from seqkit.runs import checkpoint
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.runtime import out_of_memory
from seqkit.runtime.determinism import deterministic
from seqkit.runtime.device import choose_device, describe
from seqkit.runtime.random_state import preserve_random_state
from seqkit.training.board_views import introduce
from seqkit.training.loop import train
from seqkit.training.state import load_best


@dataclass(frozen=True)
class RunResult:
    """What a run ended with."""

    folder: Path
    scores: dict[str, float]
    best_step: int


def run_recipe(
    recipe: Recipe, run: Run, progress: Progress, *, resume: bool = False, stop: Interrupts | None = None
) -> RunResult:
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
        deterministic(choose_device(recipe.device)) as device,
        out_of_memory.explain_oom(),
    ):
        run.status("running")
        fault_injection.announce(run.log)
        return _run_recipe(recipe, device, run, progress, heard, resume=resume)


def _run_recipe(
    recipe: Recipe, device: torch.device, run: Run, progress: Progress, stop: Interrupts, *, resume: bool
) -> RunResult:
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
    run.data({name: data_facts(part) for name, part in data.items()})
    stop.check("stopped before training; go on with --resume")
    random.seed(recipe.seed)
    np.random.seed(recipe.seed % 2**32)
    model = build_model(recipe, {name: (part.task, part.input, part.target) for name, part in data.items()})
    model = model.to(device)
    run.log(f"{model.count_parameters():,} parameters; recurrent layers: {kernels.describe(device)}")
    progress.say(f"{run.folder}: {model.count_parameters():,} parameters on {describe(device)}")
    saved = _go_on_from(run) if resume else None
    if saved is None:
        with preserve_random_state():
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
    save_model(model, run.model, run.resolved, {n: (part.input, part.target) for n, part in data.items()}, plugins)
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
    return RunResult(run.folder, scores, best_step)


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
