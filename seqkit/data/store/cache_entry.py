"""One entry of the store: a folder that is there whole and sound, or not at all."""

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
            name: open_split(folder, name, stored["arrays"], SplitReport(**stored["report"]))
            for name, stored in manifest["splits"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return manifest, splits


def write_entry(place: Path, write: Callable[[Path], JSON]) -> None:
    """Make an entry: `write` fills a new folder and returns the manifest; then the folder gets its name.

    Raises:
        RunError: the cache cannot be written.
    """
    root = place.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        _sweep(root)
        with _temporary(place) as folder:
            text = json.dumps(write(folder))
            with (folder / MANIFEST).open("x", encoding="ascii") as file:
                json.dump({"crc32": zlib.crc32(text.encode()), "manifest": text}, file)
                file.flush()
                os.fsync(file.fileno())
            _put(folder, place)
    except OSError as error:
        if not _is_about(error, root):
            raise
        what = error.strerror or str(error)
        raise RunError(f"cannot write the cache {root}: {what}; name another folder in SEQKIT_CACHE") from error


def _is_about(error: OSError, root: Path) -> bool:
    """Whether it is the cache that failed, and not a file of the data. A write to a full disk names no file."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    path = Path(os.fsdecode(error.filename))
    return path == root or root in path.parents or path in root.parents


@functools.cache
def _here() -> str:
    """What the process numbers seen from here belong to: this machine since it was started, or its container."""
    boot = boot_id()
    try:
        process_namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return NO_BOOT_ID
    if boot == NO_BOOT_ID:
        return NO_BOOT_ID
    return hashlib.sha256(f"{boot}\n{process_namespace}".encode()).hexdigest()[:8]


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """A folder beside the place where it will be renamed to; gone afterwards, whatever happens."""
    folder = place.with_name(f".{place.name}-{_here()}-{os.getpid()}-{secrets.token_hex(4)}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, place: Path) -> None:
    """Rename a finished folder to its place. A sound one that another process has put there stays."""
    sync_folder(folder)
    for _ in range(10):
        try:
            folder.rename(place)
        except OSError:
            if open_entry(place) is not None:
                return
            # Moved aside first: at no moment is half a folder in the place.
            aside = place.with_name(f".{place.name}-damaged-{secrets.token_hex(4)}")
            try:
                place.rename(aside)
            except FileNotFoundError:
                continue
            shutil.rmtree(aside, ignore_errors=True)
        else:
            sync_folder(place.parent)
            return
    raise RunError(f"cannot put a finished entry into the cache at {place}")


def _sweep(root: Path) -> None:
    """Remove what processes left that were killed: those of this machine at once, all others after a day."""
    for path in root.glob(".*-*"):
        try:
            parts = path.name.split("-")
            dead = len(parts) == 4 and parts[1] == _here() != NO_BOOT_ID and not Path("/proc", parts[2]).exists()
            if dead or time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue
