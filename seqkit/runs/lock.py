"""Which process holds a run folder, and whether it is still alive."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import re
import socket
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from seqkit.errors import UsageError
from seqkit.io import atomic
from seqkit.runtime.machine import boot_id
from seqkit.types import JSON

LIVE: frozenset[str] = frozenset({"created", "running"})


SILENCE = 600.0
"""A run on another machine, whose processes cannot be seen from here, counts as dead after this many silent seconds."""


def slug(name: str) -> str:
    """A name as a part of a path: lower-case ASCII letters, digits and single hyphens, at most 40; never empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "run"


def claim(folder: Path) -> Path:
    """Make `folder` ours: it must not exist or be empty, and nobody else may claim it at the same moment.

    What a process left that was killed in `create`, before it had a run to resume, counts as empty.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"--out {folder}: not a folder") from error
    with guard(folder) as locked:
        if locked and was_killed_setting_up(folder):
            for path in folder.iterdir():
                path.rmdir() if path.is_dir() else path.unlink()
        if any(folder.iterdir()):
            what = "not empty, and a run never overwrites; name a new folder, or use --resume"
            raise UsageError(f"--out {folder}: {what}")
        try:
            atomic.create(folder / "status.json", first_status())
        except FileExistsError as error:
            raise UsageError(f"--out {folder}: another run has just claimed it") from error
    return folder


_SETTING_UP = {"status.json", "recipe.yaml", "plugins.json", "git.json", "environment.json", "checkpoints", "tb"}
"""What is there before `resolved.yaml`, which makes a run folder whole."""


def was_killed_setting_up(folder: Path) -> bool:
    """Whether all that is here was left by a process that was killed while it made a run folder."""
    names = {path.name for path in folder.iterdir()}
    if "status.json" not in names or any(n not in _SETTING_UP and not n.startswith(atomic.TEMPORARY) for n in names):
        return False
    if any(any((folder / name).iterdir()) for name in ("checkpoints", "tb") if name in names):
        return False
    status = atomic.read_json(folder / "status.json")
    if status is None:  # half of one; anything else that long is somebody's file
        return (folder / "status.json").stat().st_size < len(first_status())
    return isinstance(status, dict) and status.get("state") == "created" and live_process(status) is None


def first_status() -> str:
    """The first status: enough to tell whether the process that claims a folder is still at it."""
    return json.dumps({"state": "created", "heartbeat": timestamp(), **this_process()}) + "\n"


def claim_new(root: Path, name: str, resolved: str) -> Path:
    """A new folder under `root`, by recipe, time and content; a number is added when that minute is taken."""
    root.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%MZ")
    stem = f"{slug(name)}-{stamp}-{hashlib.sha256(atomic.encode(resolved)).hexdigest()[:6]}"
    for number in itertools.count(1):
        folder = root / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            atomic.create(folder / "status.json", first_status())
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


@contextmanager
def guard(folder: Path) -> Iterator[bool]:
    """One process at a time looks at a run's status and takes the run over; the system lets go when a process dies.

    False on a file system without locks on folders: there, the moment between looking and taking stays unguarded.
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
    """What tells this process from every other one, on this machine and since it was started."""
    return {
        "pid": os.getpid(),
        "pid_started": _started(os.getpid()),
        "host": socket.gethostname(),
        "boot": boot_id(),
    }


def live_process(status: Mapping[str, JSON]) -> str | None:
    """Who is working on a run with this status, in words, or None if nobody is."""
    if status.get("state") not in LIVE:
        return None
    pid, host = status.get("pid"), status.get("host")
    if host != socket.gethostname():
        silent = _age(status.get("heartbeat"))
        return f"process {pid} on {host}, last heard {silent:.0f} s ago" if silent < SILENCE else None
    if status.get("boot") != boot_id() or not isinstance(pid, int) or pid <= 0:
        return None
    # The same process number may have been given to another process since: its starting time tells them apart.
    started = _started(pid)
    if started is None or started != status.get("pid_started"):
        return None
    return f"process {pid} on this machine"


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if there is no such process (or only its shell)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _age(when: JSON) -> float:
    """Seconds since a time as `timestamp` writes it; endless if it is none."""
    try:
        return time.time() - datetime.fromisoformat(str(when)).timestamp()
    except ValueError:
        return float("inf")


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
