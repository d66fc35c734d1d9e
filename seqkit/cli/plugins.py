"""`seqkit plugins`: tasks, encoders and heads, and the distributions that bring them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from seqkit.scaffold import Kind


@click.group("plugins", short_help="List everything that a recipe may name, and who brings it.")
def command() -> None:
    """Tasks, encoders and heads, and the distributions that bring them."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def list_(as_json: bool) -> None:
    """List all tasks, encoders and heads, from metadata alone: nothing is imported."""
    rows = rows_of()
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    head = ["kind", "name", "distribution", "object", ""]
    cells = [
        [row["kind"], row["name"], f"{row['distribution']} {row['version']}", row["value"], row["note"]] for row in rows
    ]
    click.echo(table([head, *cells]))


@command.command("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["task", "encoder", "head"]), default="task", show_default=True, help="What it brings."
)
@click.option("--out", type=click.Path(path_type=Path), help="The folder to make. Default: seqkit-NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(name: str, kind: Kind, out: Path | None, as_json: bool) -> None:
    """Write a plugin of your own to start from: module, tests, recipe, README and metadata.

    NAME is what a recipe will call it. Nothing is overwritten, and nothing is installed.
    """
    from seqkit import scaffold

    folder = scaffold.new(name, kind, out)
    if as_json:
        files = sorted(scaffold.render(name, kind))
        click.echo(json.dumps({"name": name, "kind": kind, "folder": str(folder), "files": files}, indent=1))
        return
    click.echo(
        f"{folder}: the {kind} '{name}', ready to be installed, tested and run:\n\n"
        f"  cd {folder}\n"
        '  pip install -e ".[dev]"\n'
        "  pytest\n"
        f"  seqkit run {name}.yaml\n"
    )


def rows_of(kind: str | None = None) -> list[dict[str, str]]:
    """What the metadata say of each plugin, with a note where it cannot be used just by its name."""
    from seqkit import registry

    plugins = registry.installed(kind)
    times = Counter((plugin.kind, plugin.name) for plugin in plugins)
    rows = []
    for plugin in plugins:
        note = ""
        if not plugin.compatible:
            note = f"needs seqkit{plugin.needs}"
        elif times[plugin.kind, plugin.name] > 1:
            note = f"not the only one: write {plugin.full_name}"
        rows.append(
            {
                "kind": plugin.kind,
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "value": plugin.value,
                "note": note,
            }
        )
    return rows


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, for reading."""
    if not rows:
        return "none"
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
