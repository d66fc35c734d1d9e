"""Examines plugins from outside: each is imported in a process of its own, with a time limit, and reported on.

`probe` starts the processes and collects what they find out; they run `seqkit.plugin_tools.probe_child`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from seqkit import public_api
from seqkit._version import __version__
from seqkit.plugin_tools.report import LEVEL_ORDER, Remark, Report, distribution_of
from seqkit.registry import registry
from seqkit.registry.import_errors import Diagnosis, locate_in_dump
from seqkit.registry.registry import CORE, Plugin
from seqkit.runtime.machine import usable_cores

PATIENCE: Final = 5.0
"""Seconds after which an import is ended if it has imported nothing further."""


CEILING: Final = 12
"""An import is ended in any case after this many times the patience."""


MAX_QUOTED: Final = 200
"""Characters of a plugin's output that are quoted at most."""


def probe(plugins: Sequence[Plugin], *, patience: float = PATIENCE) -> Iterator[Report]:
    """A report on each plugin, in their order. Plugins of one module share a process, and so do those of seqkit.

    A plugin that is made for another version of seqkit is not imported.
    """
    groups: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        if plugin.is_compatible:
            groups.setdefault(_group_of(plugin), []).append(plugin)
    name_counts = Counter((plugin.kind, plugin.name) for plugin in registry.installed())
    children: list[subprocess.Popen[bytes]] = []
    # The processes mostly wait: for the disk, or for an import that never finishes.
    pool = ThreadPoolExecutor(max_workers=usable_cores() + 2)
    try:
        futures = {key: pool.submit(_examine_group, group, patience, children) for key, group in groups.items()}
        for plugin in plugins:
            if plugin.is_compatible:
                report = futures[_group_of(plugin)].result()[plugin]
            else:
                message = f"needs seqkit{plugin.needs}, and this is seqkit {__version__}; it was not imported"
                advice = f"install a version of {plugin.distribution} made for it"
                report = Report(plugin, (Remark("bad", message, advice),))
            if name_counts[plugin.kind, plugin.name] > 1:
                report = _add_remarks(report, _clash(plugin))
            yield report
    finally:  # Ctrl-C does not reach the processes
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(children):
            _kill(child)


