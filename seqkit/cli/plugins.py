"""`seqkit plugins`: tasks, encoders and heads, the distributions that bring them, and how well they behave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from seqkit.plugin_tools.report import Report
    from seqkit.plugin_tools.scaffold import PluginKind
    from seqkit.registry.registry import Plugin
    from seqkit.types import JSON

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds that an import may stand still.",
)


@click.group("plugins", short_help="List everything that a recipe may name, and who brings it.")
def command() -> None:
    """Tasks, encoders and heads, and the distributions that bring them.

    SEQKIT_PLUGINS=off (or seqkit --no-plugins) leaves every plugin out that is not seqkit's own, SEQKIT_PLUGINS=a,b all
    but these; SEQKIT_RAISE_PLUGIN_ERRORS=1 lets a plugin's own exception through.
    """


@command.command("list")
@JSON_OPTION
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
@JSON_OPTION
def new(name: str, kind: PluginKind, out: Path | None, as_json: bool) -> None:
    """Write a plugin of your own to start from: module, tests, recipe, README and metadata.

    NAME is what a recipe will call it. Nothing is overwritten, and nothing is installed.
    """
    from seqkit.plugin_tools import scaffold

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


@command.command("info")
@click.argument("name")
@TIMEOUT
@JSON_OPTION
def info(name: str, timeout: float, as_json: bool) -> None:
    """Show what a plugin is, where it comes from, its options, and why it does not load if it does not.

    NAME is a plugin, a distribution, or DISTRIBUTION:NAME. It is imported in a process of its own.
    """
    from seqkit.plugin_tools.probe import probe

    reports = list(probe(matching(name), patience=timeout))
    if as_json:
        click.echo(json.dumps([report.facts() | _installed(report.plugin) for report in reports], indent=1))
        return
    for number, report in enumerate(reports):
        click.echo("\n" * bool(number) + _described(report))


@command.command("doctor")
@click.argument("name", required=False)
@TIMEOUT
@JSON_OPTION
@click.pass_context
def doctor(ctx: click.Context, name: str | None, timeout: float, as_json: bool) -> None:
    """Import every plugin (or NAME), each in a process of its own, and tell what is wrong; leave with 1 if anything is.

    Looks for imports that fail, end the process or do not end, output, signal handlers taken over, functions of others
    replaced, names that clash, metadata that are stale, and versions that do not fit. `missing` means that a plugin
    lacks something that has only to be installed.
    """
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    plugins = registry.installed() if name is None else matching(name)
    reports = []
    for report in probe(plugins, patience=timeout):
        reports.append(report)
        if not as_json:
            for line in _lines(report, trace=name is not None):
                click.echo(line)
    damaged = registry.unreadable() if name is None else {}
    if as_json:
        rows = [report.facts() for report in reports]
        rows += [{"kind": None, "name": where, "state": "bad", "cause": cause} for where, cause in damaged.items()]
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for where, cause in damaged.items():
            click.echo(f"bad     {where}\n        its metadata cannot be read: {cause}; reinstall or remove it")
        states = Counter([*(report.state for report in reports), *("bad" for _ in damaged)])
        click.echo(", ".join(f"{states[state]} {state}" for state in ("ok", "note", "missing", "bad") if states[state]))
    if damaged or any(report.state == "bad" for report in reports):
        ctx.exit(1)


@command.command("check")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="A=B", help="An option of the plugin; may be repeated.")
@TIMEOUT
@JSON_OPTION
@click.pass_context
def check(ctx: click.Context, name: str, sets: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Check that a plugin keeps every contract that seqkit relies on; leave with 1 if it does not.

    NAME is a plugin, a distribution, or DISTRIBUTION:NAME. A task is tried on its own data, with --set where it needs
    to be told where they are; a head on small made-up tasks of every kind that it accepts.
    """
    from seqkit.errors import PluginError
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    plugins = matching(name)
    options = _options(sets)
    for report in probe(plugins, patience=timeout):
        if report.diagnosis is not None:
            raise PluginError(str(registry.Failure(report.plugin, report.diagnosis)))
    from seqkit.plugin_tools.check import check

    rows, bad = [], 0
    for plugin in plugins:
        if not as_json:
            click.echo(f"{plugin.kind.removesuffix('s')} {plugin.full_name} {plugin.version}")
        for outcome in check(plugin, options):
            bad += not outcome.passed
            rows.append({"kind": plugin.kind, "plugin": plugin.full_name, **asdict(outcome)})
            if not as_json:
                click.echo(f"  {outcome}")
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif bad:
        click.echo(f"{bad} of {len(rows)} contracts are broken")
    if bad:
        ctx.exit(1)


