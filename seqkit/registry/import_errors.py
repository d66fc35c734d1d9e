"""Why a plugin does not load: what went wrong, where in its own files, what to do, and its traceback."""

from __future__ import annotations

import importlib.metadata
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seqkit._version import __version__
from seqkit.errors import MissingExtra, SeqkitError
from seqkit.registry.distribution import Distribution

LONGEST: Final = 300
"""Characters of a plugin's own message that are quoted in a sentence."""

_HERE = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a failed import.

    Attributes:
        cause: one line: `ImportError: cannot import name 'x' from 'y'`.
        where: the innermost line of the plugin's own that was running, `package/module.py:12`, or its file.
        advice: what to do.
        missing: True if something is not installed that it needs: that is no fault of its.
        trace: its traceback without the frames of seqkit and of Python's import system.
    """

    cause: str
    where: str = ""
    advice: str = ""
    missing: bool = False
    trace: str = ""

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where and self.where not in self.cause else ""
        return f"{self.cause}{where}" + (f"; {self.advice}" if self.advice else "")


def diagnose(error: BaseException, distribution: str, value: str) -> Diagnosis:
    """What an exception that came out of an import says.

    Args:
        error: the exception.
        distribution: the name of the distribution that was imported from.
        value: the entry point, `package.module:attribute`.
    """
    module = value.partition(":")[0].strip()
    try:
        dist = Distribution(distribution, [module])
    except importlib.metadata.PackageNotFoundError:
        dist = None
    advice, missing = _advice(error, distribution, module, dist)
    return Diagnosis(cause_of(error), _where(error, module, dist), advice, missing, _trace(error))


def cause_of(error: BaseException) -> str:
    """`ValueError: what it says`, in one line; what seqkit says on purpose stands for itself."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # an exception of a stranger's may fail to describe itself
        text = ""
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    if isinstance(error, SeqkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _advice(error: BaseException, name: str, module: str, dist: Distribution | None) -> tuple[str, bool]:
    """What to do, and whether something is missing that has only to be installed."""
    if isinstance(error, SeqkitError):
        return "", isinstance(error, MissingExtra)
    fix = f"reinstall or remove {name}, or tell its author"
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    top = (absent or "").partition(".")[0]
    if absent and (_begins(module, absent) or (dist is not None and top in dist.tops)):
        return _stale(dist, name, f"it has no module '{absent}'"), False
    if top == "seqkit":
        return f"seqkit {__version__} has no '{absent}'; ask for a {name} made for it", False
    if absent and top not in sys.modules and dist is not None:
        command = dist.install_command(top)
        if command.startswith("perhaps"):
            return f"install what brings the module '{top}', {command}", True
        nothing = f"install what brings the module '{top}'; {name} does not say in its metadata what that is"
        return command or nothing, True
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "seqkit":
        return f"seqkit {__version__} has no such name; ask for a {name} made for it", False
    if isinstance(error, AttributeError) and getattr(error, "obj", None) is sys.modules.get(module, error):
        return _stale(dist, name, "its entry point names what is not there"), False
    if isinstance(error, SyntaxError):
        return f"Python {sys.version.split()[0]} cannot read its code; {fix}", False
    return fix, False


def _stale(dist: Distribution | None, name: str, what: str) -> str:
    """The advice where metadata and code do not agree."""
    folder = dist.editable if dist is not None else None
    if folder is not None:
        return f"{what}: its metadata are older than its code; install it again: pip install -e {folder}"
    return f"{what}; reinstall or remove {name}, or tell its author"


def _where(error: BaseException, module: str, dist: Distribution | None) -> str:
    """The innermost line of the distribution's own that the traceback comes by, or else the file of the module."""
    if dist is None:
        return ""
    if isinstance(error, SyntaxError) and error.filename:
        place = dist.place_of(error.filename)
        if place is not None:
            return f"{place}:{error.lineno or 1}"
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        place = dist.place_of(frame.f_code.co_filename)
        found = f"{place}:{line}" if place is not None else found
    return found or dist.place_of(getattr(sys.modules.get(module), "__file__", None) or "") or ""


def where_in(dump: str, dist: Distribution) -> str:
    """The innermost line of the distribution's own in what faulthandler wrote: frames run from the innermost out."""
    for filename, line in re.findall(r'^  File "(.+)", line (\d+) in ', dump, re.MULTILINE):
        place = dist.place_of(filename)
        if place is not None:
            return f"{place}:{line}"
    return ""


def _trace(error: BaseException) -> str:
    told = traceback.TracebackException.from_exception(error, compact=True)
    for each in _chain(told):
        each.stack = traceback.StackSummary.from_list([frame for frame in each.stack if _is_theirs(frame.filename)])
    return "".join(told.format())


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    yield told
    for other in (told.__cause__, told.__context__):
        if other is not None:
            yield from _chain(other)


def _is_theirs(filename: str) -> bool:
    return not filename.startswith(("<frozen importlib", _HERE)) and "/importlib/" not in filename.replace("\\", "/")


def _begins(module: str, start: str) -> bool:
    return module == start or module.startswith(f"{start}.")
