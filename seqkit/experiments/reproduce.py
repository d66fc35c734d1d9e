"""Whether a recipe reaches the scores that it expects, on the mean over several seeds, or over folds of its data."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkit.errors import UsageError
from seqkit.experiments.expectations import ExpectedRange, check_scores_exist
from seqkit.experiments.prepare import prepare_split
from seqkit.experiments.resumption import load_recipe
from seqkit.experiments.run_recipe import run_recipe
from seqkit.inference.evaluate import evaluate
from seqkit.io import atomic
from seqkit.model.ensemble import join_models
from seqkit.model.saved_model import load_members
from seqkit.recipe import Recipe, build_task, load
from seqkit.runs.progress import Progress
from seqkit.runs.records import read_final_scores
from seqkit.runs.run_folder import Run
from seqkit.runtime.device import choose_device
from seqkit.types import JSON


@dataclass(frozen=True)
class Verdict:
    """One expected score over the runs.

    Attributes:
        score: `task/split/score`.
        values: one a run.
        bound: what the mean is expected to be.
        runs: what the values are counted in: `seeds`, or `runs` where these differ in more than the seed.
    """

    score: str
    values: Sequence[float]
    bound: ExpectedRange
    runs: str = "seeds"

    @property
    def passed(self) -> bool:
        return self.bound.allows(self.mean)

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
    """A score of a task that was trained by itself, and of the same task trained together with others, seed by seed.

    Attributes:
        score: `task/split/score`.
        alone: one a seed.
        together: one a seed, in the same order.
    """

    score: str
    alone: Sequence[float]
    together: Sequence[float]

    def __str__(self) -> str:
        differences = [together - alone for alone, together in zip(self.alone, self.together, strict=True)]
        difference = _mean_and_spread(differences, sign="+")
        both = f"alone {_mean_and_spread(self.alone)}  together {_mean_and_spread(self.together)}"
        return f"{self.score}  {both}  difference {difference}  over {len(differences)} seeds"


def _mean_and_spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation (n - 1), with four digits."""
    mean = format(statistics.fmean(values), f"{sign}.4f")
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.4f}"


