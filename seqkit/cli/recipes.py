"""`seqkit recipes`: the recipes that come with seqkit, and checks of recipes."""

from __future__ import annotations

from typing import Any

import click

from seqkit.cli.options import JSON_LIST, JSON_OBJECT, RECIPE, SET
from seqkit.cli.output import echo, echo_json, echo_wrapped


@click.group("recipes")
def command() -> None:
    """List, show and check recipes. A recipe is a YAML file, or the name of one that comes with seqkit."""


@command.command("list")
@JSON_LIST
def list_(as_json: bool) -> None:
    """List the recipes that come with seqkit."""
    from seqkit.recipe import bundled

    rows = [
        {"name": name, "about": bundled.description_of(file.read_text("utf-8")), "file": str(file)}
        for name, file in bundled.find_files().items()
    ]
    if as_json:
        echo_json(rows)
        return
    width = max((len(str(row["name"])) for row in rows), default=0)
    for row in rows:
        about = f"{row['name']:<{width}}  {row['about'][0] if row['about'] else ''}".rstrip()
        echo_wrapped(about, indent=width + 2)


@command.command()
@RECIPE
@click.option("--resolved", is_flag=True, help="With every option and default written out.")
@SET
def show(recipe: str, resolved: bool, sets: tuple[str, ...]) -> None:
    """Print RECIPE as it is, or with every option written out."""
    from seqkit.errors import UsageError
    from seqkit.recipe import load, read

    if resolved:
        echo(load(recipe, sets).resolved(), nl=False)
        return
    if sets:
        raise UsageError("--set changes what --resolved prints; without it the file is printed as it is")
    data, _ = read(recipe)
    echo(data.decode("utf-8", "replace"), nl=not data.endswith(b"\n"))


@command.command()
@RECIPE
@SET
@JSON_OBJECT
@click.pass_context
def check(ctx: click.Context, recipe: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Check RECIPE and print everything that is wrong with it. Reads no data and does not import torch."""
    from seqkit.errors import RecipeError
    from seqkit.recipe import load

    try:
        checked = load(recipe, sets)
    except RecipeError as error:
        if not as_json:
            raise
        problems = [{"where": problem.where, "what": problem.what, "hint": problem.hint} for problem in error.problems]
        echo_json({"recipe": recipe, "ok": False, "problems": problems})
        ctx.exit(error.exit_code)
    tasks: list[dict[str, Any]] = [
        {"name": entry.name, "use": entry.use, "head": entry.head.use} for entry in checked.tasks.values()
    ]
    if as_json:
        facts = {"tasks": tasks, "encoder": checked.encoder.use, "seed": checked.seed, "device": checked.device}
        echo_json({"recipe": recipe, "ok": True, "problems": [], **facts})
        return
    summary = ", ".join(f"{task['name']} ({task['head']})" for task in tasks)
    echo(f"{checked.source}: ok: {summary} on {checked.encoder.use}")


@command.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, for editors. It covers all installed plugins that load."""
    from seqkit.plugin_tools.probe import probe
    from seqkit.recipe.json_schema import json_schema
    from seqkit.registry import registry

    # The schema imports all plugins, so those of third parties are first imported in processes of their own.
    third_party = [plugin for plugin in registry.installed() if plugin.distribution != registry.CORE]
    for report in probe(third_party):
        if report.diagnosis is not None:
            registry.mark_failing(report.plugin, report.diagnosis)

    echo_json(json_schema())
