"""Writing small files so that a reader sees the old content or the new, whatever happens in between.

Content is written to a temporary name in the same folder, made durable, and renamed: write, fsync, rename, fsync of the
folder. The system's temporary folder is not used, because it may be on another file system. Permissions follow the
umask. A symbolic link at the target is replaced, not followed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from functools import partial
from pathlib import Path
from typing import Final

from seqkit import fault_injection
from seqkit.errors import RunError, printable
from seqkit.regular_files import read_regular
from seqkit.types import JSON

TEMPORARY = ".tmp-"
"""Names of unfinished files start with this. Readers ignore them, and the next writer removes them."""

MOST_JSON_BYTES: Final = 1 << 28
"""Of a file that is read whole."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The errors that mean that no more fits: on the device, in the quota, or within the file size limit."""


def temporary(path: Path) -> Path:
    """A new temporary name beside `path`, hard to guess and short enough for any file system."""
    return path.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"


def write(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Replace (or make) the file `path` in one step.

    Args:
        point: where `seqkit.fault_injection` may let the write fail.

    Raises:
        OSError: from the system; the old content is still there, and no temporary file is left.
    """
    unfinished = temporary(path)
    try:
        create(unfinished, content, point=point)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Write a file that must not exist yet, and make its content durable.

    Raises:
        FileExistsError: something (even a dangling symbolic link) has this name.
    """
    is_checkpoint = point is not None and point.startswith("save.")
    if is_checkpoint:
        fault_injection.at("save.open")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _write_all(handle, encode(content), point)
        if is_checkpoint:
            fault_injection.at("save.fsync")
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, content: bytes | str, *, point: str | None = None) -> None:
    """Add to a file, made if it is absent, with one write, so that a crash can damage only the last line."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags | os.O_NONBLOCK, 0o666)  # a pipe that nobody reads is an error at once
    try:
        _write_all(handle, encode(content), point)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes, point: str | None = None) -> None:
    """Write all of it: the system may write less than it is given, for instance at the last free block of a disk."""
    rest = memoryview(content)
    if point is not None and fault_injection.is_armed(point):
        rest = rest[os.write(handle, rest[: len(rest) // 2]) :]
        fault_injection.at(point)
    while rest:
        rest = rest[os.write(handle, rest) :]


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that a killed process left directly in `folder`. Only its one writer may do this."""
    for path in folder.glob(f"{TEMPORARY}*"):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)


def encode(content: bytes | str) -> bytes:
    """UTF-8. A lone surrogate (an undecodable byte of a file name) becomes an escape, which JSON reads back."""
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content


def sync(path: Path) -> None:
    """Make the content of a file durable that another library wrote."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path, *, point: str | None = None) -> None:
    """Make the names in a folder durable: without this a power failure may undo a rename."""
    if point is not None:
        fault_injection.at(point)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot sync a folder; they keep renames in order by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_json(path: Path, value: JSON) -> None:
    """Replace the file with indented, strict JSON; see `json_safe` for numbers that JSON does not have."""
    write(path, dump_json(value, indent=2) + "\n")


def dump_json(value: JSON, *, indent: int | None = None) -> str:
    """A value as strict JSON, with escapes for what would control a terminal; see `json_safe` and `printable`."""
    dumps = partial(json.dumps, indent=indent, ensure_ascii=False, allow_nan=False, default=str)
    try:
        text = dumps(value)
    except (TypeError, ValueError):  # a number or key that JSON does not have; looking beforehand takes thrice as long
        text = dumps(json_safe(value))
    return printable(text)


def read_json(path: Path) -> JSON:
    """The value in a JSON file; None if there is no such file, it is not a regular one, or it is not JSON."""
    try:
        return json.loads(read_regular(path, MOST_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def json_safe(value: JSON) -> JSON:
    """The same value with the strings "NaN", "Infinity" and "-Infinity" for the numbers that JSON does not have."""
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
    """The error that tells the user why something could not be written in a folder.

    Args:
        error: from the system.
        folder: where it should have been written.
        need: bytes that were to be written, if that is known.
        more: what else the message should say.
    """
    tail = f"; {more}" if more else ""
    if error.errno in FULL:
        try:
            have = format_bytes(free_bytes(folder))
        except OSError:
            have = "unknown"
        wanted = "" if need is None else f"need {format_bytes(need)}, "
        limit = " (a file size limit is set: ulimit -f)" if error.errno == errno.EFBIG else ""
        return RunError(f"disk full: {wanted}have {have} in {folder}{limit}{tail}")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE) and not folder.is_dir():
        return RunError(f"{folder} is gone: it was moved or deleted while the run was at work{tail}")
    return RunError(f"cannot write in {folder}: {error.strerror or error}{tail}")


def format_bytes(size: int) -> str:
    """A number of bytes for a human: `3.2 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