@dataclass(frozen=True)
class Reproduction:
    """All runs of one recipe.

    Attributes:
        recipe: its name.
        seeds: in the order of the runs.
        scores: every score of every run.
        minutes: of each run, on this machine.
        cpu_minutes: that all threads of each run computed for: other work on the machine adds little to them. Empty if
            a run was made before they were recorded.
        parameters: of the model.
        verdicts: one an expected score.
        settings: the setting of each run beside its seed (`tasks.genome.fold=3`), where the runs differ in one.
        threads: that each run computed with.
        gains: of a joint recipe, what each task gains from being trained with the others, where that was asked for.
        ensemble: the scores of all the models as one, on dev and test, where that was asked for.
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
    ensemble: Mapping[str, float] = dataclasses.field(default_factory=dict)
    cpu_minutes: Sequence[float] = ()

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


def parse_over(over: str) -> list[str]:
    """The settings that `--over` stands for: `a.b=0..9` is `a.b=0`, ..., `a.b=9`, and `a.b=x,y` is `a.b=x` and `a.b=y`.

    Raises:
        UsageError: it names no option, or no values.
    """
    option, _, values = over.partition("=")
    numbers = re.fullmatch(r"([0-9]{1,6})\.\.([0-9]{1,6})", values)
    if numbers is not None:
        listed = [str(value) for value in range(int(numbers[1]), int(numbers[2]) + 1)]
    else:
        listed = [value for value in values.split(",") if value]
    if not option or not listed:
        raise UsageError(f"--over {over}: expected NAME=FIRST..LAST or NAME=A,B,C, for example tasks.genome.fold=0..9")
    return [f"{option}={value}" for value in listed]


def reproduce(
    recipe: Recipe,
    *,
    seeds: int | None,
    out: Path | None,
    progress: Progress,
    tell: Callable[[str], None],
    variants: Mapping[str, Recipe] | None = None,
    ensemble: bool = False,
) -> Reproduction:
    """Train the recipe with its own seed and the ones after it, and compare the mean scores with those it expects.

    Args:
        seeds: how many; None: as many as `expect` says, or one.
        out: the folder of the run folders `seed-1`, `seed-2`, ...; one that has finished is not trained again, and one
            that was interrupted goes on.
            None: each run has a folder of its own under `runs/`.
        tell: gets a line a run.
        variants: the recipe with one setting after another (`tasks.genome.fold=0`, ...), each of them trained with
            every seed: their mean is that of a cross-validation. None: the recipe as it is.
        ensemble: also score the models of all runs as one, which averages what they predict.

    Raises:
        UsageError: an ensemble of one run, or of what cannot be averaged.
    """
    count = seeds or max([int(bound.get("seeds", 1)) for bound in recipe.expect.values()], default=1)
    if ensemble and count < 2:
        raise UsageError("--ensemble: one model is no ensemble; say --seeds 2 or more")
    seeds_used = [recipe.seed + number for number in range(count)]
    runs = [
        (setting, dataclasses.replace(variant, seed=seed))
        for setting, variant in (variants or {"": recipe}).items()
        for seed in seeds_used
    ]
    finished: list[_FinishedRun] = []
    for setting, seeded in runs:
        run = _train_or_read(seeded, f"{_as_folder_name(setting)}seed-{seeded.seed}", out, progress)
        if ensemble and not finished:  # what cannot be averaged is refused before the other seeds are trained
            join_models(load_members([run.folder, run.folder]))
        finished.append(run)
        check_scores_exist(recipe.expect, run.scores)
        shown = "  ".join(f"{key} {run.scores[key]:.4f}" for key in (recipe.expect or run.scores))
        which = f"{setting}, seed {seeded.seed}" if setting else f"seed {seeded.seed}"
        tell(f"{which}: {shown}  {run.minutes:.1f} min  {run.folder}")
    cpu_minutes = [run.cpu_minutes for run in finished if run.cpu_minutes is not None]
    return Reproduction(
        recipe=recipe.name,
        seeds=[seeded.seed for _, seeded in runs],
        scores=[run.scores for run in finished],
        minutes=[run.minutes for run in finished],
        parameters=finished[-1].parameters,
        verdicts=[
            Verdict(key, [run.scores[key] for run in finished], bound, "runs" if variants else "seeds")
            for key, words in recipe.expect.items()
            if (bound := ExpectedRange.of(words)) is not None
        ],
        settings=[setting for setting, _ in runs] if variants else [],
        threads=[run.threads for run in finished],
        ensemble=score_ensemble([run.folder for run in finished], progress) if ensemble else {},
        cpu_minutes=cpu_minutes if len(cpu_minutes) == len(finished) else [],
    )


def score_ensemble(folders: Sequence[Path], progress: Progress) -> dict[str, float]:
    """The scores on dev and test of the models of these runs as one (`seqkit.model.ensemble`).

    Raises:
        UsageError: what a head predicts cannot be averaged.
    """
    members = load_members(folders)
    recipe, tasks = members[0].recipe, members[0].tasks
    model = join_models(members).to(choose_device(recipe.device))
    scores: dict[str, float] = {}
    for name, fitted in tasks.items():
        for split in (split for split in ("dev", "test") if split in fitted[0].splits):
            data = prepare_split(recipe, name, fitted, split, progress)
            scores |= {f"{name}/{split}/{key}": value for key, value in evaluate(model, data, split).scores.items()}
    return scores


@dataclass(frozen=True)
class _FinishedRun:
    folder: Path
    scores: dict[str, float]
    minutes: float
    cpu_minutes: float | None
    threads: int
    parameters: int


def _train_or_read(recipe: Recipe, name: str, out: Path | None, progress: Progress) -> _FinishedRun:
    """Train the recipe in the folder `out`/`name`, unless the run that is there has finished."""
    folder = None if out is None else out / name
    state = None if folder is None else _state_of_same(folder, recipe)
    if folder is not None and state == "finished":
        scores = read_final_scores(folder)
    elif folder is not None and state is not None:
        progress.say(f"{folder}: goes on, it was {state}")
        run = Run.resume(folder)
        scores = run_recipe(load_recipe(run, ()), run, progress, resume=True).scores
    else:
        run = Run.create(f"{recipe.name}-{name}", text=recipe.text, resolved=recipe.resolved(), out=folder)
        scores = run_recipe(recipe, run, progress).scores
        folder = run.folder
    return _FinishedRun(
        folder=folder,
        scores=scores,
        minutes=_minutes_of(folder),
        cpu_minutes=atomic.read_json(folder / "status.json").get("cpu_minutes"),
        threads=int((atomic.read_json(folder / "environment.json") or {})["torch"]["threads"]),
        parameters=int(atomic.read_json(folder / "status.json")["parameters"]),
    )


def _state_of_same(folder: Path, recipe: Recipe) -> str | None:
    """The state of an earlier run of exactly this recipe, whatever it expected; None: there is none here."""
    status = atomic.read_json(folder / "status.json")
    if not isinstance(status, dict) or not (folder / "resolved.yaml").is_file():
        return None
    is_same = dataclasses.replace(load(folder / "resolved.yaml"), expect=recipe.expect) == recipe
    return str(status.get("state")) if is_same else None


def _minutes_of(folder: Path) -> float:
    """How long the processes took that worked on a run, 0 if that is not known."""
    older = atomic.read_json(folder / "minutes.json")  # of runs that were made before status.json had it
    return float(older or atomic.read_json(folder / "status.json").get("minutes") or 0.0)


def _as_folder_name(setting: str) -> str:
    """`tasks.genome.fold=3` as the beginning of a folder's name: `fold-3-`."""
    option, _, value = setting.partition("=")
    plain = re.sub("[^A-Za-z0-9_]+", "-", value).strip("-")
    return f"{option.rpartition('.')[2]}-{plain}-" if setting else ""


