"""Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere, nothing under `--quiet`.

    with Progress(quiet=quiet) as progress:
        progress.stage("reading train", done, total)
        progress.update(step, total, tokens=batch.tokens, epoch=2)
        progress.note({"charlm/train/nats": 1.92})
        progress.say("step 500  charlm/dev/nats 1.8421  best so far")

`NO_COLOR` switches colours off. There is no thread, and nothing is drawn more often than it can be read.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from seqkit.errors import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_SECONDS = 10.0
"""Seconds between two plain lines."""

FRAME_SECONDS = 0.1
"""Seconds between two updates of the bar."""

SPEED_SECONDS = 30.0
"""Speed and remaining time are computed from about this many last seconds."""


class Display(Protocol):
    """Shows progress elsewhere than on stderr: in a notebook, or in a program that has its own way."""

    def draw(self, done: int, total: int | None, stage: str, facts: str) -> None:
        """Show how far this stage has come; `facts` are losses, speed and remaining time."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def warn(self, line: str) -> None:
        """Show a line that must be seen."""

    def close(self) -> None:
        """A stage has ended."""


class Progress:
    """Shows a person how far training, and what is before and after it, has come.

    Args:
        total: optimiser steps in all, if known already.
        quiet: print nothing but warnings.
        warns: whether warnings are printed: of several processes, which all find the same, the first one does.
        stream: None: stderr as it is now.
        display: shows everything instead of the stream.
        every: seconds between two plain lines.
        clock: for tests.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        quiet: bool = False,
        warns: bool = True,
        stream: TextIO | None = None,
        display: Display | None = None,
        every: float = LINE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet, self._warns, self._every, self._clock = quiet, warns, every, clock
        self._display = display
        self._terminal = not quiet and (display is not None or _is_terminal(self._stream))
        self._bar: Bar | None = None
        self._bar_task: TaskID | None = None
        self._name, self._total, self._done = "", total, 0
        self._fields: dict[str, str] = {}
        self._tokens = 0
        self._paused = 0.0
        self._marks: deque[tuple[float, int, int, float]] = deque()
        self._drawn = -float("inf")
        self._has_news = self._has_printed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, step: int, total: int | None = None, *, tokens: int = 0, **fields: object) -> None:
        """Training has reached this step.

        Args:
            total: optimiser steps in all.
            tokens: real input steps since the last call; their speed is shown, without evaluations.
            fields: shown as they are: `epoch=2`.
        """
        self._switch("")
        self._total = total if total is not None else self._total
        self._done, self._tokens = step, self._tokens + tokens
        self._fields.update((name, _format_value(value)) for name, value in fields.items())
        self._tick()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here does not count for the speed: that of evaluations. It does for the remaining time."""
        began = self._clock()
        yield
        self._paused += self._clock() - began

    def note(self, values: Mapping[str, object]) -> None:
        """Show these numbers beside the bar from now on: the last losses."""
        self._fields.update((name, _format_value(value)) for name, value in values.items())

    def stage(self, name: str, done: int, total: int | None = None) -> None:
        """A stage before or after training has come this far: reading a split, downloading a file."""
        self._switch(name)
        self._done, self._total = done, total
        self._tick()

    def say(self, line: str) -> None:
        """Print a line that stays above the bar."""
        if self._display is not None:
            self._display.say(_without_controls(line))
        elif not self._quiet:
            self.warn(line)

    def warn(self, line: str) -> None:
        """Print a line that is no progress and must be seen: not even `quiet` holds it back."""
        if self._display is not None:
            self._display.warn(_without_controls(line))
        elif not self._warns:
            return
        elif self._bar is not None:
            self._bar.console.print(_without_controls(line), markup=False, highlight=False, soft_wrap=True)
        else:
            self._print(line)

    def close(self) -> None:
        """End the bar, or print a last line. Stages that were too short for a line get none."""
        shows_end = self._display is not None or (not self._terminal and (self._has_printed or not self._name))
        if self._has_news and shows_end:
            self._draw()
        if self._display is not None:
            self._display.close()
        self._has_news = self._has_printed = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _switch(self, name: str) -> None:
        """Change to another stage, after showing how far the old one has come."""
        if name == self._name:
            return
        self.close()
        self._name, self._done, self._total = name, 0, None
        self._fields, self._tokens = {}, 0
        self._marks.clear()
        self._drawn = -float("inf") if self._terminal else self._clock()

    def _tick(self) -> None:
        if self._quiet:
            return
        now = self._clock()
        self._has_news = True
        if not self._marks:
            self._marks.append((now, self._done, self._tokens, self._paused))
            if not self._terminal:
                self._drawn = now  # the first plain line is due after the first interval
        if now - self._drawn >= (FRAME_SECONDS if self._terminal else self._every):
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        now = self._clock()
        self._marks.append((now, self._done, self._tokens, self._paused))
        while len(self._marks) > 2 and now - self._marks[1][0] >= SPEED_SECONDS:
            self._marks.popleft()
        self._has_news, self._has_printed = False, True
        if self._display is not None:
            facts, remaining = self._facts()
            shown = "  ".join([*facts, remaining] if remaining else facts)
            self._display.draw(self._done, self._total, self._name or "step", shown)
        elif self._terminal:
            self._draw_bar()
        else:
            self._print(self._line())

    def _draw_bar(self) -> None:
        if self._bar is None:
            self._bar = _make_bar(self._stream)
            self._bar_task = self._bar.add_task("", total=None, facts="")
            self._bar.start()
        assert self._bar_task is not None
        # What is left of the line beside the bar, with a blank on each side of it.
        room = self._bar.console.width - _bar_width(self._bar.console.width) - 2
        facts, remaining = self._facts()
        position = self._position(room - len(remaining))
        shown = _fitting([*facts, remaining] if remaining else facts, room - len(position), keeps=bool(remaining))
        self._bar.update(
            self._bar_task, completed=self._done, total=self._total, description=position, facts="  ".join(shown)
        )
        self._bar.refresh()

    def _position(self, room: int | None = None) -> str:
        """What is done and how far; a name that leaves no room for the numbers is shortened."""
        name = self._name or "step"
        numbers = f" {self._done:,}" + ("" if self._total is None else f"/{self._total:,}")
        if room is not None and len(name) + len(numbers) > room:
            name = name[: max(8, room - len(numbers)) - 3] + "..."
        return name + numbers

    def _facts(self) -> tuple[list[str], str]:
        """Fields and speed; and the remaining time, empty if it is not known."""
        parts = [f"{name} {value}" for name, value in self._fields.items()]
        first, last = self._marks[0], self._marks[-1]
        seconds, steps, tokens, paused = (b - a for a, b in zip(first, last, strict=True))
        if seconds > paused and tokens > 0:
            parts.append(f"{_format_count(tokens / (seconds - paused))} tokens/s")
        if seconds > 0 and steps > 0 and self._total is not None and self._done < self._total:
            return parts, f"eta {_format_duration((self._total - self._done) * seconds / steps)}"
        return parts, ""

    def _line(self) -> str:
        share = f" ({100 * self._done // self._total}%)" if self._total else ""
        facts, remaining = self._facts()
        return "  ".join([f"{self._position()}{share}", *facts, remaining]).rstrip()

    def _print(self, line: str) -> None:
        try:
            self._stream.write(_without_controls(line) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True  # the reader has closed the pipe; the run continues


def _make_bar(stream: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(file=stream)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=_bar_width(console.width)),
        TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
    )


def _bar_width(columns: int) -> int:
    """Columns of the bar in a terminal of this many."""
    return max(8, min(24, columns // 5))


def _fitting(parts: list[str], room: int, *, keeps: bool) -> list[str]:
    """The parts that fit into this many columns, two blanks apart: the first ones, and the last one if it is kept."""
    from rich.cells import cell_len

    last = parts[-1:] if keeps else []
    used = sum(map(cell_len, last))
    shown = []
    for part in parts[: len(parts) - len(last)]:
        used += cell_len(part) + 2
        if used > room:
            break
        shown.append(part)
    return shown + last


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    except ValueError:
        return False


def _without_controls(line: str) -> str:
    """The line without control characters: data must not move the cursor of a terminal."""
    return printable(line.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def _format_value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _without_controls(str(value))


def _format_count(value: float) -> str:
    return f"{value / 1e6:.1f}M" if value >= 1e6 else f"{value / 1e3:.1f}k" if value >= 1e3 else f"{value:.0f}"


def _format_duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
