"""What `seqkit plugins` and `seqkit tasks` print of plugins: tables, and reports in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from seqkit.cli.output import echo, echo_wrapped

if TYPE_CHECKING:
    from seqkit.plugin_tools.report import Report
    from seqkit.registry.registry import Plugin
    from seqkit.types import JSON


def list_rows(kind: str | None = None) -> list[dict[str, str]]:
    """A row of metadata for each plugin (of this kind), with a note if its name alone is not enough to use it."""
    from seqkit.registry import registry

    plugins = registry.installed(kind)
    counts = Counter((plugin.kind, plugin.name) for plugin in plugins)
    failed = {failure.plugin for failure in registry.failures()}
    rows = []
    for plugin in plugins:
        note = ""
        if not plugin.is_compatible:
            note = f"needs seqkit{plugin.needs}"
        elif counts[plugin.kind, plugin.name] > 1:
            note = f"not the only one: write {plugin.full_name}"
        elif plugin in failed:
            note = "<failed to load>"
        row = {name: getattr(plugin, name) for name in ("kind", "name", "distribution", "version", "value")}
        rows.append({**row, "note": note})
    return rows


def echo_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text with aligned columns; what does not fit on a terminal goes on below the last column."""
    if not rows:
        echo("none")
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    indent = min(sum(widths[:-1]) + 2 * len(widths) - 2, 40)
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        echo_wrapped(line, indent=indent)


def doctor_lines(report: Report, *, show_traceback: bool) -> Iterator[str]:
    """What `seqkit plugins doctor` prints of one plugin."""
    plugin = report.plugin
    seconds = "" if report.seconds is None else f", {report.seconds:.2f} s"
    yield f"{report.level:<8}{plugin.kind.removesuffix('s')} {plugin.full_name} ({plugin.version}{seconds})"
    for remark in report.remarks:
        yield f"        {remark}"
    if show_traceback and report.trace:
        yield from (f"          {line}" for line in report.trace.rstrip().split("\n"))


def distribution_facts(plugin: Plugin) -> dict[str, JSON]:
    """Facts from the files of a plugin's distribution, as JSON."""
    from seqkit.registry.distribution import Distribution

    distribution = Distribution(plugin.distribution, [plugin.module])
    editable = distribution.editable
    return {
        "summary": distribution.summary,
        "sha256": distribution.sha256,
        "files": list(distribution.files),
        "editable": None if editable is None else str(editable),
    }


def describe_report(report: Report) -> str:
    """What `seqkit plugins info` prints of one plugin."""
    plugin = report.plugin
    lines = [f"{plugin.kind.removesuffix('s')} {plugin.name}", f"  {report.about}" if report.about else ""]
    lines += [f"  {name:<14}{value}" for name, value in _info_rows(report)]
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


def _info_rows(report: Report) -> Iterator[tuple[str, str]]:
    """(name, value) of the facts that `info` shows first."""
    from seqkit.registry.registry import CORE

    plugin, facts = report.plugin, distribution_facts(report.plugin)
    summary = f": {facts['summary']}" if facts["summary"] else ""
    yield "distribution", f"{plugin.distribution} {plugin.version}{summary}"
    if facts["editable"] is not None:
        yield "editable", facts["editable"]
    yield "object", plugin.value
    if plugin.distribution != CORE:
        yield "works with", f"seqkit{plugin.needs}" if plugin.needs else "its metadata do not say"
    count = len(facts["files"])
    yield "sha256", f"{facts['sha256'][:16]}... of {count} files" if facts["sha256"] else "no files found"
    seconds = "" if report.seconds is None else f", imported in {report.seconds:.2f} s"
    yield "state", f"{report.level}{seconds}"
