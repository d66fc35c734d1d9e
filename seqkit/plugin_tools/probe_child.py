"""The process that imports plugins for `seqkit.plugin_tools.probe` and reports on them."""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from seqkit.plugin_tools.report import Remark
from seqkit.recipe.describe import type_in_words
from seqkit.registry import registry
from seqkit.registry.import_errors import Diagnosis, diagnose
from seqkit.registry.registry import CORE, Plugin
from seqkit.registry.side_effects import ProcessSnapshot
from seqkit.types import JSON

LIBRARY_FACTOR: Final = 4
"""While no thread of Python runs, as when a large library is loaded, patience lasts this many times longer."""
TURNS: Final = 20
"""How many waits the patience is divided into."""
SLOW: Final = 1.0
"""Seconds from which the time of an import is worth a note, unless it imports torch."""


def main(arguments: Sequence[str]) -> None:
    """Import plugins one after another, and write a line of JSON on each before the next.

    Args:
        arguments: a folder for the files `reports` and `dump`, the patience in seconds, and `kind=distribution:name`
            of each plugin.
    """
    folder, patience, *names = arguments
    with (Path(folder) / "dump").open("w") as dump, (Path(folder) / "reports").open("w") as reports:
        faulthandler.enable(dump)
        _start_watchdog(float(patience), dump)
        for number, name in enumerate(names):
            kind, _, full_name = name.partition("=")
            (plugin,) = [plugin for plugin in registry.installed(kind) if plugin.full_name == full_name]
            reports.write(json.dumps([number, _examine(plugin)], default=str) + "\n")
            reports.flush()
    # Without exit handlers, and without waiting for threads, that a plugin has left behind.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _start_watchdog(patience: float, dump: TextIO) -> None:
    """End the process, with a traceback in `dump`, when no module was imported for `patience` seconds.

    Time is counted in the waits of a thread, so that a busy machine is not mistaken for an endless import. While no
    Python code runs at all, a timer of faulthandler's counts instead.
    """

    def watch() -> None:
        modules, idle = len(sys.modules), 0
        while idle < TURNS:
            faulthandler.dump_traceback_later(patience * LIBRARY_FACTOR, exit=True, file=dump)
            time.sleep(patience / TURNS)
            idle = idle + 1 if len(sys.modules) == modules else 0
            modules = len(sys.modules)
        dump.write("Timeout\n")
        dump.flush()
        faulthandler.dump_traceback(dump)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="seqkit-probe").start()


def _examine(plugin: Plugin) -> dict[str, JSON]:
    """Import a plugin: the fields of its Report that only an import can tell."""
    had_torch = "torch" in sys.modules
    snapshot = ProcessSnapshot(registry.file_filter(plugin))
    start = time.perf_counter()
    diagnosis: Diagnosis | None = None
    factory: Any = None
    try:
        factory = registry.import_plugin(plugin)
    except BaseException as error:
        diagnosis = diagnose(error, plugin.distribution, plugin.value)
    seconds = time.perf_counter() - start
    remarks: list[Remark] = []
    if plugin.distribution != CORE:
        imported_torch = not had_torch and "torch" in sys.modules
        remarks += _import_remarks(plugin, snapshot, seconds, imported_torch=imported_torch)
    about, options = ("", ()) if factory is None else _options(factory, remarks)
    return {
        "remarks": [dataclasses.asdict(remark) for remark in remarks],
        "loaded": diagnosis is None,
        "diagnosis": dataclasses.asdict(diagnosis) if diagnosis else None,
        "seconds": round(seconds, 4),
        "about": about,
        "options": options,
    }


def _import_remarks(
    plugin: Plugin, snapshot: ProcessSnapshot, seconds: float, *, imported_torch: bool
) -> Iterator[Remark]:
    """Remarks on what an import has changed and how long it took.

    Args:
        plugin: what was imported.
        snapshot: of the process before that.
        seconds: how long it took.
        imported_torch: whether it was the first to import torch.
    """
    for change in snapshot.changes():
        yield Remark("bad" if change.is_grave else "note", f"{change.description} when it was imported")
    if imported_torch and plugin.kind == "tasks":
        yield Remark("note", "its import imports torch", "without it, listing tasks and checking recipes are faster")
    if seconds > SLOW and not imported_torch:
        yield Remark("note", f"its import takes {seconds:.1f} s")


def _options(factory: Callable[..., Any], remarks: list[Remark]) -> tuple[str, list[dict[str, JSON]]]:
    """The first line of the factory's docstring, and its recipe options; problems are added to `remarks`."""
    from seqkit.errors import PluginError
    from seqkit.option_conditions import condition_notes
    from seqkit.recipe.options import MISSING, about_of, docs_of, options_of
    from seqkit.recipe.writer import to_plain

    try:
        about, docs, notes = about_of(factory), docs_of(factory), condition_notes(factory)
        options = options_of(factory)
    except PluginError as error:
        remarks.append(Remark("bad", str(error)))
        return "", []
    except Exception as error:  # the attributes of a third-party object can raise anything
        remarks.append(Remark("bad", f"its options cannot be read: {type(error).__name__}: {error}"))
        return "", []
    rows = []
    for name, annotation, default in options:
        text = " ".join(filter(None, (docs.get(name), notes.get(name))))
        row: dict[str, JSON] = {"name": name, "type": type_in_words(annotation), "about": text}
        if default is not MISSING:
            row["default"] = to_plain(default)
        rows.append(row)
    undocumented = [name for name, _, _ in options if not docs.get(name)]
    if undocumented:
        remarks.append(Remark("note", f"its docstring does not explain {', '.join(undocumented)} under Args:"))
    return about, rows


if __name__ == "__main__":
    main(sys.argv[1:])
