"""A recipe carried out from start to end: data, model, training, scores, model folder."""

from __future__ import annotations

import contextlib
import math
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seqkit import fault_injection, kernels
from seqkit._version import __version__
from seqkit.data.card import find_result_warnings, make_card
from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.experiments import model_card
from seqkit.experiments.calibration import calibrate_model, check_can_calibrate
from seqkit.experiments.hyperparameters import flatten
from seqkit.experiments.prepare import check_data, data_facts, prepare_data, tasks_and_fields
from seqkit.experiments.same_run import Resumption, SameRunCheck
from seqkit.experiments.transfer import take_weights
from seqkit.heads.kernel_choices import kernel_choices
from seqkit.inference import kept_predictions
from seqkit.inference.evaluate import EvaluationResult, evaluate_sharing
from seqkit.io import atomic
from seqkit.metrics import lower_is_better, score_name
from seqkit.model import Model, build_model, field_states, save_model
from seqkit.recipe import Recipe
from seqkit.registry import provenance
from seqkit.runs import checkpoint
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.origin import recorded_threads
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.runtime import out_of_memory, threads
from seqkit.runtime.determinism import deterministic
from seqkit.runtime.device import choose_device, describe
from seqkit.runtime.precision import precision, precision_warning
from seqkit.runtime.random_state import DRAWING, preserve_random_state
from seqkit.runtime.ranks import ALONE, Ranks, local_device
from seqkit.training.board_pictures import show_vectors
from seqkit.training.board_views import introduce, lead_board, show_final_evaluation, show_final_scores
from seqkit.training.counters import TrainingCounters
from seqkit.training.loop import train
from seqkit.training.state import load_best
from seqkit.training.validation import ChooseBy, selection_split
from seqkit.types import JSON


@dataclass(frozen=True)
class RunResult:
    """What a run ended with.

    Attributes:
        folder: the run folder.
        scores: of the best checkpoint, `task/split/score` to number.
        best_step: the step of that checkpoint.
        warnings: what looks wrong about the scores, in sentences.
    """

    folder: Path
    scores: dict[str, float]
    best_step: int
    warnings: tuple[str, ...] = ()


def run_recipe(
    recipe: Recipe,
    run: Run,
    progress: Progress,
    *,
    resume: bool | Resumption = False,
    strict: bool = False,
    stop: Interrupts | None = None,
    ranks: Ranks = ALONE,
) -> RunResult:
    """Train what the recipe says in this run folder, score the best checkpoint, write the model.

    Args:
        resume: go on from the newest checkpoint of the run; a `Resumption` says which changes are wanted.
        strict: warnings about the data are errors.
        stop: listens to signals already; None: signals are listened to until this returns.
        ranks: the processes that train the model together. Each calls this; the run of the first one writes.

    Raises:
        Interrupted: asked to stop; the run can be resumed from its last finished step.
        ResumeRefused: it would not be the same run.
        SeqkitError: anything that went wrong, with the run's status saying so.
    """
    with (
        contextlib.nullcontext(stop) if stop is not None else Interrupts() as listening,
        run,
        threads.as_recorded(recorded_threads(run.folder) if resume else None, progress.say),
        deterministic(local_device(choose_device(recipe.device), ranks), tf32=recipe.train.tf32) as device,
        out_of_memory.explain_oom(),
    ):
        run.set_status("running")
        fault_injection.announce(run.log)
        resumption = (resume if isinstance(resume, Resumption) else Resumption()) if resume else None
        plugins = _record_plugins(recipe, run, progress, resume=resumption is not None)
        check = SameRunCheck(recipe, run, device, plugins, progress.say, resumption)
        versions = f"torch {torch.__version__}; seqkit {__version__}"
        run.log(f"device {describe(device)}; {torch.get_num_threads()} threads; {versions}")
        if not ranks.is_alone:
            run.log(f"{ranks.size} processes train together, this one on {socket.gethostname()}")
        return _run_recipe(recipe, run, progress, listening, check, ranks, strict=strict)


