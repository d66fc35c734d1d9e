"""Named data sets: looked for in the user's own folder, then in the cache, and downloaded if they are in neither.

    $SEQKIT_DATA/<data set's name>/<file>       the user's copies; only read
    <cache>/data/<data set's name>/<file>       what was downloaded

Every file is pinned: the code that names it gives its address, size and SHA-256, and a file that differs is never used,
wherever it comes from. How a file is transferred is in `seqkit.io.transfer`. It gets its name when it is complete and
checked.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from seqkit.errors import DataError, Problem, RunError, printable
from seqkit.io.atomic import format_bytes, sync_folder
from seqkit.io.cache import cache_folder, folder_from, sha256_of
from seqkit.types import ProgressCallback

Tell: TypeAlias = Callable[[str], None]

TIMEOUT: Final = 30.0
"""Seconds without an answer, or with hardly any bytes, after which an attempt is given up."""
ATTEMPTS: Final = 3


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        path: relative to the data set's folder, with `/`.
        url: its address, https; None: it has none, so it is only looked for in SEQKIT_DATA and the cache.
        sha256: of its bytes, in hexadecimal.
        size: in bytes; a download never reads more.
    """

    path: str
    url: str | None
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _check_path(self.path)
        if len(self.sha256) != 64 or self.size < 0:
            raise ValueError(f"{self.path}: a file is pinned by a SHA-256 of 64 digits and a size")


@dataclass(frozen=True)
class Dataset:
    """A public data set.

    Attributes:
        name: the name of its folder: `sentiment/sst2`.
        files: what it consists of.
        licence: its terms of use; shown before a download.
        about: what it is and where it comes from, in a line.
        by_hand: how to get the same data if a file has no address of its own.
    """

    name: str
    files: tuple[File, ...]
    licence: str
    about: str = ""
    by_hand: str = ""

    def __post_init__(self) -> None:
        _check_path(self.name)


@dataclass(frozen=True)
class _Listeners:
    tell: Tell | None = None
    progress: ProgressCallback | None = None


_NO_LISTENERS = _Listeners()
_listeners: ContextVar[_Listeners] = ContextVar("listeners", default=_NO_LISTENERS)


@contextmanager
def listening(*, tell: Tell | None = None, progress: ProgressCallback | None = None) -> Iterator[None]:
    """Within this block downloads report here: `tell` gets whole lines (otherwise stderr does), `progress` bytes."""
    token = _listeners.set(_Listeners(tell, progress))
    try:
        yield
    finally:
        _listeners.reset(token)


