"""`seqkit tasks`: what a recipe may name under `tasks:`."""

from __future__ import annotations

import json

import click


@click.command("tasks", short_help="List the tasks that a recipe may name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def command(as_json: bool) -> None:
    """List the tasks that a recipe may name, from metadata alone: nothing is imported."""
    from seqkit.cli.plugins import rows_of, table

    rows = rows_of("tasks")
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    click.echo(table([[row["name"], f"{row['distribution']} {row['version']}", row["note"]] for row in rows]))
