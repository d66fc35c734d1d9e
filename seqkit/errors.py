"""The errors that seqkit raises for a user to read.

A user's mistake never shows a traceback: the command line prints `str(error)` and exits with `error.exit_code`.
Exit codes: 0 ok; 1 the run failed; 2 usage, recipe or data error; 130 Ctrl-C; 143 SIGTERM.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONTROLS: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff]"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: where to find it: `file:line:column`, `file:line`, the id of an example, or a flag (`--set train.lr=x`).
        what: what is wrong.
        hint: what to do about it.
    """

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.hint}" if self.hint else head


class SeqkitError(Exception):
    """Base class of all errors that seqkit raises for the user. `exit_code` is the exit code of the process.

    `is_for_all`: of several processes that end together, this one has been chosen to tell its error.
    """

    exit_code = 1
    is_for_all = False


class QuietExit(SeqkitError):
    """Another process of the same run has said already why all of them end. `exit_code` is that of its error."""

    def __init__(self, code: int) -> None:
        super().__init__("")
        self.exit_code = code


class UsageError(SeqkitError):
    """The command or its arguments are wrong."""

    exit_code = 2


class ProblemsError(SeqkitError):
    """One or more problems, reported together, a line each."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RecipeError(ProblemsError):
    """The recipe (or a `--set`) is wrong. Raised before any data is read."""


class DataError(ProblemsError):
    """The data is wrong: a malformed line, an unseen label, a missing file."""


class ValueProblem(ValueError):
    """A value that a field cannot encode, for a reason that lies elsewhere than the value: in a header, say.

    Args:
        where: where the reason is: `walks/17.csv:1`; an empty string if that is not known.
        what: what is wrong.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(str(Problem(where, what)))
        self.problem = Problem(where, what)


class MissingFile(DataError):
    """A file or folder of the data is not there. The message names files of its folder that have its suffix.

    Args:
        path: which.
        what: "file", "folder" or "file or folder".
        hint: what to do.
    """

    def __init__(self, path: object, what: str = "file or folder", hint: str = "") -> None:
        hints = filter(None, (hint, "" if what == "folder" else _files_beside(Path(str(path)))))
        super().__init__(Problem(str(path), f"there is no such {what}", "; ".join(hints)))


_BESIDE_SHOWN: Final = 5
"""Files that a message about a missing one names."""


def _files_beside(path: Path) -> str:
    """Which files lie beside a missing one and have its suffix, compressed or not; nothing if there is none."""
    suffix = _suffix(path.name)
    try:
        names = sorted(
            entry.name
            for entry in os.scandir(path.parent)
            if suffix and not entry.name.startswith(".") and _suffix(entry.name) == suffix and entry.is_file()
        )
    except (OSError, ValueError):
        return ""
    more = f" and {len(names) - _BESIDE_SHOWN:,} more" if len(names) > _BESIDE_SHOWN else ""
    return f"the {suffix} files there are: {', '.join(names[:_BESIDE_SHOWN])}{more}" if names else ""


def _suffix(name: str) -> str:
    return Path(re.sub(r"\.(gz|bgz|xz|bz2)$", "", name.lower())).suffix


class MissingExtra(SeqkitError):
    """An optional dependency is not installed; the message is the command that installs it.

    Args:
        what: what needs it ("the unit `pieces`").
        extra: the name of the extra that installs it.
        distribution: the distribution that has this extra.
    """

    exit_code = 2

    def __init__(self, what: str, extra: str, *, distribution: str = "seqkit") -> None:
        super().__init__(f'{what} needs an extra: pip install "{distribution}[{extra}]"')


class PluginError(SeqkitError):
    """A plugin is missing or broken, or two plugins have the same name."""

    exit_code = 2


class RunError(SeqkitError):
    """A run failed for a reason other than wrong input: NaN, a full disk, a damaged checkpoint."""


class ResumeRefused(UsageError):
    """A run cannot be resumed as it was asked for; its folder is as it was."""


class Interrupted(SeqkitError):
    """The run was asked to stop and has saved a checkpoint. `exit_code` is 130 (Ctrl-C) or 143 (SIGTERM)."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def printable(text: str) -> str:
    """The text with escapes (`\\u001b`) for what would control a terminal or reverse what follows it.

    These are control characters other than the line feed and the tab, marks of the direction of writing, and what
    cannot be encoded. The escapes are those of JSON, so JSON stays the same JSON.
    """
    return text if _CONTROLS.search(text) is None else _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def shortened(text: str, most: int = 200) -> str:
    """The text, or its beginning and how much more there is: a message quotes what files hold."""
    return text if len(text) <= most else f"{text[:most]}... and {len(text) - most:,} characters more"


def name_hint(name: str, known: Sequence[str], *, label: str = "available", if_none: str = "none is installed") -> str:
    """The end of a message about an unknown name: `did you mean 'lstm'? available: gru, lstm, rnn`."""
    listing = f"{label}: {', '.join(known)}" if known else if_none
    return f"{suggest(name, known)} {listing}".lstrip()


def suggest(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """`did you mean 'dropout'?` with the known names that are most similar; an empty string if none is similar.

    Several are named only if they are about equally similar, or contain the most similar one.
    """
    import difflib  # only for a message

    near = difflib.get_close_matches(str(word), sorted(known), n=most, cutoff=0.5)
    if not near:
        return ""
    likeness = [difflib.SequenceMatcher(None, name, str(word)).ratio() for name in near]
    likely = [name for name, like in zip(near, likeness, strict=True) if like >= likeness[0] - 0.1 or near[0] in name]
    return "did you mean " + " or ".join(f"'{name}'" for name in likely) + "?"
