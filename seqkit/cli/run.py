"""`seqkit run`: train a recipe."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from seqkit.cli.options import QUIET, SET, STRICT
from seqkit.errors import UsageError


@click.command("run")
@click.argument("recipe", required=False)
@SET
@click.option("--out", type=click.Path(path_type=Path), help="The run folder. Default: runs/<recipe>-<time>-<hash>.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Continue this run.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON object.")
@QUIET
@STRICT
@click.option("--offline", is_flag=True, help="Download nothing.")
def command(
    recipe: str | None,
    sets: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    quiet: bool,
    strict: bool,
    offline: bool,
) -> None:
    """Train RECIPE: a file, or the name of a recipe that comes with seqkit.

    Progress goes to stderr, the scores of the best checkpoint to stdout, everything else to the run folder.
    """
    if (recipe is None) == (resume is None):
        raise UsageError("give either a recipe or --resume with a run folder")
    if resume is not None and (sets or out):
        raise UsageError("--resume continues the run as it is; it cannot be combined with --set or --out")

    from seqkit.runs.interrupts import Interrupts

    with Interrupts(at_once=True):  # imports take seconds, and nothing has to be saved yet
        from seqkit import recipe as recipes
        from seqkit.io import atomic
        from seqkit.registry import provenance
        from seqkit.runs.run_folder import Run

        if resume is not None:
            folder = Run.open(resume).folder
            provenance.pin_recorded(atomic.read_json(folder / "plugins.json"), f"the run in {resume}")
            checked = recipes.load(str(folder / "resolved.yaml"))
            checked = dataclasses.replace(checked, text=(folder / "recipe.yaml").read_bytes())
        else:
            assert recipe is not None
            checked = recipes.load(recipe, sets)

        import os

        import torch._dynamo  # noqa: F401  torch's optimisers import it later, which takes seconds

        from seqkit.experiments.expectations import ExpectedRange
        from seqkit.experiments.run_recipe import run_recipe
        from seqkit.runs.progress import Progress

        if offline:
            os.environ["SEQKIT_OFFLINE"] = "1"
        with Interrupts() as stop, Progress(quiet=quiet) as progress:
            if resume is not None:
                run = Run.resume(resume)
            else:
                run = Run.create(checked.name, text=checked.text, resolved=checked.resolved(), out=out)
            progress.say(f"run folder: {run.folder}")
            result = run_recipe(checked, run, progress, resume=resume is not None, strict=strict, stop=stop)
        stop.check("stopped after everything was trained and written; nothing is left to resume")
    if as_json:
        click.echo(json.dumps(result.scores | {"run": str(result.folder), "best_step": result.best_step}, indent=1))
        return
    for key, value in result.scores.items():
        expected = ExpectedRange.of(checked.expect.get(key, {}))
        verdict = (
            "" if expected is None else f"   expected {expected}: {'met' if expected.allows(value) else 'NOT MET'}"
        )
        click.echo(f"{key:<40} {value:.4f}{verdict}")
    click.echo(f"{'best checkpoint at step':<40} {result.best_step}")
    click.echo(f"{'run folder':<40} {result.folder}")
