"""The process that imports plugins for `seqkit plugins doctor`, and reports on them."""

from __future__ import annotations

import dataclasses
import faulthandler
import importlib.metadata
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from seqkit.plugin_tools.report import Remark, distribution_of
from seqkit.recipe.describe import type_in_words
from seqkit.registry import registry
from seqkit.registry.import_errors import Diagnosis, diagnose
from seqkit.registry.registry import CORE, Plugin
from seqkit.registry.side_effects import ProcessSnapshot
from seqkit.types import JSON

FOR_A_LIBRARY: Final = 4
"""How many times that Python may get no turn at all."""
TURNS: Final = 20
"""Turns that the patience is counted in."""
SLOW: Final = 1.0
"""Seconds from which the time of an import is worth a note, where it does not import torch."""


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
        place_of = distribution_of(plugin).place_of
    except importlib.metadata.PackageNotFoundError:
        place_of = _nowhere
    before = "torch" in sys.modules
    watch = ProcessSnapshot(lambda filename: place_of(filename) is not None)
    start = time.perf_counter()
    diagnosis: Diagnosis | None = None
    factory: Any = None
    try:
        factory = registry.import_(plugin)
    except BaseException as error:
        diagnosis = diagnose(error, plugin.distribution, plugin.value)
    seconds = time.perf_counter() - start
    remarks = []
    if plugin.distribution != CORE:
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
        entry: dict[str, JSON] = {"name": name, "type": type_in_words(annotation), "about": docs.get(name, "")}
        if default is not MISSING:
            entry["default"] = to_plain(default)
        options.append(entry)
    silent = [name for name, _, _ in found if not docs.get(name)]
    if silent:
        remarks.append(Remark("note", f"its docstring does not explain {', '.join(silent)} under Args:"))
    return about, options


if __name__ == "__main__":
    main(sys.argv[1:])
