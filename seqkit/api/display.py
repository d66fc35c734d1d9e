"""How the progress of `seqkit.run` is shown: in a notebook, on stderr, or by a function of the caller."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html import escape
from typing import Any

from seqkit.errors import printable
from seqkit.runs.progress import Progress
from seqkit.types import ProgressCallback

_LINES_KEPT = 200
"""Most lines that stay under the bar in a notebook: a long run must not grow the notebook without end."""


def progress_of(progress: bool | ProgressCallback | None) -> Progress:
    """The progress that was asked for; see `seqkit.run`."""
    if callable(progress):
        return Progress(display=CallbackDisplay(progress))
    if progress is False:
        return Progress(quiet=True)
    return Progress(display=NotebookDisplay()) if in_notebook() else Progress()


def in_notebook() -> bool:
    """Whether this is a notebook, in which HTML can be shown. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


@dataclass
class CallbackDisplay:
    """Calls a function with how far the run has come. Lines are left out; warnings go to stderr."""

    callback: ProgressCallback

    def draw(self, done: int, total: int | None, stage: str, facts: str) -> None:
        self.callback(done, total, stage)

    def say(self, line: str) -> None:
        pass

    def warn(self, line: str) -> None:
        print(line, file=sys.stderr)

    def close(self) -> None:
        pass


@dataclass
class NotebookDisplay:
    """A bar with the last lines under it, in one cell's output that is replaced as the run goes on."""

    lines: list[str] = field(default_factory=list)
    bar: str = ""
    handle: Any = None

    def draw(self, done: int, total: int | None, stage: str, facts: str) -> None:
        share = f' value="{done}" max="{total}"' if total else ""
        count = f"{done:,}" + (f"/{total:,}" if total else "")
        self.bar = f"<div><progress{share}></progress> {_html(f'{stage} {count}')} <small>{_html(facts)}</small></div>"
        self._show()

    def say(self, line: str) -> None:
        self.lines = [*self.lines, line][-_LINES_KEPT:]
        self._show()

    def warn(self, line: str) -> None:
        self.say(line)

    def close(self) -> None:
        self.bar = ""
        if self.handle is not None:
            self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        content = HTML(self.bar + f"<pre>{_html(chr(10).join(self.lines))}</pre>")
        if self.handle is None:
            self.handle = display(content, display_id=True)
        else:
            self.handle.update(content)


def _html(text: str) -> str:
    return escape(printable(text))
