"""`seqkit reproduce`: does a recipe reach the scores that it promises?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import click

from seqkit.cli.options import QUIET, RECIPE, SET, OutputFile, OutputFolder
from seqkit.cli.output import echo


@click.command("reproduce")
@RECIPE
@click.option("--seeds", type=click.IntRange(min=1), help="How many seeds. Default: the number in the recipe.")
@SET
@click.option(
    "--over",
    metavar="A.B=FIRST..LAST",
    help="Train with each of these values, e.g. tasks.genome.fold=0..9, and check the mean over them.",
)
@click.option("--alone", is_flag=True, help="Also train each task of a joint recipe by itself, and show both scores.")
@click.option("--ensemble", is_flag=True, help="Also score the models of all seeds as one, on dev and test.")
@click.option(
    "--out", type=OutputFolder(), help="Folder of the runs; finished ones are kept, and interrupted ones go on."
)
@click.option("--json", "as_json", type=OutputFile(), help="Write all figures to it.")
@QUIET
def command(
    recipe: str,
    seeds: int | None,
    sets: tuple[str, ...],
    over: str | None,
    alone: bool,
    ensemble: bool,
    out: Path | None,
    as_json: Path | None,
    quiet: bool,
) -> None:
    """Train RECIPE (a file, or a name) and print PASS or FAIL for each score in its `expect:`, with mean and spread.

    Exits with 0 if all pass and 1 if not.
    """
    from seqkit import recipe as recipes
    from seqkit.errors import UsageError

    checked = recipes.load(recipe, sets)
    if not checked.expect:
        raise UsageError(f"{recipe} promises no scores: it has no 'expect:'")

    from seqkit.experiments.reproduce import measure_gains, parse_over, reproduce, single_task_recipes
    from seqkit.io import atomic
    from seqkit.runs.progress import Progress

    variants = {setting: recipes.load(recipe, (*sets, setting)) for setting in parse_over(over)} if over else None
    if alone:
        single_task_recipes(checked)  # reports what cannot be compared before anything is trained
        if over:
            raise UsageError("--alone and --over do not go together")
    if ensemble and over:
        raise UsageError("--ensemble and --over do not go together: an ensemble is of models of the same data")
    with Progress(quiet=quiet) as progress:
        say = progress.say
        result = reproduce(
            checked, seeds=seeds, out=out, progress=progress, tell=say, variants=variants, ensemble=ensemble
        )
        if alone:
            result = replace(result, gains=measure_gains(checked, result, out=out, progress=progress, tell=say))
    for verdict in result.verdicts:
        echo(str(verdict))
    for gain in result.gains:
        echo(str(gain))
    for key in checked.expect if result.ensemble else ():
        echo(f"{key}  {result.ensemble[key]:.4f}  the {len(result.scores)} models as one")
    computed = f" ({fmean(result.cpu_minutes):.1f} of computing)" if result.cpu_minutes else ""
    echo(f"{fmean(result.minutes):.1f} minutes a run{computed}, {result.parameters:,} parameters")
    if as_json is not None:
        try:
            atomic.write_json(as_json, result.facts())
        except OSError as error:
            raise atomic.write_error(error, as_json.absolute().parent) from error
    if not result.passed:
        raise SystemExit(1)
