"""`seqkit tasks`: the tasks that a recipe can use."""

from __future__ import annotations

import json

import click

from seqkit.cli.options import JSON_LIST


@click.command("tasks")
@JSON_LIST
def command(as_json: bool) -> None:
    """List the tasks that a recipe can use, from metadata alone: nothing is imported."""
    from seqkit.cli.plugin_tables import format_table, list_rows

    rows = list_rows("tasks")
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    click.echo(format_table([[row["name"], f"{row['distribution']} {row['version']}", row["note"]] for row in rows]))
