"""A stranger's code is imported without harm to the process, as far as that can be had from inside.

What cannot be undone is told: an import that takes long, one that ends the process, and what it changes of others.
`seqkit plugins doctor` looks at all of it from outside, in a process of its own.
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

PATIENCE: Final = 10.0
"""Seconds after which an import that has not ended is told of."""


@contextmanager
def guarded_import(who: str, is_theirs: Callable[[str], bool] | None = None) -> Iterator[Callable[[], bool]]:
    """A block that imports: what it prints goes to stderr, and signal handlers are put back.

    Yields a function that says whether the user really pressed Ctrl-C meanwhile, which only a handler can know.

    Args:
        who: whose import it is, for messages.
        is_theirs: whether a file is theirs; None: it is seqkit's own code, which needs no watching.
    """
    if threading.current_thread() is not threading.main_thread():
        with redirect_stdout(sys.stderr):
            yield lambda: False
        return
    pressed = False

    def on_sigint(number: int, frame: Any) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    numbers = {signal.SIGINT} if is_theirs is None else signal.valid_signals()
    before = {number: signal.getsignal(number) for number in numbers}
    if before[signal.SIGINT] is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, on_sigint)
    try:
        with redirect_stdout(sys.stderr), nullcontext() if is_theirs is None else _suspected(who, is_theirs):
            yield lambda: pressed
    finally:
        for number, handler in before.items():
            # None: installed from C, where Python cannot put it back.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


@contextmanager
def _suspected(who: str, is_theirs: Callable[[str], bool]) -> Iterator[None]:
    """Tell who takes long, where a process was that died, and what is changed of others."""
    from seqkit.registry.side_effects import ProcessSnapshot

    timer = threading.Timer(
        PATIENCE, lambda: _tell(f"{who} is still being imported after {PATIENCE:g} s; Ctrl-C ends it")
    )
    timer.daemon = True
    watch = ProcessSnapshot(is_theirs)
    timer.start()
    try:
        with _crash_told(), _output_aside():
            yield
    finally:
        timer.cancel()
        done = [change.what for change in watch.changes() if change.grave]
        if done:
            back = "; signal handlers were put back" if done[0].startswith("took over") else ""
            _tell(f"{who}, when it was imported, {' and '.join(done)}{back}")


@contextmanager
def _crash_told() -> Iterator[None]:
    """If the process is ended from inside (`os.abort`, a crash), the lines that did it are written to stderr."""
    if faulthandler.is_enabled() or sys.__stderr__ is None:
        yield
        return
    try:
        faulthandler.enable(sys.__stderr__)
    except (OSError, ValueError, RuntimeError):  # stderr is closed, or no file
        yield
        return
    try:
        yield
    finally:
        faulthandler.disable()


@contextmanager
def _output_aside() -> Iterator[None]:
    """What is written to file descriptor 1, past Python, goes to stderr: stdout is for results."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):
        yield
        return
    try:
        with suppress(OSError):  # there is no stderr: what is written stays where it was going
            os.dup2(2, 1)
        yield
    finally:
        with suppress(OSError):  # whoever read it is gone
            os.dup2(kept, 1)
        os.close(kept)


def _tell(what: str) -> None:
    print(f"seqkit: {what}", file=sys.stderr)