def _run_recipe(
    recipe: Recipe,
    run: Run,
    progress: Progress,
    stop: Interrupts,
    same_run: SameRunCheck,
    ranks: Ranks,
    *,
    strict: bool,
) -> RunResult:
    device = same_run.device
    data = ranks.first_on_each_machine(lambda: prepare_data(recipe, progress, run.log, stop=stop, check=same_run))
    facts = {name: data_facts(task_data) for name, task_data in data.items()}
    run.write_data_facts(facts)
    check_data(data, progress, run.log, strict=strict)
    stop.agree(max(ranks.collect(stop.pending)))
    stop.check("stopped before training; go on with --resume")

    model = build_seeded(recipe, data, device)
    if recipe.train.calibrate:
        check_can_calibrate(model, data)
    autocast, _ = precision(recipe.train.precision, device)
    with autocast():
        layers = kernels.describe(device)
    run.log(f"{model.count_parameters():,} parameters; recurrent layers: {layers}")
    for name, choice in kernel_choices(device).items() if device.type == "cuda" else ():
        run.log(f"{name} on {device.type}: {choice}")
    if sentence := precision_warning(recipe.train.precision, device):
        run.log(f"warning: {sentence}")
        progress.warn(f"warning: {sentence}")
    progress.say(f"{run.folder}: {model.count_parameters():,} parameters on {describe(device)}")

    fields = {name: (task_data.input, task_data.target) for name, task_data in data.items()}
    ranks.first_then_others(lambda: same_run.finish(field_states(fields), model))
    if same_run.data_changed:
        run.write_data_facts(facts, changed=True)
    run.set_status("running", stage="training", chosen_by=_chosen_by(data))
    saved = ranks.share(lambda: _rewind_to_checkpoint(run)) if same_run.resumption else None
    lead_board(run.board, data, model)
    if saved is None and recipe.init is not None:
        for sentence in take_weights(model, {name: pair[0] for name, pair in fields.items()}, recipe.init):
            run.log(f"init: {sentence}")
            progress.say(f"init: {sentence}")
    if saved is None:
        with preserve_random_state():
            introduce(run.board, run.resolved, flatten(recipe), data, model)
    counters = train(
        model,
        data,
        recipe.train,
        run,
        seed=recipe.seed,
        init=recipe.init,
        stop=stop,
        progress=progress,
        saved=saved,
        plan_start=same_run.plan_start,
        ranks=ranks,
    )

    ranks.wait()  # until the first one has saved
    best_step = load_best(run, model)
    if recipe.train.calibrate:
        for fit in calibrate_model(model, data, stop, ranks):
            run.log(fit.sentence)
            progress.say(fit.sentence)
    scores = score_splits(model, data, stop, run=run, best_step=best_step, ranks=ranks)
    if not ranks.is_first:
        return RunResult(run.folder, scores, best_step)
    fault_injection.at("report")
    save_model(model, run.model, run.resolved, fields, same_run.plugins)
    chosen = {name: score_name(task_data.task.best) for name, task_data in data.items()}
    write_results(run, counters, best_step, scores, chosen)
    warnings = _warn_of_scores(data, scores, recipe.train.choose_by, run, progress)
    parameters = model.count_parameters()
    card = model_card.model_card(recipe, data, scores, parameters=parameters, best_step=best_step, warnings=warnings)
    run.write_card(card)
    run.set_status("running", steps=counters.step, best_step=best_step, parameters=parameters, warnings=warnings)
    stop.check("stopped when all was trained and written; --resume only says so")
    return RunResult(run.folder, scores, best_step, tuple(warnings))


def _chosen_by(data: Mapping[str, TaskData]) -> str:
    """The score that chooses the best checkpoint, as status.json has it: `max:sentiment/dev/accuracy`."""
    first = next(iter(data.values()))
    best = first.task.best
    return f"{'min' if lower_is_better(best) else 'max'}:{first.name}/{selection_split(first)}/{score_name(best)}"


def _record_plugins(recipe: Recipe, run: Run, progress: Progress, *, resume: bool) -> JSON:
    """The record of the plugins. A new run writes it to plugins.json, a resumed one says which are not what they were.

    Where the run recorded what it began with, changed plugins are refused later, with whatever else has changed.
    """
    plugins = provenance.record(recipe.uses)
    if not resume or not (run.folder / "plugins.json").exists():
        run.write_plugins(plugins)
    else:
        before = atomic.read_json(run.folder / "plugins.json")
        for line in provenance.describe_changes(before, "this run", include_core=True):
            run.log(line)
            progress.say(line)
    return plugins


