"""Imports third-party code without harm to the process, as far as that is possible from inside.

What cannot be prevented is reported on stderr: an import that takes long, one that crashes the process, and what it
changes in other modules. `seqkit plugins doctor` examines all of this from outside, in a process of its own.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import Any, Final

from seqkit.errors import printable

PATIENCE: Final = 10.0
"""Seconds after which an unfinished import is reported."""


@contextmanager
def guarded_import(plugin: str, is_theirs: Callable[[str], bool] | None = None) -> Iterator[Callable[[], bool]]:
    """A block that imports a plugin: what it prints goes to stderr, and signal handlers are restored afterwards.

    Yields a function that says whether the user has really pressed Ctrl-C in the block, which only a handler can know.

    Args:
        plugin: what is imported, for messages.
        is_theirs: says whether a file is the plugin's; None for seqkit's own code, which is trusted.
    """
    if threading.current_thread() is not threading.main_thread():
        with redirect_stdout(sys.stderr):
            yield lambda: False
        return
    interrupted = False

    def on_sigint(number: int, frame: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    numbers = {signal.SIGINT} if is_theirs is None else signal.valid_signals()
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGINT] is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_sigint)
    try:
        with redirect_stdout(sys.stderr), nullcontext() if is_theirs is None else _watched(plugin, is_theirs):
            yield lambda: interrupted
    finally:
        for number, handler in before.items():
            # None: installed from C; Python cannot restore it.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def _watched(plugin: str, is_theirs: Callable[[str], bool]) -> Iterator[None]:
    """Report an import that takes long, the traceback of a crash, and grave side effects."""
    from seqkit.registry.side_effects import ProcessSnapshot

    timer = threading.Timer(
        PATIENCE, lambda: _report(f"the import of {plugin} has not finished after {PATIENCE:g} s; Ctrl-C ends it")
    )
    timer.daemon = True
    snapshot = ProcessSnapshot(is_theirs)
    timer.start()
    try:
        with _crash_reported(), _stdout_to_stderr():
            yield
    finally:
        timer.cancel()
        grave = [change.description for change in snapshot.changes() if change.is_grave]
        if grave:
            note = "; signal handlers were restored" if grave[0].startswith("took over") else ""
            _report(f"the import of {plugin} {' and '.join(grave)}{note}")


@contextmanager
def _crash_reported() -> Iterator[None]:
    """If the process crashes (`os.abort`, a fault in C code), write the traceback to stderr."""
    if faulthandler.is_enabled() or sys.__stderr__ is None:
        yield
        return
    try:
        faulthandler.enable(sys.__stderr__)
    except (OSError, ValueError, RuntimeError):  # stderr is closed, or not a file
        yield
        return
    try:
        yield
    finally:
        faulthandler.disable()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What C code or child processes write to file descriptor 1 goes to stderr: stdout is for results."""
    try:
        sys.stdout.flush()
        stdout = os.dup(1)
    except (OSError, ValueError, AttributeError):
        yield
        return
    try:
        with suppress(OSError):  # stderr is closed: nothing is redirected
            os.dup2(2, 1)
        yield
    finally:
        with suppress(OSError):  # the reader of stdout has closed it
            os.dup2(stdout, 1)
        os.close(stdout)


def _report(sentence: str) -> None:
    print(printable(f"seqkit: {sentence}"), file=sys.stderr)
