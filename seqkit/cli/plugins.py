"""`seqkit plugins`: tasks, encoders and heads, the distributions that bring them, and checks of both."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seqkit.cli.options import JSON_LIST, JSON_OBJECT, UserPath
from seqkit.cli.output import echo, echo_json, echo_wrapped

if TYPE_CHECKING:
    from seqkit.plugin_tools.report import Report
    from seqkit.plugin_tools.scaffold import PluginKind
    from seqkit.registry.registry import Plugin
    from seqkit.types import JSON

TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds after which an import that does not proceed is ended.",
)


@click.group("plugins")
def command() -> None:
    """Tasks, encoders and heads, and the distributions that bring them.

    SEQKIT_PLUGINS=off (or seqkit --no-plugins) hides all third-party plugins, SEQKIT_PLUGINS=a,b all except these;
    SEQKIT_RAISE_PLUGIN_ERRORS=1 shows a plugin's own exception.
    """


@command.command("list")
@JSON_LIST
def list_(as_json: bool) -> None:
    """List all tasks, encoders and heads, from metadata alone: nothing is imported."""
    from seqkit.cli.plugin_tables import echo_table, list_rows

    rows = list_rows()
    if as_json:
        echo_json(rows)
        return
    header = ["kind", "name", "distribution", "object", ""]
    cells = [
        [row["kind"], row["name"], f"{row['distribution']} {row['version']}", row["value"], row["note"]] for row in rows
    ]
    echo_table([header, *cells])


@command.command("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(["task", "encoder", "head"]), default="task", show_default=True, help="What it brings."
)
@click.option("--out", type=UserPath(), help="The folder to create. Default: seqkit-NAME.")
@JSON_OBJECT
def new(name: str, kind: PluginKind, out: Path | None, as_json: bool) -> None:
    """Write a plugin of your own to start from: module, tests, recipe, README and metadata.

    NAME is its name in recipes. Nothing is overwritten, and nothing is installed.
    """
    from seqkit.plugin_tools import scaffold

    folder = scaffold.new(name, kind, out)
    if as_json:
        files = sorted(scaffold.render(name, kind))
        echo_json({"name": name, "kind": kind, "folder": str(folder), "files": files})
        return
    echo(
        f"{folder}: the {kind} '{name}', ready to be installed, tested and run:\n\n"
        f"  cd {shlex.quote(str(folder))}\n"
        '  pip install -e ".[dev]"\n'
        "  pytest\n"
        f"  seqkit run {name}.yaml\n"
    )


@command.command("info")
@click.argument("name")
@TIMEOUT
@JSON_LIST
def info(name: str, timeout: float, as_json: bool) -> None:
    """Show what a plugin is, where it comes from, its options, and why it does not load if it does not.

    NAME is a plugin, a distribution, or DISTRIBUTION:NAME. It is imported in a process of its own.
    """
    from seqkit.cli.plugin_tables import describe_report, distribution_facts
    from seqkit.plugin_tools.probe import probe

    reports = list(probe(find_plugins(name), patience=timeout))
    if as_json:
        echo_json([report.facts() | distribution_facts(report.plugin) for report in reports])
        return
    for number, report in enumerate(reports):
        if number:
            echo()
        for line in describe_report(report).split("\n"):
            echo_wrapped(line, indent=len(line) - len(line.lstrip()) + 2)


@command.command("doctor")
@click.argument("name", required=False)
@TIMEOUT
@JSON_LIST
@click.pass_context
def doctor(ctx: click.Context, name: str | None, timeout: float, as_json: bool) -> None:
    """Import every plugin (or NAME), each in a process of its own, and report problems; exit with 1 if one is bad.

    Looks for imports that fail, end the process or never finish, for output, replaced signal handlers and patched
    functions, for names that clash, stale metadata and versions that do not fit. `missing` means that a plugin needs
    something that is not installed.
    """
    from seqkit.cli.plugin_tables import doctor_lines
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    plugins = registry.installed() if name is None else find_plugins(name)
    reports = []
    for report in probe(plugins, patience=timeout):
        reports.append(report)
        if not as_json:
            for line in doctor_lines(report, show_traceback=name is not None):
                echo_wrapped(line, indent=10)
    damaged = registry.unreadable() if name is None else {}
    if as_json:
        rows = [report.facts() for report in reports]
        rows += [{"kind": None, "name": path, "state": "bad", "cause": cause} for path, cause in damaged.items()]
        echo_json(rows)
    else:
        for path, cause in damaged.items():
            echo(f"bad     {path}\n        its metadata cannot be read: {cause}; reinstall or remove it")
        counts = Counter([*(report.level for report in reports), *("bad" for _ in damaged)])
        echo(", ".join(f"{counts[level]} {level}" for level in ("ok", "note", "missing", "bad") if counts[level]))
    if damaged or any(report.level == "bad" for report in reports):
        ctx.exit(1)


@command.command("check")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="A=B", help="An option of the plugin; may be repeated.")
@TIMEOUT
@JSON_LIST
@click.pass_context
def check(ctx: click.Context, name: str, sets: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Check that a plugin keeps every contract that seqkit relies on; exit with 1 if it does not.

    NAME is a plugin, a distribution, or DISTRIBUTION:NAME. A task is tried on its own data (give their folder with
    --set if it has no default), a head on small artificial tasks of every kind that it accepts.
    """
    from seqkit.errors import PluginError, SeqkitError
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    plugins = find_plugins(name)
    options = _parse_options(sets)
    for report in probe(plugins, patience=timeout):
        if report.diagnosis is not None:
            raise PluginError(str(registry.Failure(report.plugin, report.diagnosis)))
        _require_options(report, options)
    from seqkit.plugin_tools.check import check

    rows = []
    for plugin in plugins:
        if not as_json:
            echo(f"{plugin.kind.removesuffix('s')} {plugin.full_name} {plugin.version}")
        try:
            for result in check(plugin, options):
                rows.append({"kind": plugin.kind, "plugin": plugin.full_name, **result.facts()})
                if not as_json:
                    echo(f"  {result}")
        except SeqkitError as error:
            info = f"seqkit plugins info {shlex.quote(plugin.full_name)}"
            echo(f"{error}\noptions are given with --set NAME=VALUE; `{info}` lists them", err=True)
            ctx.exit(error.exit_code)
    broken = sum(not row["passed"] for row in rows)
    if as_json:
        echo_json(rows)
    elif broken:
        echo(f"{broken} of {len(rows)} contracts are broken")
    if broken:
        ctx.exit(1)


