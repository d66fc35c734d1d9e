"""Named data sets: looked for in the user's own folder, then in the cache, then downloaded once, or not at all.

    $SEQKIT_DATA/<data set's name>/<file>       the user's copies; read, never written
    <cache>/data/<data set's name>/<file>       what was downloaded

Every file is pinned: its address, its size and its SHA-256 stand in the code that names it, and a file that differs is
not used, wherever it comes from. A download is https only, through every redirect; never longer than the pinned size;
never decompressed on the way; goes on where an earlier one broke off; and appears under its name whole and checked, or
not at all.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

from seqkit._version import __version__
from seqkit.errors import DataError, Problem, RunError
from seqkit.io.atomic import sync_folder
from seqkit.io.cache import cache_folder, sha256_of

ProgressCallback: TypeAlias = Callable[[int, int | None, str], None]
Tell: TypeAlias = Callable[[str], None]

TIMEOUT: Final = 30.0
"""Seconds without an answer, or with less than `SLOWEST` bytes a second, after which a download is given up."""
SLOWEST: Final = 256
ATTEMPTS: Final = 3
_BLOCK = 1 << 16


@dataclass(frozen=True)
class File:
    """One file of a data set.

    Attributes:
        path: relative to the data set's folder, with `/`.
        url: where it is, https; None: nowhere that is pinned, so it is only found in SEQKIT_DATA or the cache.
        sha256: of its bytes, in hexadecimal.
        size: in bytes; a download never reads more.
    """

    path: str
    url: str | None
    sha256: str
    size: int

    def __post_init__(self) -> None:
        _inside(self.path)
        if len(self.sha256) != 64 or self.size < 0:
            raise ValueError(f"{self.path}: a file is pinned by a SHA-256 of 64 digits and a size")


@dataclass(frozen=True)
class Dataset:
    """A data set of the public.

    Attributes:
        name: its folder's name: `sentiment/sst2`.
        files: what it consists of.
        licence: under which terms; shown before a download.
        about: what it is and where it comes from, in a line.
        by_hand: how to come by the same data where a file has no address of its own.
    """

    name: str
    files: tuple[File, ...]
    licence: str
    about: str = ""
    by_hand: str = ""

    def __post_init__(self) -> None:
        _inside(self.name)


@dataclass(frozen=True)
class _Listeners:
    tell: Tell | None = None
    progress: ProgressCallback | None = None


_NOBODY = _Listeners()
_listeners: ContextVar[_Listeners] = ContextVar("listeners", default=_NOBODY)


@contextmanager
def listening(*, tell: Tell | None = None, progress: ProgressCallback | None = None) -> Iterator[None]:
    """Within this block, downloads report here. `tell` gets whole lines (stderr otherwise), `progress` bytes."""
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
    own = os.environ.get("SEQKIT_DATA")
    if own and (Path(own) / dataset.name).is_dir():
        return _checked(dataset, Path(own) / dataset.name)
    folder = cache_folder() / "data" / dataset.name
    missing = [file for file in dataset.files if not _is_pinned(folder / file.path, file)]
    if not missing:
        return folder
    if offline is None:
        offline = os.environ.get("SEQKIT_OFFLINE", "") not in ("", "0")
    if offline:
        raise DataError(Problem(dataset.name, "is not on this machine, and downloads are off", _by_hand(dataset)))
    if any(file.url is None for file in missing):
        what = "is not on this machine, and has no address that it could be downloaded from"
        raise DataError(Problem(dataset.name, what, _by_hand(dataset)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(f"{folder.name}.lock"), dataset.name):
            _download(dataset, folder, timeout)
    except OSError as error:
        raise RunError(
            f"cannot write {folder}: {error.strerror or error}; set SEQKIT_CACHE to another folder"
        ) from error
    return folder


def _checked(dataset: Dataset, folder: Path) -> Path:
    """The user's own folder, if every file in it is the pinned one."""
    problems = []
    for file in dataset.files:
        path = folder / file.path
        if not path.is_file():
            problems.append(
                Problem(str(path), "is missing from the folder named in SEQKIT_DATA", _where(dataset, file))
            )
        elif path.stat().st_size != file.size or sha256_of(path) != file.sha256:
            what = f"is not the file that {dataset.name} means ({file.size:,} bytes, SHA-256 {file.sha256})"
            problems.append(Problem(str(path), what, f"{_where(dataset, file)}; or move the folder away"))
    if problems:
        raise DataError(problems)
    return folder


def _download(dataset: Dataset, folder: Path, timeout: float) -> None:
    # Another process may have been here while this one waited for the lock.
    missing = [file for file in dataset.files if not _is_pinned(folder / file.path, file)]
    if not missing:
        return
    _tell(f"downloading {dataset.name}: {_amount(sum(file.size for file in missing))} to {folder}")
    if dataset.about:
        _tell(f"{dataset.name}: {dataset.about}")
    _tell(f"{dataset.name}: licence: {dataset.licence}")
    for file in missing:
        place = folder / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        _fetch_file(dataset, file, place, timeout)


def _fetch_file(dataset: Dataset, file: File, place: Path, timeout: float) -> None:
    part = place.with_name(place.name + ".part")
    free = shutil.disk_usage(place.parent).free
    if free < file.size - (part.stat().st_size if part.exists() else 0):
        raise RunError(f"disk full: {place} needs {_amount(file.size)}, {_amount(free)} are free")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(file, part, timeout)
            break
        except _Broken as error:
            if attempt == ATTEMPTS:
                kept = part.stat().st_size if part.exists() else 0
                what = f"{error}; {kept:,} of {file.size:,} bytes are here, the next attempt goes on from there"
                raise DataError(Problem(str(file.url), what, _by_hand(dataset))) from None
            _pause(attempt)
        except _Refused as error:
            part.unlink(missing_ok=True)
            raise DataError(Problem(str(file.url), str(error), _by_hand(dataset))) from None
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        what = f"its SHA-256 is {found}, but {file.sha256} is expected: it has changed at its source or on the way"
        raise DataError(Problem(str(file.url), what))
    os.replace(part, place)
    sync_folder(place.parent)


