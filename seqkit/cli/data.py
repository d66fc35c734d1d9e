"""`seqkit data`: what a recipe reads, without training."""

from __future__ import annotations

import click

from seqkit.cli.options import JSON_OBJECT, QUIET, RECIPE, SET, STRICT
from seqkit.cli.output import echo, echo_json


@click.command("data")
@RECIPE
@SET
@click.option(
    "--examples", type=click.IntRange(min=0), default=0, metavar="N", help="Show the first N examples of each split."
)
@STRICT
@JSON_OBJECT
@QUIET
def command(recipe: str, sets: tuple[str, ...], examples: int, strict: bool, as_json: bool, quiet: bool) -> None:
    """Read the data of RECIPE and show what is used of it, how it is divided, and what is left out; train nothing.

    For each task and split: files and columns, examples and their lengths, classes with their counts, the rule by which
    the data are split, what was left out and why, and warnings about what looks wrong.
    """
    from seqkit import recipe as recipes

    checked = recipes.load(recipe, sets)

    from seqkit.data.card import make_card
    from seqkit.data.card_table import format_card, format_examples, format_warnings
    from seqkit.experiments.prepare import first_examples, prepare_data, refuse
    from seqkit.runs.progress import Progress

    with Progress(quiet=quiet) as progress:
        data = prepare_data(checked, progress, show_card=False)
    shown = {name: first_examples(task_data, examples) for name, task_data in data.items()}
    if as_json:
        facts = {
            name: make_card(task_data).facts() | ({"examples": shown[name]} if examples else {})
            for name, task_data in data.items()
        }
        echo_json(facts)
    else:
        for number, (name, task_data) in enumerate(data.items()):
            card = make_card(task_data)
            lines = [*format_card(card), *format_warnings(card), *format_examples(shown[name])]
            echo("\n".join(["", *lines] if number else lines))
    refuse(data, strict=strict)