def single_task_recipes(recipe: Recipe) -> dict[str, Recipe]:
    """Each task of a joint recipe as a recipe of its own: the same encoder, the same settings, as many epochs.

    Raises:
        UsageError: it has one task; or its length is given in steps, of which a task by itself would get more.
    """
    if len(recipe.tasks) < 2:
        raise UsageError(f"--alone: {recipe.name} has one task; there is nothing to compare it with")
    if recipe.train.steps is not None:
        raise UsageError(
            "--alone compares equal numbers of updates of each task: say train.epochs instead of train.steps"
        )
    return {
        name: dataclasses.replace(recipe.alone(name), name=f"{recipe.name}-{name}-alone", expect={})
        for name in recipe.tasks
    }


def measure_gains(
    recipe: Recipe,
    together: Reproduction,
    *,
    out: Path | None,
    progress: Progress,
    tell: Callable[[str], None],
) -> list[Gain]:
    """Train each task by itself with the seeds that the joint recipe was trained with, and compare test scores.

    The scores are those that the recipe expects and, of a task of which it expects none, the one that chooses the
    checkpoint. Each task alone chooses its own checkpoint; together, the recipe's first task does.
    """
    gains = []
    for name, single in single_task_recipes(recipe).items():
        folder = None if out is None else out / f"alone-{name}"
        alone = reproduce(single, seeds=len(together.seeds), out=folder, progress=progress, tell=tell)
        expected = [key for key in recipe.expect if key.startswith(f"{name}/test/")]
        for key in expected or [f"{name}/test/{build_task(single.tasks[name]).best}"]:
            values = [[scores[key] for scores in reproduction.scores] for reproduction in (alone, together)]
            gains.append(Gain(key, *values))
    return gains