def _group_of(plugin: Plugin) -> tuple[str, str]:
    """Plugins with the same value are imported in one process."""
    return plugin.distribution, "" if plugin.distribution == CORE else plugin.module


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a process and all processes that it has started."""
    with contextlib.suppress(OSError):  # it has ended already
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _clash(plugin: Plugin) -> Remark:
    """The remark on other plugins of this name."""
    others = [other for other in registry.installed(plugin.kind) if other.name == plugin.name and other != plugin]
    names = " and ".join(f"{other.distribution} {other.version}" for other in others)
    return Remark("bad", f"{names} offers the same name", f"a recipe must write {plugin.full_name}")


def _add_remarks(report: Report, *remarks: Remark) -> Report:
    """The report with these remarks as well, the worst first."""
    ordered = sorted([*report.remarks, *remarks], key=lambda remark: -LEVEL_ORDER.index(remark.level))
    return dataclasses.replace(report, remarks=tuple(ordered))


def _examine_group(
    plugins: Sequence[Plugin], patience: float, children: list[subprocess.Popen[bytes]]
) -> dict[Plugin, Report]:
    """The reports on plugins that are imported in one process."""
    outcome = _run_child(plugins, patience, children)
    reports = {}
    for number, plugin in enumerate(plugins):
        if number in outcome.reports:
            report = Report(plugin, **outcome.reports[number])
        else:
            report = Report(plugin, loaded=False, diagnosis=_diagnose_end(plugin, outcome))
        remarks = []
        if (diagnosis := report.diagnosis) is not None:
            message = f"does not load: {dataclasses.replace(diagnosis, advice='')}"
            remarks.append(Remark("missing" if diagnosis.missing else "bad", message, diagnosis.advice))
        if plugin.distribution != CORE:
            if outcome.output.strip():
                remarks.append(Remark("note", f"wrote {_quote(outcome.output)} when it was imported"))
            remarks += [*_metadata_remarks(plugin), *_private_import_remarks(plugin)]
        reports[plugin] = _add_remarks(report, *remarks)
    return reports


@dataclass(slots=True)
class _Outcome:
    """What a child process has left behind.

    Attributes:
        patience: seconds without progress that it was allowed.
        reports: {number of a plugin: the fields of its Report}, for all plugins that it has examined.
        output: what was written to stdout and stderr.
        dump: what faulthandler wrote: "Timeout" and a traceback, or the traceback of a crash.
        exit_code: negative for a signal; None if it had to be killed.
    """

    patience: float
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    output: str = ""
    dump: str = ""
    exit_code: int | None = None


def _run_child(plugins: Sequence[Plugin], patience: float, children: list[subprocess.Popen[bytes]]) -> _Outcome:
    """Examine plugins in a child process, which may hang, die, start other processes or write anything to stdout.

    Args:
        plugins: what it imports.
        patience: seconds without progress after which it ends itself.
        children: has the process in it while it runs.
    """
    with tempfile.TemporaryDirectory(prefix="seqkit-probe-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        names = [f"{plugin.kind}={plugin.full_name}" for plugin in plugins]
        # The child is to find the same distributions as this process.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        for variable in ("SEQKIT_RAISE_PLUGIN_ERRORS", "SEQKIT_PLUGINS"):
            environment.pop(variable, None)
        outcome = _Outcome(patience)
        with (folder / "output").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "seqkit.plugin_tools.probe_child", str(folder), f"{patience:g}", *names],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
            children.append(child)
            with contextlib.suppress(subprocess.TimeoutExpired):  # no exit code then, which means an endless import
                outcome.exit_code = child.wait(patience * CEILING)
            _kill(child)
            children.remove(child)
        outcome.output = _read_text(folder / "output")
        outcome.dump = _read_text(folder / "dump")
        for line in _read_text(folder / "reports").split("\n"):
            # The last line is cut short if the process died; the plugin counts as the one that ended it.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                number, fields = json.loads(line)
                fields["remarks"] = tuple(Remark(**remark) for remark in fields["remarks"])
                fields["diagnosis"] = Diagnosis(**fields["diagnosis"]) if fields["diagnosis"] else None
                outcome.reports[number] = fields
        return outcome


def _diagnose_end(plugin: Plugin, outcome: _Outcome) -> Diagnosis:
    """Why the import of a plugin has not returned."""
    where = locate_in_dump(outcome.dump, distribution_of(plugin)) if outcome.dump else ""
    advice = f"remove {plugin.distribution}, or tell its author"
    if outcome.exit_code is None or outcome.dump.startswith("Timeout"):
        limit = outcome.patience if outcome.exit_code is not None else outcome.patience * CEILING
        cause = f"its import does not finish; it was ended after {limit:g} s"
        return Diagnosis(cause, where, f"{advice}; --timeout gives it longer", trace=outcome.dump)
    code = outcome.exit_code
    manner = f"by signal {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
    return Diagnosis(f"its import ends the process {manner}", where, advice, trace=outcome.dump)


def _metadata_remarks(plugin: Plugin) -> Iterator[Remark]:
    """Remarks on the metadata of a plugin's distribution."""
    distribution = distribution_of(plugin)
    for line in distribution.stale():
        advice = f"install it again: pip install -e {shlex.quote(str(distribution.editable))}"
        yield Remark("bad", f"its metadata are stale: {line}", advice)
    if not plugin.needs:
        yield Remark("note", "its metadata do not say which versions of seqkit it works with", "tell its author")


def _private_import_remarks(plugin: Plugin) -> Iterator[Remark]:
    """Remarks on imports from seqkit that are not part of the public API."""
    for name, path in distribution_of(plugin).files.items():
        if path.suffix != ".py":
            continue
        try:
            imports = list(public_api.private_imports(path.read_text(encoding="utf-8")))
        except (OSError, SyntaxError, ValueError):
            continue  # if the plugin needs this file, its import fails, which is reported
        for private in imports:
            source = f"imports {private.name} ({name}:{private.line})"
            yield Remark("note", f"{source}, which is not part of the public API and may change at any time")


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= MAX_QUOTED else line[: MAX_QUOTED - 3] + "...")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _read_text(path: Path) -> str:
    """The first MiB of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""
