"""The sides of a comparison: one run, or several that differ in the seed alone; and their predictions."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from seqkit.errors import DataError, Problem, UsageError, name_hint
from seqkit.inference import kept_predictions
from seqkit.inference.kept_predictions import KeptPredictions
from seqkit.recipe import build_task, load
from seqkit.reports.run_facts import RunFacts, describe_options, find_differences, find_runs, read_facts
from seqkit.types import JSON, Index, Task

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress

_SEED: Final = "seed"


@dataclass(frozen=True)
class Side:
    """What is compared: a recipe, in one run or in several of different seeds.

    Attributes:
        name: `lstm-1`; of several runs, what their names begin with and how many they are.
        runs: in the order of their seeds.
    """

    name: str
    runs: Sequence[RunFacts]

    @property
    def seeds(self) -> list[JSON]:
        return [run.options.get(_SEED) for run in self.runs]

    def values(self, key: str) -> list[float]:
        """A score of each run, `task/split/score`; empty if a run does not have it."""
        values = [run.scores.get(key) for run in self.runs]
        return [value for value in values if value is not None] if None not in values else []

    def mean(self, key: str) -> float:
        """The mean of a score over the runs."""
        return statistics.fmean(self.values(key))


def find_sides(paths: Sequence[Path]) -> list[Side]:
    """The sides in these folders. Runs that differ in nothing but the seed are one side.

    If all of them do, each run is a side of its own.

    Args:
        paths: run folders, or folders with run folders in them.

    Raises:
        DataError: a run has not finished, or cannot be read.
        UsageError: there are fewer than two runs.
    """
    folders = list(dict.fromkeys(folder for path in paths for folder in _runs_in(path)))
    if len(folders) < 2:
        raise UsageError("compare at least two runs: seqkit compare RUN RUN, or folders with runs in them")
    runs = [read_facts(folder) for folder in folders]
    if problems := [
        Problem(str(run.folder), f"is {run.state}{': ' if run.reason else ''}{run.reason}", "compare finished runs")
        for run in runs
        if run.state != "finished"
    ]:
        raise DataError(problems)
    by_recipe: dict[str, list[RunFacts]] = {}
    for run in runs:
        ignored = (_SEED, "device")
        options = {key: v for key, v in run.options.items() if key not in ignored and not key.startswith("expect")}
        by_recipe.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(run)
    groups = list(by_recipe.values())
    if len(groups) == 1:
        groups = [[run] for run in runs]
    return [Side(name, group) for name, group in zip(_names(groups), groups, strict=True)]


def _runs_in(path: Path) -> list[Path]:
    """The run folders of an argument.

    Raises:
        UsageError: it has none.
    """
    folders = find_runs(path)
    if not folders:
        raise UsageError(f"{path}: no run here; give run folders, or a folder with run folders in it")
    return folders


def _names(groups: Sequence[Sequence[RunFacts]]) -> list[str]:
    """A name for each group that no other has: of its folder, of the folders above it if need be, or a number."""
    for depth in range(1, 4):
        names = []
        for group in groups:
            parts = ["/".join(run.folder.resolve().parts[-depth:]) for run in group]
            name = parts[0] if len(parts) == 1 else _common(parts) or group[0].name
            names.append(name)
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


def _common(names: Sequence[str]) -> str:
    """What all names begin with, without the beginning of a number or of a word `seed`."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length].rstrip("0123456789").rstrip("-_./ ").removesuffix("seed").rstrip("-_./ ")


def describe_sides(sides: Sequence[Side]) -> tuple[list[str], list[str]]:
    """The options in which the recipes of the sides differ, and for each side their values in words."""
    firsts = [side.runs[0].options for side in sides]
    keys = [key for key in find_differences(firsts) if key != _SEED or all(len(side.runs) == 1 for side in sides)]
    return keys, [describe_options(options, keys) for options in firsts]


@dataclass(frozen=True)
class Answers:
    """The predictions of all sides for the same examples, in the same order.

    Attributes:
        task, split: what they are of.
        ids: where the examples are.
        targets: the true values.
        steps: (n,) the examples' lengths.
        sides: of each side, the predictions of each run.
        facts: of the runs, in the same shape.
    """

    task: str
    split: str
    ids: Sequence[str]
    targets: Sequence[Any]
    steps: Index
    sides: Sequence[Sequence[KeptPredictions]]
    facts: Sequence[Sequence[RunFacts]]

    @cached_property
    def built_task(self) -> Task | None:
        """The task of the first run, for its metric and its units; None if its plugin is not there any more."""
        return task_of(self.facts[0][0], self.task)


def task_of(run: RunFacts, name: str) -> Task | None:
    """A task of a run, built from its recipe; None if its plugin is not there, or has changed."""
    from seqkit.errors import SeqkitError

    try:
        return build_task(load(run.folder / "resolved.yaml").tasks[name])
    except (SeqkitError, ValueError, KeyError):
        return None


