"""Noticing that another process has stopped without ending: a machine that has lost its network, a process on hold.

A process that ends closes its connections, which the others notice at once. From one that merely stops, nothing comes,
and whoever waits for its numbers waits for ever. So each process writes into the store, every few seconds, that it is
alive, and reads whether the next one is: of 1,000 processes, each reads the sign of one.

These signs come from a thread of their own, so they come while data are prepared, models are scored and checkpoints are
written. A process of the same machine from which none comes is looked at as well: as long as the system says that it
is at work (in one long call of a library that lets no other thread run, say), it is waited for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from seqkit.errors import UsageError
from seqkit.runtime.machine import NO_BOOT_ID, is_at_work, process_space
from seqkit.runtime.rendezvous import is_kept_by_torchrun

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

VARIABLE: Final = "SEQKIT_RANK_TIMEOUT"
"""The environment variable with the seconds after which a silent process counts as lost; 0: never."""

DEFAULT_SECONDS: Final = 20.0
"""So the others have ended 30 seconds after one has stopped: signs are up to 2 s old, and ending takes some seconds."""

BUSY_SECONDS: Final = 600.0
"""A process of the same machine that gives no sign, but is at work, counts as lost after so long."""

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
        self._busy_seconds = max(BUSY_SECONDS, seconds)
        self._pids: dict[int, int] = {}
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
            store.set(f"place/{self._rank}", f"{process_space()} {os.getpid()}")
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
                self._look_up(store)
                self._over.wait(_INTERVAL)
            if self._has_succeeded:
                store.set(key, _ENDED)
        except RuntimeError:  # whoever keeps the store has ended, which closes the other connections too
            self._over.set()

    def _look_up(self, store: Store) -> None:
        """Note the process numbers of the next process and of the first, which keeps the store, if they are here."""
        for rank in {0, self._next} - self._pids.keys():
            if store.check([f"place/{rank}"]):
                space, pid = store.get(f"place/{rank}").decode().split()
                self._pids[rank] = int(pid) if space == process_space() != NO_BOOT_ID else 0

    def _patience(self, *, is_store: bool) -> float:
        """Seconds of silence after which a process counts as lost, by what this machine knows of it."""
        pid = self._pids.get(0 if is_store else self._next, 0)
        if is_store and is_kept_by_torchrun():
            pid = 0
        return self._busy_seconds if pid and is_at_work(pid) else self._seconds

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(1.0):
            now = time.monotonic()
            if now - before > 1.0 + self._seconds / 4:  # it is this process that was on hold
                self._heard, self._answered = max(self._heard, now), now
            before = now
            silence = now - min(self._heard, self._answered)
            is_store = self._answered <= self._heard
            if silence > self._seconds and silence > self._patience(is_store=is_store):
                self._over.set()
                whom = "the store that process 0 or torchrun keeps" if is_store else f"process {self._next}"
                self._lost(
                    f"process {self._rank} of {self._size}: for {silence:.0f} s nothing has come from {whom} "
                    f"({VARIABLE}), so this one ends too; the last checkpoint is valid, go on with --resume"
                )
