"""Why a plugin does not load: the cause, the line in its files, what to do, and its traceback."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seqkit._version import __version__
from seqkit.errors import MissingExtra, SeqkitError
from seqkit.registry.distribution import Distribution

MAX_QUOTED: Final = 300
"""Characters of a plugin's own message that are quoted at most."""

_SEQKIT_FOLDER = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is known of a failed import.

    Attributes:
        cause: one line: `ImportError: cannot import name 'x' from 'y'`.
        where: the innermost line of the plugin's own code, `package/module.py:12`, or else its file.
        advice: what to do.
        missing: True if something that it needs is not installed; then the plugin itself is not broken.
        trace: its traceback, without the frames of seqkit and of Python's import system.
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
    """The diagnosis of an exception that an import has raised.

    Args:
        error: the exception.
        distribution: the name of the plugin's distribution.
        value: the entry point, `package.module:attribute`.
    """
    module = value.partition(":")[0].strip()
    try:
        installed = Distribution(distribution, [module])
    except importlib.metadata.PackageNotFoundError:
        installed = None
    advice, missing = _advise(error, distribution, module, installed)
    return Diagnosis(describe_error(error), _locate(error, module, installed), advice, missing, _format_trace(error))


def describe_error(error: BaseException) -> str:
    """`ValueError: its message`, in one line; of an error of seqkit's the message alone."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # the `__str__` of a third-party exception may fail
        text = ""
    text = text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 3] + "..."
    if isinstance(error, SeqkitError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _advise(error: BaseException, name: str, module: str, installed: Distribution | None) -> tuple[str, bool]:
    """What to do, and whether it is to install something that is missing."""
    if isinstance(error, SeqkitError):
        return "", isinstance(error, MissingExtra)
    fix = f"reinstall or remove {name}, or tell its author"
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    top = (absent or "").partition(".")[0]
    if absent and (_is_inside(module, absent) or (installed is not None and top in installed.top_modules)):
        return _advise_reinstall(installed, name, f"it has no module '{absent}'"), False
    if top == "seqkit":
        return f"seqkit {__version__} has no '{absent}'; install a version of {name} made for it", False
    if absent and top not in sys.modules and installed is not None:
        command = installed.install_command(top)
        if command.startswith("perhaps"):
            return f"install what brings the module '{top}', {command}", True
        unknown = f"install what brings the module '{top}'; the metadata of {name} do not say what that is"
        return command or unknown, True
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "seqkit":
        return f"seqkit {__version__} has no such name; install a version of {name} made for it", False
    if isinstance(error, AttributeError) and getattr(error, "obj", None) is sys.modules.get(module, error):
        return _advise_reinstall(installed, name, "its entry point names something that does not exist"), False
    if isinstance(error, SyntaxError):
        return f"Python {sys.version.split()[0]} cannot read its code; {fix}", False
    return fix, False


def _advise_reinstall(installed: Distribution | None, name: str, cause: str) -> str:
    """The advice if metadata and code do not agree."""
    folder = installed.editable if installed is not None else None
    if folder is not None:
        command = f"pip install -e {shlex.quote(str(folder))}"
        return f"{cause}: its metadata are older than its code; install it again: {command}"
    return f"{cause}; reinstall or remove {name}, or tell its author"


def _locate(error: BaseException, module: str, installed: Distribution | None) -> str:
    """The innermost line of the traceback that is in the distribution's files, or else the file of the module."""
    if installed is None:
        return ""
    if isinstance(error, SyntaxError) and error.filename:
        path = installed.relative_path(error.filename)
        if path is not None:
            return f"{path}:{error.lineno or 1}"
    innermost = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = installed.relative_path(frame.f_code.co_filename)
        innermost = f"{path}:{line}" if path is not None else innermost
    return innermost or installed.relative_path(getattr(sys.modules.get(module), "__file__", None) or "") or ""


def locate_in_dump(dump: str, installed: Distribution) -> str:
    """The innermost line of a dump of faulthandler's that is in the distribution's files; the innermost comes first."""
    for filename, line in re.findall(r'^  File "(.+)", line (\d+) in ', dump, re.MULTILINE):
        path = installed.relative_path(filename)
        if path is not None:
            return f"{path}:{line}"
    return ""


def _format_trace(error: BaseException) -> str:
    """The traceback of an error and its causes, without the frames of seqkit and of Python's import system."""
    trace = traceback.TracebackException.from_exception(error, compact=True)
    for link in _chain(trace):
        link.stack = traceback.StackSummary.from_list([frame for frame in link.stack if _is_shown(frame.filename)])
    return "".join(trace.format())


def _chain(trace: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An exception and all its causes and contexts."""
    yield trace
    for other in (trace.__cause__, trace.__context__):
        if other is not None:
            yield from _chain(other)


def _is_shown(filename: str) -> bool:
    return not filename.startswith(("<frozen importlib", _SEQKIT_FOLDER)) and "/importlib/" not in filename.replace(
        "\\", "/"
    )


def _is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
