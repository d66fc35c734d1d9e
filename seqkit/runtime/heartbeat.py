"""Noticing that another process has stopped without ending: a machine that has lost its network, a process on hold.

A process that ends closes its connections, which the others notice at once. From one that merely stops, nothing comes,
and whoever waits for its numbers waits for ever. So each process writes into the store, every few seconds, that it is
alive, and reads whether the next one is: of 1,000 processes, each reads the sign of one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from seqkit.errors import UsageError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

VARIABLE: Final = "SEQKIT_RANK_TIMEOUT"
"""The environment variable with the seconds after which a silent process counts as lost; 0: never."""

DEFAULT_SECONDS: Final = 60.0
"""Longer than anything that keeps a healthy process from running another thread."""

EXIT_CODE: Final = "exit code"
"""Where the process that tells why all of them end leaves its exit code."""

_INTERVAL: Final = 2.0
_ENDED: Final = "ended"


def timeout_seconds() -> float:
    """What the environment says.

    Raises:
        UsageError: it is no number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        seconds = float(text or DEFAULT_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise UsageError(f"{VARIABLE}={text}: give seconds, such as {DEFAULT_SECONDS:.0f}; 0 waits for ever")
    return seconds


class Heartbeat:
    """Two threads: one exchanges signs of life with the store, one counts the time since the last.

    Args:
        store: of these processes; `clone` gives connections of its own, which may block.
        rank: of this process.
        size: how many there are.
        seconds: of silence, after which the next process counts as lost; 0: it never does.
        lost: called once with a sentence, in a thread of its own.

    Attributes:
        told_code: the exit code of another process that has told why all of them end; None as long as none has.
    """

    def __init__(self, store: Store, rank: int, size: int, seconds: float, lost: Callable[[str], object]) -> None:
        self._store, self._rank, self._next, self._size = store, rank, (rank + 1) % size, size
        self._seconds, self._lost = seconds, lost
        self._over, self._has_succeeded = threading.Event(), False
        self._heard = self._answered = time.monotonic()
        self.told_code: int | None = None
        self._beating = threading.Thread(target=self._beat, name="seqkit-heartbeat", daemon=True)
        self._watching = threading.Thread(target=self._watch, name="seqkit-watch", daemon=True)

    def start(self) -> None:
        self._beating.start()
        if self._seconds:
            self._watching.start()

    def wait_until_heard(self, count: int, seconds: float) -> None:
        """Return when so many others have learned of the exit code, or after some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._store.add("heard", 0) < count:
            time.sleep(0.1)

    def stop(self, *, has_succeeded: bool) -> None:
        """From here on, this process watches no other; if it has succeeded, it is not missed either."""
        self._has_succeeded = has_succeeded
        self._over.set()
        if self._beating.is_alive():
            self._beating.join(timeout=_INTERVAL)

    def _beat(self) -> None:
        key, next_key, last, number = f"alive/{self._rank}", f"alive/{self._next}", "", 0
        try:
            store = self._store.clone()
            while not self._over.is_set():
                number += 1
                store.set(key, str(number))
                news = store.get(next_key).decode() if store.check([next_key]) else ""
                self._answered = time.monotonic()
                if news == _ENDED:
                    self._heard = float("inf")
                elif news != last:
                    last, self._heard = news, self._answered
                if self.told_code is None and store.check([EXIT_CODE]):
                    self.told_code = int(store.get(EXIT_CODE))
                    store.add("heard", int(self._rank > 0))
                self._over.wait(_INTERVAL)
            if self._has_succeeded:
                store.set(key, _ENDED)
        except RuntimeError:  # whoever keeps the store has ended, which closes the other connections too
            self._over.set()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(1.0):
            now = time.monotonic()
            if now - before > 1.0 + self._seconds / 4:  # it is this process that was on hold
                self._heard, self._answered = max(self._heard, now), now
            before = now
            silent_since = min(self._heard, self._answered)
            if now - silent_since > self._seconds:
                self._over.set()
                is_store = self._answered <= self._heard
                whom = "the store that process 0 or torchrun keeps" if is_store else f"process {self._next}"
                self._lost(
                    f"process {self._rank} of {self._size}: for {self._seconds:.0f} s nothing has come from {whom} "
                    f"({VARIABLE}), so this one ends too; the last checkpoint is valid, go on with --resume"
                )
