"""`seqkit prove`: show that a recipe's or a model's answers do not move."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command("prove", short_help="Show that a recipe's or a model's answers do not move.")
@click.argument("what")
@click.option(
    "--set", "sets", multiple=True, metavar="A.B=C", help="Override an option of the recipe; may be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a finding.")
def command(what: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Check the contracts of WHAT: a recipe (with new weights) or the folder of a trained model.

    Padding, batch mates, batches of one, order, the shortest and the empty input, causality, states carried over,
    losses (added up, and computed by hand), gradients in the padding, and the model saved and opened again: each is
    tried on a few of the task's own examples, and on the encoder alone with its options varied. Leaves with 1 if any
    of them fails.
    """
    from seqkit.verification.recipe_contracts import prove

    failed, quiet = 0, dict[str, int]()
    for finding in prove(Path(what) if Path(what).is_dir() else what, sets):
        failed += not finding.passed
        if as_json:
            row = {"contract": finding.contract, "where": finding.where, "moved": finding.moved}
            click.echo(json.dumps(row | {"passed": finding.passed, "cause": finding.cause}))
        elif finding.passed and "(" in finding.where:  # the encoder's options, a hundred of them: told in one line
            encoder = finding.where.partition("(")[0]
            quiet[encoder] = quiet.get(encoder, 0) + 1
        else:
            click.echo(str(finding))
    for encoder, count in quiet.items():
        click.echo(f"ok    encoder {encoder}: {count} contracts hold over all combinations of its options")
    if failed:
        click.echo(f"{failed} contracts failed", err=True)
        sys.exit(1)
