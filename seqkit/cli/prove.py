"""`seqkit prove`: show that the answers of a recipe or a model do not depend on padding, batch or order."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seqkit.cli.options import SET, Device, RecipeName
from seqkit.cli.output import echo, echo_json, echo_wrapped
from seqkit.errors import UsageError


@click.command("prove")
@click.argument("recipe_or_model", type=RecipeName(), metavar="RECIPE|FOLDER")
@SET
@click.option("--device", type=Device(), default="cpu", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per result.")
def command(recipe_or_model: str, sets: tuple[str, ...], device: str, as_json: bool) -> None:
    """Check that the answers of a recipe (with new weights), or of the trained model in a folder, depend on the input
    alone: not on padding, on other examples of the batch, on their order, or on the batch's size.

    Also: that a causal model does not see the future, that two halves with the state carried over equal the whole, that
    losses add up and equal a second computation, that no gradient comes from padding, that the shortest input works and
    an empty one is refused, and that a saved model predicts the same. Each is checked with some examples of the task,
    and with the encoder alone over combinations of its options. Exits with 1 if a check fails.
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

    from seqkit.runtime.device import choose_device
    from seqkit.verification.recipe_contracts import prove

    chosen = choose_device(device)

    if not as_json:
        echo(_INTRODUCTION)
    checked, failed, of_encoder, where = 0, 0, dict[str, int](), ""
    for result in prove(Path(recipe_or_model) if is_folder else recipe_or_model, sets, device=chosen):
        checked, failed = checked + 1, failed + (not result.passed)
        if as_json:
            row = {"contract": result.contract, "where": result.where, "moved": result.moved}
            echo_json(row | {"passed": result.passed, "cause": result.cause}, indent=None)
        elif result.passed and "(" in result.where:  # a combination of the encoder's options: there are many
            encoder = result.where.partition("(")[0]
            of_encoder[encoder] = of_encoder.get(encoder, 0) + 1
        else:
            if result.where != where:
                where = result.where
                echo(where)
            for line in result.lines():
                echo_wrapped(f"  {line}", indent=8)
    if not as_json:
        for encoder, count in of_encoder.items():
            echo(f"the encoder {encoder} by itself, with every combination of its options")
            echo(f"  ok    {count} checks")
    if not failed and not as_json:
        echo(f"all {checked} checks passed")
    if failed:
        echo(f"{failed} of {checked} checks failed", err=True)
        sys.exit(1)


_INTRODUCTION = """\
Each check computes the same thing in two ways. The number is the largest
difference, relative to the size of the outputs; below 1e-05 it is rounding.
"""
