"""What the operating system says of this machine and process: usable cores, the boot, memory."""

from __future__ import annotations

import functools
import hashlib
import os
import resource
import sys
from pathlib import Path
from typing import Final

NO_BOOT_ID: Final = "unknown"


def usable_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def boot_id() -> str:
    """A text that changes each time the machine starts; `NO_BOOT_ID` where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return NO_BOOT_ID


@functools.cache
def process_space() -> str:
    """Within what process numbers are unique: this start of this machine, or of the container.

    `NO_BOOT_ID` where that is not known.
    """
    boot = boot_id()
    try:
        process_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return NO_BOOT_ID
    if boot == NO_BOOT_ID:
        return NO_BOOT_ID
    return hashlib.sha256(f"{boot}\n{process_namespace}".encode()).hexdigest()[:8]


def is_at_work(pid: int) -> bool:
    """Whether a process of this machine is there and not stopped (by SIGSTOP, Ctrl-Z or a debugger)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("T", "t", "Z", "X")


def peak_memory() -> int:
    """The most bytes of memory that this process has held at once (its resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def process_memory() -> int:
    """Bytes of memory that this process holds (its resident set); the most that it has held, where that is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return peak_memory()
    return pages * os.sysconf("SC_PAGE_SIZE")