def _require_options(report: Report, options: Mapping[str, JSON]) -> None:
    """Refuse to check a plugin that has options without a default that are not given, and say how to give them.

    Raises:
        UsageError: an option is missing.
    """
    from seqkit.errors import UsageError

    missing = [option for option in report.options if "default" not in option and option["name"] not in options]
    if not missing:
        return
    plugin = report.plugin
    command = shlex.join(["seqkit", "plugins", "check", plugin.full_name])
    command += "".join(f" --set {option['name']}=..." for option in missing)
    abouts = {option["name"]: str(option["about"]).rstrip(".") or "an option" for option in missing}
    meanings = [f"  {option['name']}: {abouts[option['name']]} ({option['type']})" for option in missing]
    name = f"the {plugin.kind.removesuffix('s')} '{plugin.name}'"
    raise UsageError("\n".join([f"{name} has options without a default; give them: {command}", *meanings]))


def _parse_options(sets: Sequence[str]) -> dict[str, JSON]:
    """`--set a=b` flags as a mapping; values are YAML, as in recipes."""
    from seqkit.errors import RecipeError, UsageError
    from seqkit.recipe import overrides
    from seqkit.recipe.option_checker import to_python
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


def find_plugins(name: str) -> list[Plugin]:
    """The plugins of this name, of the distribution of this name, or the one that `distribution:name` means.

    Raises:
        PluginError: there is none.
    """
    from seqkit.errors import PluginError, suggest
    from seqkit.registry import registry
    from seqkit.registry.distribution import normal

    installed = registry.installed()
    plugins = [
        plugin for plugin in installed if name in (plugin.name, plugin.full_name) or normal(name) == plugin.distribution
    ]
    if not plugins:
        known = {word for plugin in installed for word in (plugin.name, plugin.distribution)}
        hint = suggest(name, known) or "`seqkit plugins list` shows all"
        raise PluginError(f"no plugin or distribution is called '{name}'; {hint}{registry.filter_note()}")
    return plugins
