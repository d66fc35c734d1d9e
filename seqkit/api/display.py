"""What notebooks show, and how the progress of `seqkit.run` is shown there, on stderr, or by the caller's function."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
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
        ipython: Any = importlib.import_module("IPython.display")
        content = ipython.HTML(self.bar + f"<pre>{_html(chr(10).join(self.lines))}</pre>")
        if self.handle is None:
            self.handle = ipython.display(content, display_id=True)
        else:
            self.handle.update(content)


def html_table(title: str, rows: Mapping[str, Any]) -> str:
    """A heading and a table of names and values as HTML for a notebook; everything in it is escaped."""
    left = 'style="text-align:left"'
    cells = "".join(
        f"<tr><td {left}>{_html(name)}</td><td {left}>{_html(_shown(value))}</td></tr>" for name, value in rows.items()
    )
    return f"<div><b>{_html(title)}</b><table>{cells}</table></div>"


def html_spans(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """A text with its spans marked, each with its type; spans that overlap an earlier one are left out."""
    parts, end = [], 0
    for span in sorted(spans, key=lambda span: int(span["start_char"])):
        if span["start_char"] < end:
            continue
        parts.append(_html(text[end : span["start_char"]]))
        end = span["end_char"]
        parts.append(f"<mark>{_html(text[span['start_char'] : end])} <small>{_html(str(span['type']))}</small></mark>")
    return f"<div>{''.join(parts)}{_html(text[end:])}</div>"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _html(text: str) -> str:
    return escape(printable(text))
