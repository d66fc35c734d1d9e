"""`seqkit plan`: what each way of making batches costs."""

from __future__ import annotations

from pathlib import Path

import click

from seqkit.cli.options import QUIET, RECIPE, SET
from seqkit.cli.output import echo, echo_json


@click.command("plan")
@RECIPE
@SET
@click.option("--no-measure", is_flag=True, help="Only count padding and shapes; compute no batch.")
@click.option("--write", is_flag=True, help="Write the best choice into the recipe's file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per task.")
@QUIET
def command(recipe: str, sets: tuple[str, ...], no_measure: bool, write: bool, as_json: bool, quiet: bool) -> None:
    """Show how long the examples of RECIPE are, and for each way of making batches of them the share of padding, the
    number of shapes, and the time and memory of an epoch. The arrow marks the best one.

    Time and memory are predicted from a few batches that are computed. No answer depends on the choice.
    """
    from seqkit import recipe as recipes
    from seqkit.errors import UsageError

    checked = recipes.load(recipe, sets)
    if write and (sets or not Path(recipe).is_file()):
        why = "--set is not in the file" if sets else f"{recipe} is not a file"
        raise UsageError(f"--write changes a recipe's file, and {why}")
    if write and len(checked.tasks) > 1:
        raise UsageError("--write: the tasks of a joint recipe share train.batch; choose one value for all")

    from seqkit.experiments.batch_plan import plan_batches
    from seqkit.experiments.batch_plan_report import format_plan
    from seqkit.recipe import rewrite
    from seqkit.runs.progress import Progress

    with Progress(quiet=quiet) as progress:
        plans = plan_batches(checked, progress, measure=not no_measure)
    for plan in plans:
        if as_json:
            choices = [choice.facts() for choice in plan.choices]
            echo_json({"task": plan.task, "ways": choices, "best": plan.best, "lanes": plan.lanes}, indent=None)
        else:
            echo("\n".join(format_plan(plan)))
    if write and plans[0].choices:
        changed = rewrite.write(Path(recipe), checked, plans[0].choices[plans[0].best].settings)
        settings = ", ".join(f"{name}: {'null' if value is None else value}" for name, value in changed.items())
        echo(f"{recipe}: wrote {settings}" if changed else f"{recipe}: nothing to change", err=True)
