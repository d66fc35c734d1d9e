"""Requests to stop: the first signal sets a flag that the loop polls, the second ends the process immediately.

    with Interrupts() as interrupts:
        for batch in batches:
            ...
            if interrupts.requested:
                save()
                raise interrupts.error("saved at step 120")

Exit codes: 130 for SIGINT (Ctrl-C), 143 for SIGTERM and SIGUSR1 (which schedulers send before they reclaim a machine).
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

REPEAT_SECONDS = 0.1
"""A repeated signal within this time counts as the same request: `timeout` and some schedulers send a signal to the
process and then to its group, so that it arrives twice within a millisecond. No person is that fast."""


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGUSR1 into a flag, and the second into an immediate exit.

    The old handlers are restored on exit. Outside the main thread, where Python allows no handlers, it does nothing and
    `requested` stays False.

    Args:
        at_once: exit at the first signal: for the start, when there is nothing to save.
        announce: report signals on stderr.
        leave: called with the exit code by the second signal; it must not return.
    """

    def __init__(self, *, at_once: bool = False, announce: bool = True, leave: Callable[[int], Any] = os._exit) -> None:
        self._at_once = at_once
        self._announce = announce
        self._leave = leave
        self._first: signal.Signals | None = None
        self._first_time = 0.0
        self._is_shared = self._agreed = False
        self._is_hearsay = False  # the first signal has come to another process, and may still come to this one
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come; once it is shared, whether all processes have agreed to stop."""
        return self._agreed if self._is_shared else self._first is not None

    @property
    def pending(self) -> int:
        """The number of the first signal that has come to this process; 0: none has."""
        return 0 if self._first is None else int(self._first)

    def share(self) -> None:
        """From here on, stop only when all processes have agreed to (`agree`), so that all do at the same point."""
        self._is_shared = True

    def agree(self, number: int) -> None:
        """All processes have learned of a signal that one of them has got; 0: none has."""
        if number:
            self._agreed = True
            if self._first is None:
                self._first, self._is_hearsay = signal.Signals(number), True

    @property
    def signal(self) -> signal.Signals | None:
        """The first signal, if one has come."""
        return self._first

    @property
    def exit_code(self) -> int:
        """What the process should exit with: 130, 143, or 0 if no signal has come."""
        return 0 if self._first is None else exit_code_of(self._first)

    def request(self) -> None:
        """Ask to stop, as a first Ctrl-C does, without a message."""
        if self._first is None:
            self._first, self._first_time = signal.SIGINT, time.monotonic()

    def error(self, message: str) -> Interrupted:
        """The exception that ends an interrupted run with the right exit code."""
        return Interrupted(message, self.exit_code or 130)

    def check(self, message: str = "stopped before the first step; nothing was trained") -> None:
        """Raise `error(message)` if a signal has come: where there is nothing to save."""
        if self.requested:
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
            # None: the handler was not set from Python and cannot be restored; the default comes closest.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._at_once:
            if self._announce:
                _write_stderr(f"\n{signal.Signals(number).name}: stopped; nothing had begun\n")
            self._leave(exit_code_of(signal.Signals(number)))
        elif self._is_hearsay:
            self._is_hearsay, self._first_time = False, now
        elif self._first is None:
            self._first, self._first_time = signal.Signals(number), now
            if self._announce:
                _write_stderr(
                    f"\n{self._first.name}: stopping after this step and saving; once more stops immediately\n"
                )
        elif number != self._first or now - self._first_time > REPEAT_SECONDS:
            if self._announce:
                _write_stderr("\nstopped immediately\n")
            self._leave(exit_code_of(signal.Signals(number)))


def exit_code_of(number: signal.Signals) -> int:
    """The exit code for a signal: 130 for Ctrl-C, 143 for a request to terminate or pre-emption."""
    return 130 if number == signal.SIGINT else 143


def _write_stderr(text: str) -> None:
    """Write to the descriptor: a signal may interrupt a write to `sys.stderr`, which must not be re-entered."""
    with suppress(OSError):  # the reader has closed it; the run is saved and ended all the same
        os.write(2, text.encode())
