"""Being asked to stop: the first signal is a request that the loop polls, the second is obeyed at once.

    with Interrupts() as interrupts:
        for batch in batches:
            ...
            if interrupts.requested:
                save()
                raise interrupts.error("saved at step 120")

SIGINT (Ctrl-C) leaves with 130; SIGTERM and SIGUSR1 (what schedulers send before they take the machine away) with 143.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

from seqkit.errors import Interrupted

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

ECHO = 0.1
"""Seconds within which the same signal again counts as the same request: `timeout` and some schedulers signal the
process and then its group, which reaches the process twice within a millisecond. No finger is that fast."""


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGUSR1 into a flag, and the second into an immediate exit.

    Handlers are put back as they were on leaving. Outside the main thread, where Python allows no handlers, it does
    nothing and `requested` stays False.

    Args:
        at_once: leave at the first signal already: for a start in which there is nothing to save.
        announce: say on stderr that the first signal was heard.
        leave: what a second signal calls with the exit code; it must not return.
    """

    def __init__(self, *, at_once: bool = False, announce: bool = True, leave: Callable[[int], Any] = os._exit) -> None:
        self._at_once = at_once
        self._announce = announce
        self._leave = leave
        self._first: signal.Signals | None = None
        self._heard = 0.0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """True once a signal has come."""
        return self._first is not None

    @property
    def signal(self) -> signal.Signals | None:
        """The first signal, if one has come."""
        return self._first

    @property
    def exit_code(self) -> int:
        """What the process should leave with: 130, 143, or 0 if nobody asked."""
        return 0 if self._first is None else code(self._first)

    def error(self, message: str) -> Interrupted:
        """The exception that ends an interrupted run with the right exit code."""
        return Interrupted(message, self.exit_code or 130)

    def check(self, message: str = "stopped before the first step; nothing was trained") -> None:
        """Raise `error(message)` if a signal has come: for places where there is nothing to save."""
        if self._first is not None:
            raise self.error(message)

    def __enter__(self) -> Self:
        if self._before:
            raise RuntimeError("these Interrupts are already in use")
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None: the handler was not set from Python and cannot be put back; the default is the nearest thing.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._at_once:
            if self._announce:
                _say(f"\n{signal.Signals(number).name}: stopped at once; nothing had begun\n")
            self._leave(code(signal.Signals(number)))
        elif self._first is None:
            self._first, self._heard = signal.Signals(number), now
            if self._announce:
                _say(f"\n{self._first.name}: stopping after this step and saving; once more to stop at once\n")
        elif number != self._first or now - self._heard > ECHO:
            if self._announce:
                _say("\nstopped at once\n")
            self._leave(code(signal.Signals(number)))


def code(number: signal.Signals) -> int:
    """The exit code for a signal: 130 for Ctrl-C, 143 for a request to terminate or pre-emption."""
    return 130 if number == signal.SIGINT else 143


def _say(text: str) -> None:
    """Straight to the descriptor: Python's own stderr may be in the middle of a write, which must not be re-entered."""
    with suppress(OSError):  # nobody reads it any more; the run is saved and ended all the same
        os.write(2, text.encode())