def build_seeded(recipe: Recipe, data: Mapping[str, TaskData], device: torch.device) -> Model:
    """A new model on the device. All random generators are seeded here, so nothing drawn earlier has an effect."""
    with DRAWING:
        random.seed(recipe.seed)
        np.random.seed(recipe.seed % 2**32)
        # Torch's generator is seeded by `build_model`.
        return build_model(recipe, tasks_and_fields(data)).to(device)


def _rewind_to_checkpoint(run: Run) -> Path | None:
    """The newest valid checkpoint, with the run's records rewound to it; None if the run never came to save one.

    Raises:
        RunError: there were checkpoints, and every one is damaged: to start over would bury what is left of them.
    """
    saved = checkpoint.newest(run.checkpoints, tell=run.log)
    if saved is None and any(run.checkpoints.glob(f"*{checkpoint.CORRUPT}*")):
        raise RunError(
            f"{run.checkpoints}: every checkpoint is damaged (see run.log); start a new run from resolved.yaml"
        )
    run.rewind(checkpoint.step_of(saved) if saved else -1)
    return saved


def score_splits(
    model: Model,
    data: Mapping[str, TaskData],
    stop: Interrupts,
    *,
    run: Run | None = None,
    best_step: int = 0,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """The model's scores on every split but train, `task/split/score` to number.

    Args:
        run: keeps the predictions of tasks that have any, and shows them on TensorBoard; None: they are forgotten.
        best_step: where TensorBoard shows them.
        ranks: the processes that share the work.
    """
    scores: dict[str, float] = {}
    results: dict[tuple[str, str], EvaluationResult] = {}
    for name, task_data in data.items():
        if run is not None:
            show_vectors(run.board, model, task_data)
        keeps = run is not None and kept_predictions.are_kept(task_data)
        for split in task_data.splits:
            if split == "train":
                continue
            if (name, split) not in results:  # those that share inputs are scored together
                one = data[task_data.inputs_of or name]
                keep = run is not None and any(map(kept_predictions.are_kept, (one, *one.sharing)))
                together = evaluate_sharing(model, one, split, stop=stop, keep_predictions=keep, ranks=ranks)
                results |= {(task, split): of_task for task, of_task in together.items()}
            result = results.pop((name, split))
            scores |= {f"{name}/{split}/{score}": value for score, value in result.scores.items()}
            if run is not None and run.writes:
                show_final_evaluation(run.board, best_step, model, task_data, split, result, tell=run.log)
            if run is not None and run.writes and keeps:
                kept_predictions.write(run.folder, kept_predictions.keep(result, task_data, split))
    return scores


def _warn_of_scores(
    data: Mapping[str, TaskData], scores: Mapping[str, float], choose_by: ChooseBy, run: Run, progress: Progress
) -> list[str]:
    """Say what looks wrong about the scores. Returns the sentences."""
    sentences = [
        f"{name}/{warning.sentence}"
        for name, task_data in data.items()
        for warning in find_result_warnings(make_card(task_data), scores, task_data.task.best)
    ]
    sentences += _undefined_scores(data, scores, choose_by)
    for sentence in sentences:
        run.log(f"warning: {sentence}")
        progress.warn(f"warning: {sentence}")
    return sentences


def _undefined_scores(data: Mapping[str, TaskData], scores: Mapping[str, float], choose_by: ChooseBy) -> Iterator[str]:
    """Scores that tasks can be chosen by and that are NaN. With `choose_by: first`, the first task decides."""
    for number, (name, task_data) in enumerate(data.items()):
        decides = number == 0 or choose_by != "first"
        for split in task_data.splits:
            score = f"{name}/{split}/{score_name(task_data.task.best)}"
            if not math.isnan(scores.get(score, 0.0)):
                continue
            chosen = "so the loss chose the checkpoint; " if decides and split == selection_split(task_data) else ""
            yield f"{score} is NaN: it can score nothing of this split, {chosen}look at the data and the other scores"


def write_results(
    run: Run,
    counters: TrainingCounters,
    best_step: int,
    scores: Mapping[str, float],
    chosen: Mapping[str, str] | None = None,
) -> None:
    """Write the scores to metrics.json and TensorBoard, and those on test to metrics.jsonl too."""
    on_test = {key: value for key, value in scores.items() if "/test/" in key}
    run.log_metrics(counters.step, on_test, epoch=counters.epoch)
    run.write_scores(scores)
    show_final_scores(run.board, counters.step, best_step, scores, chosen)