def fetch(dataset: Dataset, *, offline: bool | None = None, timeout: float = TIMEOUT) -> Path:
    """The folder that holds the files of a data set, each checked against its pinned SHA-256.

    Args:
        dataset: what to find or download.
        offline: never download; None: as `SEQKIT_OFFLINE` says (anything but empty and 0 means yes).
        timeout: seconds.

    Raises:
        DataError: a file is not the pinned one, cannot be downloaded, or is missing while offline. The message says
            where to put it by hand.
        RunError: the cache cannot be written.
    """
    users_root = folder_from("SEQKIT_DATA")
    if users_root and (users_root / dataset.name).is_dir():
        return _checked_folder(dataset, users_root / dataset.name)
    folder = cache_folder() / "data" / dataset.name
    missing = _missing_files(dataset, folder)
    if not missing:
        return folder
    if offline is None:
        offline = os.environ.get("SEQKIT_OFFLINE", "") not in ("", "0")
    if offline:
        raise DataError(Problem(dataset.name, "is not on this machine, and downloads are off", _by_hand(dataset)))
    if any(file.url is None for file in missing):
        message = "is not on this machine, and has no address that it could be downloaded from"
        raise DataError(Problem(dataset.name, message, _by_hand(dataset)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(f"{folder.name}.lock"), dataset.name):
            _download(dataset, folder, timeout)
    except OSError as error:
        message = f"cannot write {folder}: {error.strerror or error}"
        raise RunError(f"{message}; set SEQKIT_CACHE to another folder") from error
    return folder


def _checked_folder(dataset: Dataset, folder: Path) -> Path:
    """The user's own folder. Raises DataError unless every file in it is the pinned one."""
    problems = []
    for file in dataset.files:
        path, source = folder / file.path, _source(dataset, file)
        if not path.is_file():
            problems.append(Problem(str(path), "is missing from the folder named in SEQKIT_DATA", source))
        elif path.stat().st_size != file.size or sha256_of(path) != file.sha256:
            message = f"is not the file that {dataset.name} means ({file.size:,} bytes, SHA-256 {file.sha256})"
            problems.append(Problem(str(path), message, f"{source}; or move the folder away"))
    if problems:
        raise DataError(problems)
    return folder


def _missing_files(dataset: Dataset, folder: Path) -> list[File]:
    return [file for file in dataset.files if not _is_pinned(folder / file.path, file)]


def _is_pinned(path: Path, file: File) -> bool:
    try:
        return path.stat().st_size == file.size and sha256_of(path) == file.sha256
    except OSError:
        return False


def _download(dataset: Dataset, folder: Path, timeout: float) -> None:
    # Another process may have downloaded it while this one waited for the lock.
    missing = _missing_files(dataset, folder)
    if not missing:
        return
    _tell(f"downloading {dataset.name}: {format_bytes(sum(file.size for file in missing))} to {folder}")
    if dataset.about:
        _tell(f"{dataset.name}: {dataset.about}")
    _tell(f"{dataset.name}: licence: {dataset.licence}")
    for file in missing:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_file(dataset, file, path, timeout)


def _download_file(dataset: Dataset, file: File, path: Path, timeout: float) -> None:
    """Download one file, in several attempts if need be, and check it before it gets its name."""
    partial_path = path.with_name(path.name + ".part")
    free = shutil.disk_usage(path.parent).free
    if free < file.size - _size(partial_path):
        raise RunError(f"disk full: {path} needs {format_bytes(file.size)}, {format_bytes(free)} are free")
    _receive(dataset, file, partial_path, timeout)
    digest = sha256_of(partial_path)
    if digest != file.sha256:
        partial_path.unlink()
        message = f"its SHA-256 is {digest}, but {file.sha256} is expected: it was changed at its source or on the way"
        raise DataError(Problem(str(file.url), message))
    os.replace(partial_path, path)
    sync_folder(path.parent)


def _receive(dataset: Dataset, file: File, partial_path: Path, timeout: float) -> None:
    # Brings Python's HTTP client, which runs and checks that download nothing do without.
    from seqkit.io.transfer import TransferBroken, TransferRefused, receive

    assert file.url is not None
    progress = _listeners.get().progress
    show = partial(_show, progress, file) if progress else None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            receive(file.url, partial_path, file.size, timeout=timeout, progress=show)
            return
        except TransferBroken as error:
            if attempt == ATTEMPTS:
                have = _size(partial_path)
                message = f"{error}; {have:,} of {file.size:,} bytes are here, and the next run continues from there"
                raise DataError(Problem(file.url, message, _by_hand(dataset))) from None
            _pause(attempt)
        except TransferRefused as error:
            partial_path.unlink(missing_ok=True)
            raise DataError(Problem(file.url, str(error), _by_hand(dataset))) from None


def _show(progress: ProgressCallback, file: File, have: int) -> None:
    progress(have, file.size, f"downloading {file.path}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _pause(attempt: int) -> None:
    time.sleep(0.5 * 4 ** (attempt - 1))


@contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    """One process at a time. The operating system releases the lock of a process that dies."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell(f"{name}: another process is downloading it; waiting")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _by_hand(dataset: Dataset) -> str:
    """How to provide a data set without a download."""
    users_root = folder_from("SEQKIT_DATA")
    folder = f"{users_root or 'DIR'}/{dataset.name}"
    advice = f"put its files into {folder}" + ("" if users_root else " and set SEQKIT_DATA=DIR")
    files = "; ".join(f"{file.path} from {file.url}" for file in dataset.files if file.url is not None)
    return "; ".join([f"{advice} ({files})" if files else advice, *([dataset.by_hand] if dataset.by_hand else [])])


def _source(dataset: Dataset, file: File) -> str:
    """Where the user can get a file."""
    return f"it is at {file.url}" if file.url is not None else dataset.by_hand or "it has no address of its own"


def _tell(line: str) -> None:
    tell = _listeners.get().tell
    if tell is not None:
        tell(line)
    else:
        print(printable(line), file=sys.stderr)


def _check_path(path: str) -> None:
    """Refuse a path that could lead out of the folder that it is joined to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is not a path inside a folder")
