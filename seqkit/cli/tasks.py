"""`seqkit tasks`: the tasks that a recipe can use."""

from __future__ import annotations

import click

from seqkit.cli.options import JSON_LIST
from seqkit.cli.output import echo_json


@click.command("tasks")
@JSON_LIST
def command(as_json: bool) -> None:
    """List the tasks that a recipe can use, from metadata alone: nothing is imported."""
    from seqkit.cli.plugin_tables import echo_table, list_rows

    rows = list_rows("tasks")
    if as_json:
        echo_json(rows)
        return
    echo_table([[row["name"], f"{row['distribution']} {row['version']}", row["note"]] for row in rows])
