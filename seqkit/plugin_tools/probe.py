"""Plugins looked at from outside: each is imported in a process of its own, with a time limit, and reported on.

`probe` starts the processes; run as a program (`python -m seqkit.plugin_tools.probe`) this is what they run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import importlib.metadata
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeAlias

from seqkit import public_api
from seqkit._version import __version__
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.registry.import_errors import Diagnosis, diagnose, where_in
from seqkit.registry.registry import HOME, Plugin
from seqkit.registry.side_effects import Watch
from seqkit.types import JSON

State: TypeAlias = Literal["ok", "note", "missing", "bad"]

PATIENCE: Final = 5.0
"""Seconds after which an import counts as endless if it imports nothing further."""
CEILING: Final = 12
"""How many times that an import may take at all."""
FOR_A_LIBRARY: Final = 4
"""How many times that Python may get no turn at all."""
TURNS: Final = 20
"""Turns that the patience is counted in."""
SLOW: Final = 1.0
"""Seconds from which the time of an import is worth a note, where it does not import torch."""
QUOTED: Final = 200
"""Characters of a plugin's output that are quoted."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to know about a plugin. `state`: how bad it is."""

    state: State
    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of one plugin.

    Attributes:
        plugin: which.
        remarks: everything worth saying, the worst first.
        loaded: whether its import brings what the entry point names; None: it was not tried.
        diagnosis: why it does not load, if it does not.
        seconds: how long the import took.
        about: the first line of its docstring.
        options: of its recipe options, each `{"name", "type", "default", "about"}`.
    """

    plugin: Plugin
    remarks: tuple[Remark, ...] = ()
    loaded: bool | None = None
    diagnosis: Diagnosis | None = None
    seconds: float | None = None
    about: str = ""
    options: tuple[Mapping[str, JSON], ...] = ()

    @property
    def state(self) -> State:
        """The worst of the remarks."""
        return max((remark.state for remark in self.remarks), key=_ORDER.index, default="ok")

    @property
    def trace(self) -> str:
        """The traceback of a plugin that does not load."""
        return self.diagnosis.trace if self.diagnosis else ""

    def facts(self) -> dict[str, JSON]:
        """As JSON."""
        plugin = {
            name: getattr(self.plugin, name) for name in ("kind", "name", "distribution", "version", "value", "needs")
        }
        return {
            **plugin,
            "state": self.state,
            "loaded": self.loaded,
            "seconds": self.seconds,
            "cause": self.diagnosis.cause if self.diagnosis else "",
            "where": self.diagnosis.where if self.diagnosis else "",
            "remarks": [dataclasses.asdict(remark) for remark in self.remarks],
            "traceback": self.trace,
            "about": self.about,
            "options": list(self.options),
        }


_ORDER: Final[tuple[State, ...]] = ("ok", "note", "missing", "bad")


def probe(plugins: Sequence[Plugin], *, patience: float = PATIENCE) -> Iterator[Report]:
    """A report on each plugin, in their order. Those of one module share a process; seqkit's own share one as well.

    A plugin that is made for another seqkit is not imported.
    """
    groups: dict[tuple[str, str], list[Plugin]] = {}
    for plugin in plugins:
        if plugin.compatible:
            module = "" if plugin.distribution == HOME else plugin.module
            groups.setdefault((plugin.distribution, module), []).append(plugin)
    everywhere = Counter((plugin.kind, plugin.name) for plugin in registry.installed())
    children: list[subprocess.Popen[bytes]] = []
    # Processes wait more than they compute: for the disk, and for an import that does not end.
    pool = ThreadPoolExecutor(max_workers=_cores() + 2)
    try:
        found = {key: pool.submit(_examine, group, patience, children) for key, group in groups.items()}
        for plugin in plugins:
            if plugin.compatible:
                key = (plugin.distribution, "" if plugin.distribution == HOME else plugin.module)
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
    every = sorted([*report.remarks, *remarks], key=lambda remark: -_ORDER.index(remark.state))
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
        if plugin.distribution != HOME:
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
                [sys.executable, "-P", "-m", "seqkit.plugin_tools.probe", folder, f"{patience:g}", *names],
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
    where = where_in(said.dump, _distribution(plugin)) if said.dump else ""
    advice = f"remove {plugin.distribution}, or tell its author"
    if said.code is None or said.dump.startswith("Timeout"):
        limit = said.patience if said.code is not None else said.patience * CEILING
        cause = f"its import does not end, and was given up after {limit:g} s"
        return Diagnosis(cause, where, f"{advice}; --timeout gives it longer", trace=said.dump)
    by = f"by signal {_signal(-said.code)}" if said.code < 0 else f"with exit code {said.code}"
    return Diagnosis(f"its import ends the process {by}", where, advice, trace=said.dump)


def _read(plugin: Plugin) -> Iterator[Remark]:
    """What its files and its metadata say."""
    dist = _distribution(plugin)
    for line in dist.stale():
        yield Remark("bad", f"its metadata are stale: {line}", f"install it again: pip install -e {dist.editable}")
    if not plugin.needs:
        yield Remark("note", "its metadata do not say which versions of seqkit it works with", "tell its author")
    for name, path in dist.files.items():
        if path.suffix != ".py":
            continue
        try:
            found = list(public_api.trespasses(path.read_text(encoding="utf-8")))
        except (OSError, SyntaxError, ValueError):
            continue  # a file that cannot be read is none that works; its import tells
        for each in found:
            what = f"imports {each.name} ({name}:{each.line}), which is no public door and may change at any time"
            yield Remark("note", what)


def _distribution(plugin: Plugin) -> Distribution:
    return Distribution(plugin.distribution, [plugin.module])


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


# ---- the child


def main(arguments: Sequence[str]) -> None:
    """Import plugins one after another and write a line of JSON on each, as soon as there is something to say."""
    folder, patience, *names = arguments
    with (Path(folder) / "dump").open("w") as dump, (Path(folder) / "reports").open("w") as reports:
        faulthandler.enable(dump)
        _give_up_after(float(patience), dump)
        for number, name in enumerate(names):
            kind, _, full_name = name.partition("=")
            (plugin,) = [each for each in registry.installed(kind) if each.full_name == full_name]
            found = _look(plugin)
            reports.write(json.dumps([number, found], default=str) + "\n")
            reports.flush()
    # Whatever it has registered to happen at the end, or left running, is nobody's business here.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _give_up_after(patience: float, dump: TextIO) -> None:
    """End the process when no module was imported for this long, with a traceback of where it stood.

    Time is counted in turns that this thread gets, so that a busy machine is not taken for an endless import. Where
    Python gets no turn at all, as while a large library is loaded, a clock of C's runs, and gives it longer.
    """

    def follow() -> None:
        seen, still = len(sys.modules), 0
        while still < TURNS:
            faulthandler.dump_traceback_later(patience * FOR_A_LIBRARY, exit=True, file=dump)
            time.sleep(patience / TURNS)
            now = len(sys.modules)
            seen, still = now, (still + 1 if now == seen else 0)
        dump.write("Timeout\n")
        dump.flush()
        faulthandler.dump_traceback(dump)
        os._exit(1)

    threading.Thread(target=follow, daemon=True, name="seqkit-probe").start()


def _look(plugin: Plugin) -> dict[str, JSON]:
    """The fields of a Report that only an import can tell."""
    try:
        place_of = _distribution(plugin).place_of
    except importlib.metadata.PackageNotFoundError:
        place_of = _nowhere
    before = "torch" in sys.modules
    watch = Watch(lambda filename: place_of(filename) is not None)
    start = time.perf_counter()
    diagnosis: Diagnosis | None = None
    factory: Any = None
    try:
        factory = registry.import_(plugin)
    except BaseException as error:
        diagnosis = diagnose(error, plugin.distribution, plugin.value)
    seconds = time.perf_counter() - start
    remarks = []
    if plugin.distribution != HOME:
        remarks += [
            Remark("bad" if each.grave else "note", f"{each.what} when it was imported") for each in watch.changes()
        ]
        torch = not before and "torch" in sys.modules
        if torch and plugin.kind == "tasks":
            remarks.append(Remark("note", "its import imports torch", "listing and checking stay quick without it"))
        if seconds > SLOW and not torch:
            remarks.append(Remark("note", f"its import takes {seconds:.1f} s"))
    about, options = ("", ()) if factory is None else _options(factory, remarks)
    return {
        "remarks": [dataclasses.asdict(remark) for remark in remarks],
        "loaded": diagnosis is None,
        "diagnosis": dataclasses.asdict(diagnosis) if diagnosis else None,
        "seconds": round(seconds, 4),
        "about": about,
        "options": options,
    }


def _nowhere(filename: str) -> str | None:
    return None


def _options(factory: Callable[..., Any], remarks: list[Remark]) -> tuple[str, list[dict[str, JSON]]]:
    """The first line of the factory's docstring, and its recipe options."""
    from seqkit.errors import PluginError
    from seqkit.recipe.options import MISSING, about_of, docs_of, options_of
    from seqkit.recipe.writer import to_plain

    try:
        about, docs = about_of(factory), docs_of(factory)
        found = options_of(factory)
    except PluginError as error:
        remarks.append(Remark("bad", str(error)))
        return "", []
    except Exception as error:  # what a stranger's object does when it is looked at
        remarks.append(Remark("bad", f"its options cannot be read: {type(error).__name__}: {error}"))
        return "", []
    options = []
    for name, annotation, default in found:
        entry: dict[str, JSON] = {"name": name, "type": _type(annotation), "about": docs.get(name, "")}
        if default is not MISSING:
            entry["default"] = to_plain(default)
        options.append(entry)
    silent = [name for name, _, _ in found if not docs.get(name)]
    if silent:
        remarks.append(Remark("note", f"its docstring does not explain {', '.join(silent)} under Args:"))
    return about, options


_PLAIN: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}
_BOUNDS: Final = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def _type(annotation: Any) -> str:
    """A type in words: `a whole number, at least 1, or null`."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Literal:
        return _listed([str(member) for member in members])
    if origin is typing.Annotated:
        bounds = [
            f"{word} {getattr(mark, key):g}" for mark in members[1:] for key, word in _BOUNDS if hasattr(mark, key)
        ]
        return ", ".join([_type(members[0]), *bounds])
    if origin in (typing.Union, types.UnionType):
        inner = [_type(member) for member in members]
        return ", or ".join(inner) if any("," in each for each in inner) else " or ".join(inner)
    if origin in (tuple, list, Sequence):
        items = dict.fromkeys(_type(member) for member in members if member is not Ellipsis)
        return f"a list ({'; '.join(items)})"
    if origin in (dict, Mapping):
        return f"a mapping ({_type(members[1])})"
    return inspect.formatannotation(annotation).replace("typing.", "")


def _listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


if __name__ == "__main__":
    main(sys.argv[1:])
