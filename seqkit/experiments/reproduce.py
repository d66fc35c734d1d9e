"""Whether a recipe keeps its promise: it is trained with one seed after another, or with one fold of its data after
another left out, and the mean score is judged."""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkit.errors import UsageError
from seqkit.experiments.expectations import ExpectedRange
from seqkit.experiments.run_recipe import run_recipe
from seqkit.io import atomic
from seqkit.recipe import Recipe, build_task, load
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.types import JSON


@dataclass(frozen=True)
class Verdict:
    """One expected score over the runs.

    Attributes:
        score: `task/split/score`.
        values: one a run.
        bound: what the mean is judged by.
        runs: what the runs differ in: seeds, or folds.
    """

    score: str
    values: Sequence[float]
    bound: ExpectedRange
    runs: str = "seeds"

    @property
    def passed(self) -> bool:
        return self.bound.met(self.mean)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the runs (n - 1); None for one run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.4f} over {len(self.values)} {self.runs}"
        return f"{'PASS' if self.passed else 'FAIL'}  {self.score}  {self.mean:.4f}{spread}  (expected {self.bound})"


@dataclass(frozen=True)
class Gain:
    """One score of a task trained by itself, and of the same task trained together with others, seed by seed.

    Attributes:
        score: `task/split/score`.
        alone: one a seed.
        together: one a seed, in the same order.
    """

    score: str
    alone: Sequence[float]
    together: Sequence[float]

    def __str__(self) -> str:
        differences = [both - one for one, both in zip(self.alone, self.together, strict=True)]
        cells = (_spread(self.alone), _spread(self.together), _spread(differences, sign="+"))
        return (
            f"{self.score}  alone {cells[0]}  together {cells[1]}  difference {cells[2]}  over {len(differences)} seeds"
        )


