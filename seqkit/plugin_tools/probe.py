"""Plugins looked at from outside: each is imported in a process of its own, with a time limit, and reported on.

`probe` starts the processes; run as a program (`python -m seqkit.plugin_tools.probe`) this is what they run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
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
from seqkit.registry.import_errors import Diagnosis, where_in
from seqkit.registry.registry import CORE, Plugin

PATIENCE: Final = 5.0
"""Seconds after which an import counts as endless if it imports nothing further."""


CEILING: Final = 12
"""How many times that an import may take at all."""


QUOTED: Final = 200
"""Characters of a plugin's output that are quoted."""


def probe(plugins: Sequence[Plugin], *, patience: float = PATIENCE) -> Iterator[Report]:
    """A report on each plugin, in their order. Those of one module share a process; seqkit's own share one as well.

    A plugin that is made for another seqkit is not imported.
    """
    groups: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        if plugin.compatible:
            module = "" if plugin.distribution == CORE else plugin.module
            groups.setdefault((plugin.distribution, module), []).append(plugin)
    everywhere = Counter((plugin.kind, plugin.name) for plugin in registry.installed())
    children: list[subprocess.Popen[bytes]] = []
    # Processes wait more than they compute: for the disk, and for an import that does not end.
    pool = ThreadPoolExecutor(max_workers=_cores() + 2)
    try:
        found = {key: pool.submit(_examine, group, patience, children) for key, group in groups.items()}
        for plugin in plugins:
            if plugin.compatible:
                key = (plugin.distribution, "" if plugin.distribution == CORE else plugin.module)
                report = found[key].result()[plugin]
            else:
                what = f"needs seqkit{plugin.needs}, and this is seqkit {__version__}; it was not imported"
                report = Report(
                    plugin, (Remark("bad", what, f"install a version of {plugin.distribution} made for it"),)
                )
            if everywhere[plugin.kind, plugin.name] > 1:
                report = _with(report, Remark("bad", *_clash(plugin)))
            yield report
    finally:  # Ctrl-C does not reach the processes
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(children):
            _kill(child)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(OSError):  # it has ended by itself
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _clash(plugin: Plugin) -> tuple[str, str]:
    others = [each for each in registry.installed(plugin.kind) if each.name == plugin.name and each != plugin]
    who = " and ".join(f"{each.distribution} {each.version}" for each in others)
    return f"{who} offers the same name", f"a recipe must write {plugin.full_name}"


def _with(report: Report, *remarks: Remark) -> Report:
    every = sorted([*report.remarks, *remarks], key=lambda remark: -LEVEL_ORDER.index(remark.state))
    return dataclasses.replace(report, remarks=tuple(every))


def _examine(
    plugins: Sequence[Plugin], patience: float, children: list[subprocess.Popen[bytes]]
) -> dict[Plugin, Report]:
    """The reports on plugins that are imported together."""
    said = _ask(plugins, patience, children)
    reports = {}
    for number, plugin in enumerate(plugins):
        report = Report(plugin, **said.reports.get(number, {"loaded": False, "diagnosis": _ended(plugin, said)}))
        remarks = []
        if report.diagnosis is not None:
            found = report.diagnosis
            what = f"does not load: {dataclasses.replace(found, advice='')}"
            remarks.append(Remark("missing" if found.missing else "bad", what, found.advice))
        if plugin.distribution != CORE:
            if said.output.strip():
                remarks.append(Remark("note", f"wrote {_quoted(said.output)} when it was imported"))
            remarks += _read(plugin)
        reports[plugin] = _with(report, *remarks)
    return reports


@dataclass(slots=True)
class _Said:
    """What a process left: a report for each plugin that it came to, its output, its last words, how it ended."""

    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    output: str = ""
    dump: str = ""
    code: int | None = None
    patience: float = 0.0


def _ask(plugins: Sequence[Plugin], patience: float, children: list[subprocess.Popen[bytes]]) -> _Said:
    """Run the child. It can hang, die, start processes of its own and write anything anywhere but in its report."""
    with tempfile.TemporaryDirectory(prefix="seqkit-probe-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        names = [f"{plugin.kind}={plugin.full_name}" for plugin in plugins]
        # The child finds what this process finds, wherever it was started.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        for name in ("SEQKIT_RAISE_PLUGIN_ERRORS", "SEQKIT_PLUGINS"):
            environment.pop(name, None)
        said = _Said(patience=patience)
        with (place / "output").open("wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "seqkit.plugin_tools.probe_child", folder, f"{patience:g}", *names],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
            children.append(child)
            with contextlib.suppress(subprocess.TimeoutExpired):  # no code then, which is told as an endless import
                said.code = child.wait(patience * CEILING)
            _kill(child)
            children.remove(child)
        said.output = _text(place / "output")
        said.dump = _text(place / "dump")
        for line in _text(place / "reports").split("\n"):
            # A line cut short by the end of its process; a plugin without a report is told to have ended it.
            with contextlib.suppress(ValueError, TypeError, KeyError):
                number, found = json.loads(line)
                found["remarks"] = tuple(Remark(**each) for each in found["remarks"])
                found["diagnosis"] = Diagnosis(**found["diagnosis"]) if found["diagnosis"] else None
                said.reports[number] = found
        return said


def _ended(plugin: Plugin, said: _Said) -> Diagnosis:
    """Why an import did not come back."""
    where = where_in(said.dump, distribution_of(plugin)) if said.dump else ""
    advice = f"remove {plugin.distribution}, or tell its author"
    if said.code is None or said.dump.startswith("Timeout"):
        limit = said.patience if said.code is not None else said.patience * CEILING
        cause = f"its import does not end, and was given up after {limit:g} s"
        return Diagnosis(cause, where, f"{advice}; --timeout gives it longer", trace=said.dump)
    by = f"by signal {_signal(-said.code)}" if said.code < 0 else f"with exit code {said.code}"
    return Diagnosis(f"its import ends the process {by}", where, advice, trace=said.dump)


def _read(plugin: Plugin) -> Iterator[Remark]:
    """What its files and its metadata say."""
    dist = distribution_of(plugin)
    for line in dist.stale():
        yield Remark("bad", f"its metadata are stale: {line}", f"install it again: pip install -e {dist.editable}")
    if not plugin.needs:
        yield Remark("note", "its metadata do not say which versions of seqkit it works with", "tell its author")
    for name, path in dist.files.items():
        if path.suffix != ".py":
            continue
        try:
            found = list(public_api.private_imports(path.read_text(encoding="utf-8")))
        except (OSError, SyntaxError, ValueError):
            continue  # a file that cannot be read is none that works; its import tells
        for each in found:
            what = f"imports {each.name} ({name}:{each.line}), which is no public door and may change at any time"
            yield Remark("note", what)


def _quoted(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= QUOTED else flat[: QUOTED - 3] + "...")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
