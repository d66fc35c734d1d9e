"""Writing small files so that a reader sees the old content or the new one, whatever happens in between.

Every write goes to a temporary name in the same folder, is made durable, and then takes the name over:
write, fsync, rename, fsync of the folder. Nothing is ever staged in the system's temporary folder, which may be
another file system. Permissions follow the umask; a symbolic link at the target is replaced, never followed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from pathlib import Path

from seqkit import fault_injection
from seqkit.errors import RunError
from seqkit.types import JSON

TEMPORARY = ".tmp-"
"""How the name of everything unfinished begins. Readers ignore such names; the next writer clears them away."""


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The ways in which a system says that no more fits: device, quota, or file size limit."""


def temporary(path: Path) -> Path:
    """A fresh unfinished name beside `path`, hard to guess and short enough for any file system."""
    return path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"


def write(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Replace (or make) the file `path` in one step.

    Args:
        point: where `seqkit.fault_injection` may let the write fail.

    Raises:
        OSError: as the system gave it; the old content is still there and no temporary file is left.
    """
    part = temporary(path)
    try:
        create(part, content, point=point)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Write a file that must not exist yet, and make its content durable.

    Raises:
        FileExistsError: something (even a dangling symbolic link) has this name.
    """
    saving = point is not None and point.startswith("save.")
    if saving:
        fault_injection.at("save.open")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _write_all(handle, encode(content), point)
        if saving:
            fault_injection.at("save.fsync")
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Add to a file (made if absent) with one write, so that a crash tears at most the last line."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _write_all(handle, encode(content), point)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes, point: str | None = None) -> None:
    """The system may take less than it was given, for instance at the last free block of a disk."""
    rest = memoryview(content)
    if point is not None and fault_injection.waits(point):
        rest = rest[os.write(handle, rest[: len(rest) // 2]) :]
        fault_injection.at(point)
    while rest:
        rest = rest[os.write(handle, rest) :]


def sweep(folder: Path) -> None:
    """Remove the unfinished files that a killed process left directly in `folder`. Only its one writer may do this."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)


def encode(content: bytes | str) -> bytes:
    """UTF-8. A lone surrogate (an undecodable byte of a file name) becomes its escape, which JSON reads back."""
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content


def sync(path: Path) -> None:
    """Make a file's content durable: what another library wrote."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path, *, point: str | None = None) -> None:
    """Make the names in a folder durable: without this a rename may be undone by a power failure."""
    if point is not None:
        fault_injection.at(point)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder; they order renames by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_json(path: Path, value: JSON) -> None:
    """Replace the file with pretty, strict JSON: numbers that JSON lacks become the strings of `finite`."""
    write(path, json.dumps(json_safe(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> JSON:
    """The value of a small JSON file, or None where there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def json_safe(value: JSON) -> JSON:
    """The same value with "NaN", "Infinity" and "-Infinity" (strings) for the numbers that JSON does not know."""
    if isinstance(value, float):
        if value != value:
            return "NaN"
        if value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    return value


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write there."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def write_error(error: OSError, folder: Path, *, need: int | None = None, more: str = "") -> RunError:
    """The error that tells a user why something could not be written, with the numbers that matter."""
    tail = f"; {more}" if more else ""
    if error.errno in FULL:
        try:
            have = readable(free_bytes(folder))
        except OSError:
            have = "unknown"
        wanted = "" if need is None else f"need {readable(need)}, "
        limit = " (a file size limit is set: ulimit -f)" if error.errno == errno.EFBIG else ""
        return RunError(f"disk full: {wanted}have {have} in {folder}{limit}{tail}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE) and not folder.is_dir():
        return RunError(f"{folder} is gone: it was moved or deleted while the run was at work{tail}")
    return RunError(f"cannot write in {folder}: {error.strerror or error}{tail}")


def readable(size: int) -> str:
    """A number of bytes as a human reads it: `3.2 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
