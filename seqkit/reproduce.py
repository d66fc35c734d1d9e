"""Whether a recipe keeps its promise: it is trained with one seed after another, and the mean score is judged."""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqkit import durable
from seqkit.job import Bound, carry_out
from seqkit.progress import Progress
from seqkit.recipe import Recipe
from seqkit.run import Run
from seqkit.types import JSON


@dataclass(frozen=True)
class Verdict:
    """One expected score over the seeds.

    Attributes:
        score: `task/split/score`.
        values: one a seed.
        bound: what the mean is judged by.
    """

    score: str
    values: Sequence[float]
    bound: Bound

    @property
    def passed(self) -> bool:
        return self.bound.met(self.mean)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.4f} over {len(self.values)} seeds"
        return f"{'PASS' if self.passed else 'FAIL'}  {self.score}  {self.mean:.4f}{spread}  (expected {self.bound})"


@dataclass(frozen=True)
class Reproduced:
    """All runs of one recipe.

    Attributes:
        recipe: its name.
        seeds: in the order of the runs.
        scores: every score of every run, by seed.
        minutes: of each run, on this machine.
        parameters: of the model.
        verdicts: one an expected score.
    """

    recipe: str
    seeds: Sequence[int]
    scores: Sequence[Mapping[str, float]]
    minutes: Sequence[float]
    parameters: int
    verdicts: Sequence[Verdict]

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


def reproduce(
    recipe: Recipe, *, seeds: int | None, out: Path | None, progress: Progress, tell: Callable[[str], None]
) -> Reproduced:
    """Train the recipe with its own seed and the ones after it, and judge the means.

    Args:
        seeds: how many; None: as many as `expect` says, or one.
        out: the folder of the run folders `seed-1`, `seed-2`, ...; one that has finished is not trained again.
            None: each run has a folder of its own under `runs/`.
        tell: gets a line a run.
    """
    count = seeds or max([int(bound.get("seeds", 1)) for bound in recipe.expect.values()], default=1)
    used = [recipe.seed + number for number in range(count)]
    scores: list[dict[str, float]] = []
    minutes: list[float] = []
    parameters = 0
    for seed in used:
        this = dataclasses.replace(recipe, seed=seed)
        folder = None if out is None else out / f"seed-{seed}"
        began = time.monotonic()
        done = None if folder is None else _finished(folder, this)
        if done is None:
            run = Run.create(f"{this.name}-seed-{seed}", text=this.text, resolved=this.resolved(), out=folder)
            found = carry_out(this, run, progress).scores
            status = durable.read_json(run.folder / "status.json")
            durable.write_json(run.folder / "minutes.json", (time.monotonic() - began) / 60)
            folder = run.folder
        else:
            found, status = done
        assert folder is not None
        scores.append(found)
        minutes.append(durable.read_json(folder / "minutes.json") or (time.monotonic() - began) / 60)
        parameters = int(status["parameters"])
        shown = "  ".join(f"{key} {found[key]:.4f}" for key in (recipe.expect or found))
        tell(f"seed {seed}: {shown}  {minutes[-1]:.1f} min  {folder}")
    verdicts = [
        Verdict(key, [each[key] for each in scores], bound)
        for key, words in recipe.expect.items()
        if (bound := Bound.of(words)) is not None
    ]
    return Reproduced(recipe.name, used, scores, minutes, parameters, verdicts)


def _finished(folder: Path, recipe: Recipe) -> tuple[dict[str, float], dict[str, JSON]] | None:
    """Scores and status of an earlier run of exactly this recipe, if it came to its end."""
    status = durable.read_json(folder / "status.json")
    if not isinstance(status, dict) or status.get("state") != "finished":
        return None
    if (folder / "resolved.yaml").read_text(encoding="utf-8") != recipe.resolved():
        return None
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8")), status
