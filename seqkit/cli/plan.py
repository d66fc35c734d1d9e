"""`seqkit plan`: what each way of making batches would cost."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("plan", short_help="Show what each way of making batches would cost.")
@click.argument("recipe")
@click.option(
    "--set", "sets", multiple=True, metavar="A.B=C", help="Override an option of the recipe; may be repeated."
)
@click.option("--no-measure", is_flag=True, help="Count padding and shapes only; work on no batch.")
@click.option("--write", is_flag=True, help="Write the best choice into the recipe's file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a task.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def command(recipe: str, sets: tuple[str, ...], no_measure: bool, write: bool, as_json: bool, quiet: bool) -> None:
    """Show how long the examples of RECIPE are, and for each way of making batches of them: how much is padding, how
    many shapes there are, and what an epoch takes in time and memory. The arrow marks the one to take.

    Time and memory are predicted from a few batches that are worked on. No answer depends on the choice.
    """
    from seqkit import recipe as recipes
    from seqkit.errors import UsageError

    checked = recipes.load(recipe, sets)
    if write and (sets or not Path(recipe).is_file()):
        why = "--set is not in the file" if sets else f"{recipe} is no file"
        raise UsageError(f"--write changes a recipe's file, and {why}")
    if write and len(checked.tasks) > 1:
        raise UsageError("--write: the tasks of a joint recipe share train.batch; choose for all of them by hand")

    from seqkit.experiments import batch_plan as planning
    from seqkit.experiments import batch_plan_report
    from seqkit.recipe import rewrite
    from seqkit.runs.progress import Progress

    with Progress(quiet=quiet) as progress:
        plans = planning.plan(checked, progress, measure=not no_measure)
    for each in plans:
        if as_json:
            ways = [way.facts() for way in each.ways]
            click.echo(json.dumps({"task": each.task, "ways": ways, "best": each.best, "lanes": each.lanes}))
        else:
            click.echo("\n".join(batch_plan_report.table(each)))
    if write and plans[0].ways:
        changed = rewrite.write(Path(recipe), checked, plans[0].ways[plans[0].best].settings)
        said = ", ".join(f"{word}: {'null' if value is None else value}" for word, value in changed.items())
        click.echo(f"{recipe}: wrote {said}" if changed else f"{recipe}: nothing to change", err=True)
