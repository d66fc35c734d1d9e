"""One entry of the store: a folder that is complete and undamaged, or not there at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, final

from seqkit.data.store.columns import Split, open_split
from seqkit.data.store.report import SplitReport
from seqkit.errors import RunError
from seqkit.io.atomic import sync_folder
from seqkit.regular_files import is_protected, read_regular
from seqkit.runtime.machine import NO_BOOT_ID, process_space
from seqkit.types import JSON, Field, Task

MANIFEST: Final = "MANIFEST.json"
_ABANDONED_SECONDS = 24 * 3600
_MOST_BYTES: Final = 1 << 30
"""Of a manifest: it has the vocabularies."""


@final
@dataclass(frozen=True)
class Entry:
    """An open entry.

    Attributes:
        input: the fitted input field.
        target: the fitted target field.
        splits: by name.
        states: what the input and the target field have learned, as the manifest has it.
    """

    input: Field
    target: Field
    splits: Mapping[str, Split]
    states: tuple[JSON, JSON]


OpenShards: TypeAlias = Callable[[int, str, JSON, SplitReport, tuple[Field, Field]], Split]
"""Opens a split that is stored in shards: descriptor of the entry's folder, name, facts, report and fitted fields."""


def open_entry(
    folder: Path, task: Task, splits: Sequence[str], fitted: tuple[Field, Field] | None, open_shards: OpenShards
) -> Entry | None:
    """An entry, or None if there is none, if it is damaged, or if other users could have changed it.

    Args:
        folder: the entry.
        task: whose fields are restored, and whose splits are in it.
        splits: the splits that it must have.
        fitted: fields that are fitted already; None: as the entry says.
        open_shards: opens the splits that are stored in shards.
    """
    try:
        with opened_entry(folder) as (handle, manifest):
            stored, states = manifest["splits"], (manifest["input"], manifest["target"])
            if set(stored) != set(splits):
                return None
            input, target = fitted or (task.input.restore(states[0]), task.target.restore(states[1]))
            target = target.of(input) if target.derived else target
            opened: dict[str, Split] = {}
            for name, facts in stored.items():
                report = SplitReport.restore(facts["report"])
                if "shards" in facts:
                    opened[name] = open_shards(handle, name, facts, report, (input, target))
                else:
                    opened[name] = open_split(handle, name, facts["arrays"], report, (input, target))
    except Exception:  # whatever is wrong with it: the fields, which may be a plugin's, do not check what they restore
        return None
    return Entry(input, target, opened, states)


@contextmanager
def opened_entry(folder: Path) -> Iterator[tuple[int, JSON]]:
    """The descriptor of an entry's folder, and its manifest.

    Raises:
        OSError, ValueError: there is none, it is damaged, or other users could have changed it. Errors of any kind if
            the manifest is damaged.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not is_protected(os.fstat(handle)):
            raise ValueError("other users can write to the folder")
        manifest = _read_manifest(handle)
        if manifest["key"] != folder.name:
            raise ValueError("the folder has been renamed")
        yield handle, manifest
    finally:
        os.close(handle)


def is_foreign(folder: Path) -> bool:
    """Whether an entry belongs to another user, so that it is neither believed nor replaced."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return status.st_uid not in (os.geteuid(), 0)


def is_exposed(folder: Path) -> bool:
    """Whether other users can write to an entry or to a file of it."""
    try:
        return not all(is_protected(path.lstat()) for path in (folder, *folder.iterdir()) if not path.is_symlink())
    except OSError:
        return False


def _read_manifest(folder: int) -> JSON:
    """The manifest in an open folder. Raises an error of any kind if it is damaged."""
    outer = json.loads(read_regular(Path(MANIFEST), _MOST_BYTES, folder=folder, follow=False))
    if zlib.crc32(outer["manifest"].encode()) != outer["crc32"]:
        raise ValueError("the manifest is damaged")
    for name in os.listdir(folder):
        if not is_protected(os.stat(name, dir_fd=folder, follow_symlinks=False)):
            raise ValueError("other users can write to a file")
    return json.loads(outer["manifest"])


def write_entry(entry: Path, write: Callable[[Path], JSON], is_sound: Callable[[], bool]) -> None:
    """Make an entry: `write` fills a temporary folder and returns the manifest; then the folder is renamed to `entry`.

    Only this user can write to it, whatever the umask is.

    Args:
        is_sound: whether the entry can be used, should another process have made it meanwhile.

    Raises:
        RunError: the cache cannot be written.
    """
    root = entry.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        with _temporary_folder(entry) as folder:
            text = json.dumps({"key": entry.name, **write(folder)})
            with (folder / MANIFEST).open("x", encoding="ascii") as file:
                json.dump({"crc32": zlib.crc32(text.encode()), "manifest": text}, file)
                file.flush()
                os.fsync(file.fileno())
            for path in (*folder.iterdir(), folder):
                path.chmod(path.stat().st_mode & ~(stat.S_IWGRP | stat.S_IWOTH))
            _publish(folder, entry, is_sound)
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


@contextmanager
def _temporary_folder(entry: Path) -> Iterator[Path]:
    """A folder beside the entry, whose name says which process made it. It is removed if it is not renamed."""
    folder = entry.with_name(f".{entry.name}-{process_space()}-{os.getpid()}-{secrets.token_hex(4)}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, entry: Path, is_sound: Callable[[], bool]) -> None:
    """Rename a finished folder to its entry, unless another process has finished the same entry meanwhile."""
    sync_folder(folder)
    for _ in range(10):
        try:
            folder.rename(entry)
        except OSError:
            if is_sound():
                return
            # A damaged entry is renamed before it is removed, so that nobody ever sees half of it.
            damaged = entry.with_name(f".{entry.name}-damaged-{secrets.token_hex(4)}")
            try:
                entry.rename(damaged)
            except FileNotFoundError:
                continue
            if damaged.is_symlink() or not damaged.is_dir():
                damaged.unlink(missing_ok=True)
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
    _, space, pid, _ = fields
    return space == process_space() != NO_BOOT_ID and not Path("/proc", pid).exists()