def _pause(attempt: int) -> None:
    time.sleep(0.5 * 4 ** (attempt - 1))


class _Broken(Exception):
    """A download that may go better next time."""


class _Refused(Exception):
    """A download that is not what was asked for."""


def _receive(file: File, part: Path, timeout: float) -> None:
    """Bring the partial file to its full size."""
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    if have == file.size and have:
        return
    assert file.url is not None
    _allowed(file.url)
    request = urllib.request.Request(file.url, headers=_headers(have))
    try:
        with _opener().open(request, timeout=timeout) as answer:
            have = _start(answer, file, have)
            with _append(part, have) as out:
                _pour(answer, out, file, have, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise _Broken("the server will not go on from where the last download ended") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Broken(f"the server answers {error.code} {error.reason}") from None
        raise _Refused(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise _Broken(f"cannot reach {urllib.parse.urlsplit(file.url).hostname}: {error.reason}") from None
    except TimeoutError:
        raise _Broken(f"nothing came for {timeout:.0f} seconds") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise _Broken(f"the connection broke: {error or type(error).__name__}") from None


def _start(answer: Any, file: File, have: int) -> int:
    """At which byte the answer starts: where the partial file ends, or at 0 if the server gives the whole again."""
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise _Refused(f"the server sends it as {encoding}, though it was asked not to")
    if answer.status == 206:
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _Refused("the server sends another part of the file than was asked for")
    elif answer.status == 200:
        have = 0
    else:
        raise _Refused(f"the server answers {answer.status}")
    length = answer.headers.get("Content-Length")
    if length is not None and length.isdigit() and int(length) > file.size - have:
        raise _Refused(f"the server sends {have + int(length):,} bytes, but the file has {file.size:,}")
    return have


def _append(part: Path, have: int) -> Any:
    """The partial file, open for writing at byte `have`. A symbolic link in its place is not followed."""
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    out = os.fdopen(handle, "wb")
    out.truncate(have)
    out.seek(have)
    return out


def _pour(answer: Any, out: Any, file: File, have: int, timeout: float) -> None:
    progress = _listeners.get().progress
    since, then = time.monotonic(), have
    while have < file.size:
        block = answer.read1(min(_BLOCK, file.size - have))
        if not block:
            raise _Broken(f"the connection ended after {have:,} of {file.size:,} bytes")
        out.write(block)
        have += len(block)
        if progress:
            progress(have, file.size, f"downloading {file.path}")
        if (waited := time.monotonic() - since) > timeout:
            if have - then < SLOWEST * waited:
                raise _Broken(f"only {have - then:,} bytes came in {waited:.0f} seconds")
            since, then = time.monotonic(), have
    if answer.read1(1):
        raise _Refused(f"the server sends more than the {file.size:,} bytes that the file has")
    out.flush()
    os.fsync(out.fileno())


def _headers(have: int) -> dict[str, str]:
    plain = {"User-Agent": f"seqkit/{__version__}", "Accept-Encoding": "identity"}
    return plain | {"Range": f"bytes={have}-"} if have else plain


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but only to where a download may come from."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        # urllib refuses other schemes too, but allows http and ftp, and tells the whole address, which may be signed.
        # It reads a header `URI` where there is no `Location`.
        target = headers.get("Location") or headers.get("URI") or ""
        try:
            _allowed(urllib.parse.urljoin(req.full_url, target))
        except _Refused:
            fp.close()
            raise
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https and nothing else: no file, ftp or data."""
    opener = urllib.request.OpenerDirector()
    proxies = {name: url for name, url in urllib.request.getproxies().items() if name == "https"}
    for handler in (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _allowed(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return
    # The tests' own server speaks http, on this machine, and only when they say so.
    loopback = parts.hostname in ("127.0.0.1", "localhost") and os.environ.get("SEQKIT_TEST_LOOPBACK") == "1"
    if parts.scheme != "http" or not loopback:
        raise _Refused(f"leads to {parts.scheme}://{parts.hostname or ''}, and only https is allowed")


@contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    """One process at a time; the system releases the lock of a process that dies."""
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


def _is_pinned(path: Path, file: File) -> bool:
    try:
        return path.stat().st_size == file.size and sha256_of(path) == file.sha256
    except OSError:
        return False


def _by_hand(dataset: Dataset) -> str:
    """How to provide a data set without a download."""
    root = os.environ.get("SEQKIT_DATA")
    where = f"{root}/{dataset.name}" if root else f"DIR/{dataset.name}"
    first = f"put its files into {where}" + ("" if root else " and set SEQKIT_DATA=DIR")
    files = "; ".join(f"{file.path} from {file.url}" for file in dataset.files if file.url is not None)
    return "; ".join([f"{first} ({files})" if files else first, *([dataset.by_hand] if dataset.by_hand else [])])


def _where(dataset: Dataset, file: File) -> str:
    """Where a file can be had."""
    return f"it is at {file.url}" if file.url is not None else dataset.by_hand or "it has no address of its own"


def _tell(line: str) -> None:
    tell = _listeners.get().tell
    if tell is not None:
        tell(line)
    else:
        print(line, file=sys.stderr)


def _amount(size: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000  # type: ignore[assignment]
    return f"{size:.3g} GB"


def _inside(path: str) -> None:
    """Refuse a path that could lead out of the folder it is joined to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError(f"{path!r} is no path inside a folder")