def load_predictions(
    run: RunFacts, task: str, split: str, *, progress: Progress, tell: Callable[[str], None]
) -> KeptPredictions:
    """The predictions that a run has kept; of a run that has kept none, they are made again from its model and data.

    Raises:
        DataError: they cannot be made: the data are gone.
        UsageError: the task has no predictions.
    """
    kept = kept_predictions.read(run.folder, task, split)
    if kept is not None:
        return kept
    tell(f"{run.folder}: has kept no predictions of {task}/{split}; its model predicts again")
    from seqkit.experiments.prepare import prepare_split
    from seqkit.inference.evaluate import evaluate
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    model, recipe, tasks = load_model(run.folder, choose_device("auto"))
    if task not in tasks:
        raise UsageError(f"{run.folder}: no task '{task}'; {name_hint(task, list(tasks), label='its tasks')}")
    data = prepare_split(recipe, task, tasks[task], split, progress)
    if not kept_predictions.are_kept(data):
        raise UsageError(f"task {task} has no metric: its only score is the loss, of which no predictions are kept")
    return kept_predictions.keep(evaluate(model, data, split, keep_predictions=True), data, split)


def load_answers(
    sides: Sequence[Side], task: str, split: str, *, progress: Progress, tell: Callable[[str], None]
) -> Answers:
    """The predictions of all runs of all sides, in the order of the first run's examples.

    Raises:
        DataError: the runs were not scored on the same examples.
    """
    loaded = [[load_predictions(run, task, split, progress=progress, tell=tell) for run in side.runs] for side in sides]
    first = loaded[0][0]
    ordered = []
    for side, runs in zip(sides, loaded, strict=True):
        ordered.append([_in_order(first, kept, side.name, run) for kept, run in zip(runs, side.runs, strict=True)])
    facts = [side.runs for side in sides]
    return Answers(task, split, first.ids, first.targets, first.steps, ordered, facts)


def _in_order(first: KeptPredictions, kept: KeptPredictions, name: str, run: RunFacts) -> KeptPredictions:
    """The predictions in the order of the first run's examples.

    Raises:
        DataError: they are of other examples, or of other targets.
    """
    where = f"{run.folder}: {kept.task}/{kept.split}"
    advice = "a paired comparison needs the same examples: score both models on one file with seqkit evaluate --data"
    if len(kept) != len(first):
        raise DataError(Problem(where, f"has {len(kept):,} examples, and the first run has {len(first):,}", advice))
    if list(kept.ids) != list(first.ids):
        place = {id: number for number, id in enumerate(kept.ids)}
        if missing := [id for id in first.ids if id not in place]:
            raise DataError(Problem(where, f"has no example {missing[0]}, which the first run has", advice))
        order = [place[id] for id in first.ids]
        kept = KeptPredictions(
            kept.task,
            kept.split,
            first.ids,
            kept.steps[np.array(order)],
            [kept.inputs[i] for i in order],
            [kept.targets[i] for i in order],
            [kept.predictions[i] for i in order],
            sums={name: rows[np.array(order)] for name, rows in kept.sums.items()},
        )
    for id, target, other in zip(first.ids, first.targets, kept.targets, strict=True):
        if target != other:
            raise DataError(Problem(where, f"the target of {id} is another one than in the first run", advice))
    return kept


def choose_scored(
    sides: Sequence[Side], task: str | None, split: str | None, score: str | None
) -> tuple[str, str, str]:
    """(task, split, score) that decides: by default the score that chooses the first run's checkpoint, on test.

    Raises:
        UsageError: the runs have no such score in common.
    """
    common = [key for key in sides[0].runs[0].scores if all(side.values(key) for side in sides)]
    keys: dict[tuple[str, str], list[str]] = {}
    for key in common:
        name, where, kind = key.split("/", 2)
        keys.setdefault((name, where), []).append(kind)
    if not keys:
        raise UsageError("these runs have no score in common: they are of different tasks")
    chosen = sides[0].runs[0].chosen_by
    tasks = list(dict.fromkeys(name for name, _ in keys))
    task = task or (chosen.task if chosen is not None and chosen.task in tasks else tasks[0])
    if task not in tasks:
        raise UsageError(f"the runs have no task '{task}' in common; {name_hint(task, tasks, label='they have')}")
    splits = [where for name, where in keys if name == task]
    split = split or ("test" if "test" in splits else splits[0])
    if split not in splits:
        raise UsageError(f"task {task} has no scores on '{split}'; {name_hint(split, splits, label='it has')}")
    scores = keys[task, split]
    if score is None:
        best = chosen.name if chosen is not None and chosen.task == task else None
        score = best if best in scores else next((name for name in scores if name != "loss"), scores[0])
    if score not in scores:
        raise UsageError(f"task {task} has no score '{score}'; {name_hint(score, scores, label='it has')}")
    return task, split, score


def scores_in_common(sides: Sequence[Side], task: str, split: str) -> Mapping[str, str]:
    """{score: its key} of all scores of a split that every run has."""
    prefix = f"{task}/{split}/"
    keys = [key for key in sides[0].runs[0].scores if key.startswith(prefix)]
    return {key.removeprefix(prefix): key for key in keys if all(side.values(key) for side in sides)}
