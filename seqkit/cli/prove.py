"""`seqkit prove`: show that the answers of a recipe or a model do not depend on padding, batch or order."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seqkit.cli.options import SET
from seqkit.cli.output import echo, echo_json
from seqkit.errors import UsageError


@click.command("prove")
@click.argument("recipe_or_model", metavar="RECIPE|FOLDER")
@SET
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per result.")
def command(recipe_or_model: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Check the contracts of a recipe (with new weights) or the folder of a trained model.

    Padding, batch mates, batches of one, order, the shortest and the empty input, causality, carried states, losses
    (their sum, and a reference computation), gradients in the padding, and the saved and reloaded model: each is
    checked with some examples of the task, and with the encoder alone over combinations of its options. Exits with 1
    if a contract fails.
    """
    from seqkit import recipe as recipes
    from seqkit.runs.run_folder import check_model_folder

    is_folder = Path(recipe_or_model).is_dir()
    if is_folder:
        check_model_folder(Path(recipe_or_model))
        if sets:
            raise UsageError("--set: changes a recipe; a trained model is checked as it is")
    else:
        recipes.load(recipe_or_model, sets)  # reports mistakes before torch is imported

    from seqkit.verification.recipe_contracts import prove

    failed, passed_combinations = 0, dict[str, int]()
    for result in prove(Path(recipe_or_model) if is_folder else recipe_or_model, sets):
        failed += not result.passed
        if as_json:
            row = {"contract": result.contract, "where": result.where, "moved": result.moved}
            echo_json(row | {"passed": result.passed, "cause": result.cause}, indent=None)
        elif result.passed and "(" in result.where:  # a combination of the encoder's options: there are many
            encoder = result.where.partition("(")[0]
            passed_combinations[encoder] = passed_combinations.get(encoder, 0) + 1
        else:
            echo(str(result))
    for encoder, count in passed_combinations.items():
        echo(f"ok    encoder {encoder}: {count} contracts hold over all combinations of its options")
    if failed:
        echo(f"{failed} contracts failed", err=True)
        sys.exit(1)