def _options(sets: Sequence[str]) -> dict[str, JSON]:
    """`--set a=b` flags as a mapping; values are YAML, as everywhere."""
    from seqkit.errors import RecipeError, UsageError
    from seqkit.recipe import overrides
    from seqkit.recipe.checker import to_python
    from seqkit.recipe.parser import Fatal, Location

    options = {}
    for number, flag in enumerate(sets):
        name, equals, value = flag.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set {flag}: expected OPTION=VALUE, as in --set folder=data")
        try:
            node, issues = overrides.parse(value, Location((1, number, 0), f"--set {flag}", Path.cwd()))
        except Fatal as error:
            raise RecipeError(error.issue.problem) from None
        if issues:
            raise RecipeError([issue.problem for issue in issues])
        options[name] = to_python(node)
    return options


def matching(name: str) -> list[Plugin]:
    """The plugins that a name means: a plugin's, a distribution's, or `distribution:name`.

    Raises:
        PluginError: it means none.
    """
    from seqkit.errors import PluginError, suggest
    from seqkit.registry import registry
    from seqkit.registry.distribution import normal

    everything = registry.installed()
    found = [each for each in everything if name in (each.name, each.full_name) or normal(name) == each.distribution]
    if not found:
        known = {word for each in everything for word in (each.name, each.distribution)}
        hint = suggest(name, known) or "`seqkit plugins list` shows all there are"
        raise PluginError(f"no plugin or distribution is called '{name}'; {hint}{registry.filter_note()}")
    return found


def rows_of(kind: str | None = None) -> list[dict[str, str]]:
    """What the metadata say of each plugin, with a note where it cannot be used just by its name."""
    from seqkit.registry import registry

    plugins = registry.installed(kind)
    times = Counter((plugin.kind, plugin.name) for plugin in plugins)
    failed = {failure.plugin for failure in registry.failures()}
    rows = []
    for plugin in plugins:
        note = ""
        if not plugin.compatible:
            note = f"needs seqkit{plugin.needs}"
        elif times[plugin.kind, plugin.name] > 1:
            note = f"not the only one: write {plugin.full_name}"
        elif plugin in failed:
            note = "<failed to load>"
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


def _lines(report: Report, *, trace: bool) -> Iterable[str]:
    """What doctor prints of a plugin."""
    plugin = report.plugin
    took = "" if report.seconds is None else f", {report.seconds:.2f} s"
    yield f"{report.state:<8}{plugin.kind.removesuffix('s')} {plugin.full_name} ({plugin.version}{took})"
    for remark in report.remarks:
        yield f"        {remark}"
    if trace and report.trace:
        yield from (f"          {line}" for line in report.trace.rstrip().split("\n"))


def _installed(plugin: Plugin) -> dict[str, JSON]:
    """What the files of a plugin's distribution say, as JSON."""
    from seqkit.registry.distribution import Distribution

    dist = Distribution(plugin.distribution, [plugin.module])
    editable = dist.editable
    return {
        "summary": dist.summary,
        "sha256": dist.sha256,
        "files": list(dist.files),
        "editable": None if editable is None else str(editable),
    }


def _described(report: Report) -> str:
    """What info prints of a plugin."""
    from seqkit.registry.registry import CORE

    plugin, facts = report.plugin, _installed(report.plugin)
    strange = plugin.distribution != CORE
    lines = [f"{plugin.kind.removesuffix('s')} {plugin.name}", f"  {report.about}" if report.about else ""]
    rows = [
        (
            "distribution",
            f"{plugin.distribution} {plugin.version}" + (f": {facts['summary']}" if facts["summary"] else ""),
        ),
        ("object", plugin.value),
        ("works with", f"seqkit{plugin.needs}" if plugin.needs else "it does not say") if strange else None,
        (
            "sha256",
            f"{facts['sha256'][:16]}... of {len(facts['files'])} files" if facts["sha256"] else "no files found",
        ),
        ("state", report.state + ("" if report.seconds is None else f", imported in {report.seconds:.2f} s")),
    ]
    if facts["editable"] is not None:
        rows.insert(1, ("editable", facts["editable"]))
    lines += [f"  {name:<14}{value}" for name, value in filter(None, rows)]
    lines += [f"  {'':<14}{remark}" for remark in report.remarks]
    if report.options:
        lines.append("  options")
    for option in report.options:
        default = f" (default {json.dumps(option['default'], ensure_ascii=False)})" if "default" in option else ""
        about = f": {option['about']}" if option["about"] else ""
        lines.append(f"    {option['name']}{about}\n      {option['type']}{default}")
    if report.trace:
        lines += ["  traceback", *(f"    {line}" for line in report.trace.rstrip().split("\n"))]
    return "\n".join(line for line in lines if line)