def _spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation (n - 1) in four digits."""
    mean = format(statistics.fmean(values), f"{sign}.4f")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


@dataclass(frozen=True)
class Reproduced:
    """All runs of one recipe.

    Attributes:
        recipe: its name.
        seeds: in the order of the runs.
        scores: every score of every run.
        minutes: of each run, on this machine.
        parameters: of the model.
        verdicts: one an expected score.
        settings: what each run was set to beside its seed (`tasks.genome.fold=3`), where they differ in that.
        threads: of the machine, that each run computed with.
        gains: of a joint recipe, what each task has from the company, where that was asked for.
    """

    recipe: str
    seeds: Sequence[int]
    scores: Sequence[Mapping[str, float]]
    minutes: Sequence[float]
    parameters: int
    verdicts: Sequence[Verdict]
    settings: Sequence[str] = ()
    threads: Sequence[int] = ()
    gains: Sequence[Gain] = ()

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    def facts(self) -> JSON:
        """As JSON, for the page of results."""
        verdicts = [
            {"score": v.score, "mean": v.mean, "spread": v.spread, "bound": str(v.bound), "passed": v.passed}
            for v in self.verdicts
        ]
        return {**dataclasses.asdict(self), "verdicts": verdicts, "passed": self.passed}


def values_of(over: str) -> list[str]:
    """What `--over` says as settings: `a.b=0..9` is `a.b=0`, ..., `a.b=9`, and `a.b=x,y` is `a.b=x` and `a.b=y`.

    Raises:
        UsageError: it says no option, or no values.
    """
    option, _, values = over.partition("=")
    numbers = re.fullmatch(r"([0-9]{1,6})\.\.([0-9]{1,6})", values)
    if numbers is not None:
        found = [str(value) for value in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        found = [value for value in values.split(",") if value]
    if not option or not found:
        raise UsageError(f"--over {over}: expected NAME=FIRST..LAST or NAME=A,B,C, for example tasks.genome.fold=0..9")
    return [f"{option}={value}" for value in found]


def reproduce(
    recipe: Recipe,
    *,
    seeds: int | None,
    out: Path | None,
    progress: Progress,
    tell: Callable[[str], None],
    variants: Mapping[str, Recipe] | None = None,
) -> Reproduced:
    """Train the recipe with its own seed and the ones after it, and judge the means.

    Args:
        seeds: how many; None: as many as `expect` says, or one.
        out: the folder of the run folders `seed-1`, `seed-2`, ...; one that has finished is not trained again.
            None: each run has a folder of its own under `runs/`.
        tell: gets a line a run.
        variants: the recipe with one setting after another (`tasks.genome.fold=0`, ...), each of them trained with
            every seed: their mean is that of a cross-validation. None: the recipe as it is.
    """
    count = seeds or max([int(bound.get("seeds", 1)) for bound in recipe.expect.values()], default=1)
    seeds_used = [recipe.seed + number for number in range(count)]
    scores: list[dict[str, float]] = []
    minutes: list[float] = []
    threads: list[int] = []
    parameters = 0
    runs = [(setting, each, seed) for setting, each in (variants or {"": recipe}).items() for seed in seeds_used]
    for setting, each, seed in runs:
        this = dataclasses.replace(each, seed=seed)
        name = f"{_as_name(setting)}seed-{seed}"
        folder = None if out is None else out / name
        began = time.monotonic()
        done = None if folder is None else _finished(folder, this)
        if done is None:
            run = Run.create(f"{this.name}-{name}", text=this.text, resolved=this.resolved(), out=folder)
            found = run_recipe(this, run, progress).scores
            status = atomic.read_json(run.folder / "status.json")
            atomic.write_json(run.folder / "minutes.json", (time.monotonic() - began) / 60)
            folder = run.folder
        else:
            found, status = done
        assert folder is not None
        scores.append(found)
        minutes.append(atomic.read_json(folder / "minutes.json") or (time.monotonic() - began) / 60)
        threads.append(int((atomic.read_json(folder / "environment.json") or {})["torch"]["threads"]))
        parameters = int(status["parameters"])
        shown = "  ".join(f"{key} {found[key]:.4f}" for key in (recipe.expect or found))
        told = f"{setting}, seed {seed}" if setting else f"seed {seed}"
        tell(f"{told}: {shown}  {minutes[-1]:.1f} min  {folder}")
    kind = "runs" if variants else "seeds"
    verdicts = [
        Verdict(key, [found[key] for found in scores], bound, kind)
        for key, words in recipe.expect.items()
        if (bound := ExpectedRange.of(words)) is not None
    ]
    settings = [setting for setting, _, _ in runs] if variants else []
    used = [seed for *_, seed in runs]
    return Reproduced(recipe.name, used, scores, minutes, parameters, verdicts, settings, threads)


def alone(recipe: Recipe) -> dict[str, Recipe]:
    """Each task of a joint recipe as a recipe of its own: the same encoder, the same settings, as many passes.

    Raises:
        UsageError: it has one task; or its length is told in steps, of which a task by itself would get more.
    """
    if len(recipe.tasks) < 2:
        raise UsageError(f"--alone: {recipe.name} has one task; there is nothing to compare it with")
    if recipe.train.steps is not None:
        raise UsageError(
            "--alone compares equal numbers of updates of each task: say train.epochs instead of train.steps"
        )
    return {
        name: dataclasses.replace(recipe, name=f"{recipe.name}-{name}-alone", tasks={name: entry}, expect={})
        for name, entry in recipe.tasks.items()
    }


def gains(
    recipe: Recipe,
    together: Reproduced,
    *,
    out: Path | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> list[Gain]:
    """Train each task by itself with the seeds that the joint recipe was trained with, and compare test scores.

    The scores are those that the recipe expects and, of a task of which it expects none, the one that chooses the
    checkpoint. Each task alone chooses its own checkpoint; together, the recipe's first task does.
    """
    found = []
    for name, single in alone(recipe).items():
        folder = None if out is None else out / f"alone-{name}"
        apart = reproduce(single, seeds=len(together.seeds), out=folder, progress=progress, tell=tell)
        asked = [key for key in recipe.expect if key.startswith(f"{name}/test/")]
        for key in asked or [f"{name}/test/{build_task(single.tasks[name]).best}"]:
            values = [[scores[key] for scores in each.scores] for each in (apart, together)]
            found.append(Gain(key, *values))
    return found


def _as_name(setting: str) -> str:
    """`tasks.genome.fold=3` as the beginning of a folder's name: `fold-3-`."""
    option, _, value = setting.partition("=")
    plain = re.sub("[^A-Za-z0-9_]+", "-", value).strip("-")
    return f"{option.rpartition('.')[2]}-{plain}-" if setting else ""


def _finished(folder: Path, recipe: Recipe) -> tuple[dict[str, float], dict[str, JSON]] | None:
    """Scores and status of an earlier run of exactly this recipe, whatever it expected, if it came to its end."""
    status = atomic.read_json(folder / "status.json")
    if not isinstance(status, dict) or status.get("state") != "finished":
        return None
    if dataclasses.replace(load(folder / "resolved.yaml"), expect=recipe.expect) != recipe:
        return None
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8")), status
