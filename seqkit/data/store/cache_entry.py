"""One entry of the store: a folder that is complete and undamaged, or not there at all."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from seqkit.data.store.columns import Split, open_split
from seqkit.data.store.report import SplitReport
from seqkit.errors import RunError
from seqkit.io.atomic import sync_folder
from seqkit.runtime.machine import NO_BOOT_ID, boot_id
from seqkit.types import JSON

MANIFEST: Final = "MANIFEST.json"
_ABANDONED_SECONDS = 24 * 3600


def open_entry(folder: Path) -> tuple[JSON, dict[str, Split]] | None:
    """The manifest and the splits of an entry, or None if there is none, or it is damaged."""
    try:
        outer = json.loads((folder / MANIFEST).read_bytes())
        if zlib.crc32(outer["manifest"].encode()) != outer["crc32"]:
            return None
        manifest = json.loads(outer["manifest"])
        splits = {
            name: open_split(folder, name, stored["arrays"], SplitReport.restore(stored["report"]))
            for name, stored in manifest["splits"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return manifest, splits


def write_entry(entry: Path, write: Callable[[Path], JSON]) -> None:
    """Make an entry: `write` fills a temporary folder and returns the manifest; then the folder is renamed to `entry`.

    Raises:
        RunError: the cache cannot be written.
    """
    root = entry.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        with _temporary_folder(entry) as folder:
            text = json.dumps(write(folder))
            with (folder / MANIFEST).open("x", encoding="ascii") as file:
                json.dump({"crc32": zlib.crc32(text.encode()), "manifest": text}, file)
                file.flush()
                os.fsync(file.fileno())
            _publish(folder, entry)
    except OSError as error:
        if not _concerns_cache(error, root):
            raise
        reason = error.strerror or str(error)
        raise RunError(f"cannot write the cache {root}: {reason}; name another folder in SEQKIT_CACHE") from error


def _concerns_cache(error: OSError, root: Path) -> bool:
    """Whether the cache failed, and not a file of the data. An error about a full disk names no file."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    path = Path(os.fsdecode(error.filename))
    return path == root or root in path.parents or path in root.parents


@functools.cache
def _process_space() -> str:
    """Within what process numbers are unique: this start of this machine, or of the container."""
    boot = boot_id()
    try:
        process_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return NO_BOOT_ID
    if boot == NO_BOOT_ID:
        return NO_BOOT_ID
    return hashlib.sha256(f"{boot}\n{process_namespace}".encode()).hexdigest()[:8]


@contextmanager
def _temporary_folder(entry: Path) -> Iterator[Path]:
    """A folder beside the entry, whose name says which process made it. It is removed if it is not renamed."""
    folder = entry.with_name(f".{entry.name}-{_process_space()}-{os.getpid()}-{secrets.token_hex(4)}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, entry: Path) -> None:
    """Rename a finished folder to its entry, unless another process has finished the same entry meanwhile."""
    sync_folder(folder)
    for _ in range(10):
        try:
            folder.rename(entry)
        except OSError:
            if open_entry(entry) is not None:
                return
            # A damaged entry is renamed before it is removed, so that nobody ever sees half of it.
            damaged = entry.with_name(f".{entry.name}-damaged-{secrets.token_hex(4)}")
            try:
                entry.rename(damaged)
            except FileNotFoundError:
                continue
            shutil.rmtree(damaged, ignore_errors=True)
        else:
            sync_folder(entry.parent)
            return
    raise RunError(f"cannot rename a finished cache entry to {entry}; remove that folder and try again")


def _remove_abandoned(root: Path) -> None:
    """Remove the temporary folders of processes that were killed: of this machine at once, of others after a day."""
    for folder in root.glob(".*-*"):
        try:
            if _is_maker_dead(folder) or time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def _is_maker_dead(folder: Path) -> bool:
    """Whether a temporary folder was made by a process of this machine that has ended."""
    fields = folder.name.split("-")
    if len(fields) != 4:
        return False
    _, process_space, pid, _ = fields
    return process_space == _process_space() != NO_BOOT_ID and not Path("/proc", pid).exists()
