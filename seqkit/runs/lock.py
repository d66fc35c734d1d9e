"""Which process holds a run folder, and whether that process is still alive."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from seqkit.runtime.machine import boot_id
from seqkit.types import JSON

LIVE_STATES: tuple[str, ...] = ("created", "running")
"""The states in which a process holds the run."""


MAX_SILENCE = 600.0
"""Seconds without a heartbeat after which a run on another machine, whose processes are not visible, counts as dead."""


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Only one process at a time checks a run's status and takes the run over. A lock ends with its process.

    Yields False on a file system without locks on folders; there, two processes may do so at the same time.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def this_process() -> dict[str, JSON]:
    """What distinguishes this process from all others, on this machine and since it was booted."""
    return {
        "pid": os.getpid(),
        "pid_started": _start_time(os.getpid()),
        "host": socket.gethostname(),
        "boot": boot_id(),
    }


def describe_holder(status: Mapping[str, JSON]) -> str | None:
    """The living process that holds a run with this status, in words; None if there is none."""
    if status.get("state") not in LIVE_STATES:
        return None
    pid, host = status.get("pid"), status.get("host")
    if host != socket.gethostname():
        silence = _seconds_since(status.get("heartbeat"))
        return f"process {pid} on {host}, last heartbeat {silence:.0f} s ago" if silence < MAX_SILENCE else None
    if status.get("boot") != boot_id() or not isinstance(pid, int) or pid <= 0:
        return None
    # The process number may have been given to another process since; their start times differ.
    started = _start_time(pid)
    if started is None or started != status.get("pid_started"):
        return None
    return f"process {pid} on this machine"


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _seconds_since(time_text: JSON) -> float:
    """Seconds since a time as `timestamp` writes it; infinity if it is not one."""
    try:
        return time.time() - datetime.fromisoformat(str(time_text)).timestamp()
    except ValueError:
        return float("inf")


def timestamp() -> str:
    """Now, as `2026-11-21T21:47:03Z`."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
