"""Files at an address (`https://`, `s3://`, `gs://`, `hf://`), read in parts through fsspec, and never written to disk.

A remote file is a `Path` like others: `Path("s3://bucket/a.tsv")`, whose two slashes become one. Each part that is read
has to have the length that was asked for, of a file that has not changed; one that is cut, late or refused for now is
asked for again. Nothing is contacted before a file is opened, looked for or asked about.
"""

from __future__ import annotations

import errno
import io
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from seqkit.errors import DataError, MissingExtra, Problem, UsageError

TIMEOUT: Final = 30.0
"""Seconds in which a part has to arrive, or an answer."""
ATTEMPTS: Final = 4
_PAUSE: Final = 0.5
"""Seconds before the second attempt; twice as many before each further one."""
_LARGEST_PART: Final = 8 << 20
_FIRST_PART: Final = 1 << 20
_SMALLEST_PART: Final = 1 << 16
"""Bytes that are asked for at once: more each time, and half as many after a part that did not come in time."""
_AT_ONCE: Final = 64 << 20
"""Bytes up to which a file is read at once from a server that does not give parts."""

_URL: Final = re.compile(r"(?:^|/)(https?|s3|gs|hf|memory):/+(.*)$", re.DOTALL)
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub"}
_FACTS: Final = (
    *("ETag", "etag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "last_modified", "mtime", "updated"),
    *("created", "generation", "md5Hash", "crc32c", "VersionId", "version_id", "blob_id", "sha256", "checksum"),
)
"""What file systems say of a file's content, under whatever name they have for it."""


class Broken(Exception):
    """Something did not arrive as it should; another attempt may help."""


class Refused(Exception):
    """Another attempt would not help."""


@final
@dataclass(frozen=True)
class Fingerprint:
    """What is known of the content of a remote file without reading it.

    Attributes:
        size: bytes.
        facts: entity tag, time of the last change, checksums: what the server says.
    """

    size: int
    facts: Mapping[str, str]


_tell: ContextVar[Callable[[str], None] | None] = ContextVar("tell", default=None)
_told: set[str] = set()
_known: dict[str, Fingerprint] = {}


@contextmanager
def telling(tell: Callable[[str], None] | None) -> Iterator[None]:
    """Within the block, `tell` gets a line before a host or bucket is contacted for the first time."""
    token = _tell.set(tell)
    _told.clear()
    try:
        yield
    finally:
        _tell.reset(token)


def url_of(path: Path | str) -> str | None:
    """The address that a path stands for; None: it is a local file."""
    match = _URL.search(str(path))
    return f"{match[1]}://{match[2]}" if match else None


def is_remote(path: Path | str) -> bool:
    """Whether a path stands for an address."""
    return _URL.search(str(path)) is not None


def shown(path: Path) -> str:
    """A path for people: an address as it is written, without what may be secret in it."""
    url = url_of(path)
    return str(path) if url is None else _without_secrets(url)


def _without_secrets(url: str) -> str:
    scheme, _, rest = url.partition("://")
    host, slash, name = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{name.partition('?')[0]}"


def check_url(url: str) -> None:
    """Raises UsageError for an address that may have a secret in it: recipes and run folders are shared."""
    if _without_secrets(url) != url:
        advice = "give credentials in the environment (AWS_..., GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN, ~/.netrc)"
        message = "an address with a user, a password or a query is not read, because recipes are shared"
        raise UsageError(f"{_without_secrets(url)}: {message}; {advice}")


def fingerprint(path: Path) -> Fingerprint:
    """What the server says of a file now. What is opened later in this process has to be the same.

    Raises:
        DataError: there is no such file, or the server does not answer, or does not say what it has.
        MissingExtra: a package is not installed.
        UsageError: the address has a secret.
    """
    url = str(url_of(path))
    now: Fingerprint = _explained(url, _source(url).fingerprint)
    if not now.facts:
        message = "says neither when it was changed nor what its content is, so a change could not be noticed"
        raise DataError(Problem(_without_secrets(url), message, "copy it, and name the copy"))
    _known[url] = now
    return now


def open_remote(path: Path) -> io.BufferedReader:
    """A remote file, open for reading bytes. One can seek in it.

    Raises:
        DataError, MissingExtra, UsageError: as `fingerprint`.
    """
    url = str(url_of(path))
    source = _source(url)
    now = _explained(url, source.fingerprint)
    before = _known.setdefault(url, now)
    if now != before:
        raise _changed(url)
    return io.BufferedReader(RemoteFile(url, source, now), buffer_size=1 << 20)


def matches(path: Path) -> list[Path]:
    """The remote files that match a pattern, in the order of their addresses.

    Raises:
        DataError: none does, or the addresses of the server cannot be listed.
    """
    url = str(url_of(path))
    if url.startswith("http"):
        raise DataError(Problem(_without_secrets(url), "web servers have no patterns", "list the addresses"))
    system, name = _system(url)
    scheme = url.partition("://")[0]
    names = _explained(url, lambda: _call(system.glob, name))
    if not names:
        raise DataError(Problem(_without_secrets(url), "no file matches this pattern"))
    return [Path(f"{scheme}:/{str(entry).lstrip('/')}") for entry in sorted(names)]


@final
class RemoteFile(io.RawIOBase):
    """The bytes of a remote file. The next part is asked for while the last one is read.

    Args:
        url: its address.
        source: reads its parts.
        expected: what it has to be.
    """

    def __init__(self, url: str, source: Source, expected: Fingerprint) -> None:
        self._url, self._source, self._expected = url, source, expected
        self._position, self._start, self._part = 0, 0, b""
        self._size = _FIRST_PART
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="seqkit-remote")
        self._next: tuple[int, Future[bytes]] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._expected.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, target: Any) -> int:
        if self._position >= self._expected.size:
            self._check_unchanged()
            return 0
        if not self._start <= self._position < self._start + len(self._part):
            self._start, self._part = self._position, self._take(self._position)
        begin = self._position - self._start
        count = min(len(target), len(self._part) - begin)
        target[:count] = self._part[begin : begin + count]
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=False, cancel_futures=True)
        super().close()

    def _take(self, start: int) -> bytes:
        """The part that begins here; the one after it is asked for."""
        if self._next is not None and self._next[0] == start:
            part = self._next[1].result()
        else:
            part = self._fetch(start)
        after = start + len(part)
        self._next = (after, self._pool.submit(self._fetch, after)) if after < self._expected.size else None
        return part

    def _fetch(self, start: int) -> bytes:
        """A part, after several attempts if need be. Raises OSError with a sentence."""

        def attempt() -> bytes:
            end = min(start + self._size, self._expected.size)
            try:
                part = self._source.read(start, end, self._expected)
            except Broken:
                self._size = max(_SMALLEST_PART, self._size // 2)
                raise
            if len(part) != end - start:
                raise Broken(f"was cut: {len(part):,} of {end - start:,} bytes came")
            self._size = min(_LARGEST_PART, self._size * 2)
            return part

        try:
            part: bytes = _attempts(attempt)
            return part
        except (Broken, Refused) as error:
            raise OSError(errno.EIO, f"{error}, at byte {start:,}", _without_secrets(self._url)) from None

    def _check_unchanged(self) -> None:
        try:
            now = _attempts(self._source.fingerprint)
        except (Broken, Refused) as error:
            raise OSError(errno.EIO, str(error), _without_secrets(self._url)) from None
        if now != self._expected:
            raise OSError(errno.EIO, "was changed while it was read", _without_secrets(self._url))


class Source:
    """A file of any file system of fsspec."""

    def __init__(self, system: Any, name: str) -> None:
        self._system, self._name = system, name

    def fingerprint(self) -> Fingerprint:
        """What the file system says. Raises Broken or Refused."""
        self._system.invalidate_cache()
        info = _call(self._system.info, self._name)
        if info.get("type") == "directory":
            raise Refused("is a folder, not a file")
        if not isinstance(info.get("size"), int):
            raise Refused("does not say how many bytes it has, so a cut could not be noticed")
        return Fingerprint(info["size"], {key: str(info[key]) for key in _FACTS if info.get(key)})

    def read(self, start: int, end: int, expected: Fingerprint) -> bytes:
        """Some bytes. Raises Broken or Refused."""
        part = _call(self._system.cat_file, self._name, start=start, end=end)
        return bytes(part)


@final
class WebSource(Source):
    """A file of a web server, whose answers say whether it is still the same and whether it is whole."""

    _content: bytes | None = None

    def fingerprint(self) -> Fingerprint:
        status, headers, _ = self._ask("HEAD", {}, 0)
        if status in (403, 405, 501):  # some servers, and signed addresses, know GET alone
            status, headers, _ = self._ask("GET", {"Range": "bytes=0-0"}, 1)
        _check_status(status)
        return _fingerprint_of(status, headers)

    def read(self, start: int, end: int, expected: Fingerprint) -> bytes:
        if self._content is None:
            status, headers, body = self._ask("GET", {"Range": f"bytes={start}-{end - 1}"}, end - start)
            if status == 416:
                raise Refused("was changed while it was read")
            _check_status(status)
            if _fingerprint_of(status, headers) != expected:
                raise Refused("was changed while it was read")
            if status == 206:
                return body
            if expected.size > _AT_ONCE:
                raise Refused(f"lies on a server that gives no parts of files, and has more than {_AT_ONCE:,} bytes")
            _, _, content = self._ask("GET", {}, expected.size)
            if len(content) != expected.size:
                raise Broken(f"was cut: {len(content):,} of {expected.size:,} bytes came")
            self._content = content
        return self._content[start:end]

    def _ask(self, method: str, headers: Mapping[str, str], most: int) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers, and at most so many bytes of the answer."""
        from fsspec.asyn import sync

        async def ask() -> tuple[int, Mapping[str, str], bytes]:
            session = await self._system.set_session()
            accepted = {"Accept-Encoding": "identity", **headers}
            async with session.request(method, self._name, headers=accepted, max_redirects=5) as answer:
                body = bytearray()
                while len(body) < most and answer.status in (200, 206):
                    block = await answer.content.read(most - len(body))
                    if not block:
                        break
                    body += block
                return answer.status, answer.headers, bytes(body)

        return _call(lambda timeout: sync(self._system.loop, ask, timeout=timeout))  # type: ignore[no-any-return]


def _fingerprint_of(status: int, headers: Mapping[str, str]) -> Fingerprint:
    """What the headers of an answer say of the whole file."""
    if headers.get("Content-Encoding", "identity") not in ("identity", ""):
        raise Refused("comes compressed on its way, so its size is not known")
    text = headers.get("Content-Range", "").rpartition("/")[2] if status == 206 else headers.get("Content-Length", "")
    if not text.isdigit():
        raise Refused("does not say how many bytes it has, so a cut could not be noticed")
    facts = {key: headers[key] for key in ("ETag", "Last-Modified") if headers.get(key)}
    return Fingerprint(int(text), facts)


def _check_status(status: int) -> None:
    if status in (200, 206):
        return
    if status in (408, 425, 429) or status >= 500:
        raise Broken(f"the server answered {status}")
    if status in (404, 410):
        raise Refused("there is no such file")
    if status in (401, 403):
        raise Refused(f"the server does not allow it ({status})")
    raise Refused(f"the server answered {status}")


def _call(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a call of fsspec returns. What it raises becomes Broken or Refused, without texts that may hold secrets."""
    try:
        try:
            return work(*args, timeout=TIMEOUT, **options)
        except TypeError:  # file systems without a network take no timeout
            return work(*args, **options)
    except (Broken, Refused):
        raise
    except FileNotFoundError:
        raise Refused("there is no such file") from None
    except PermissionError:
        raise Refused("access is denied: are credentials in the environment?") from None
    except TimeoutError:
        raise Broken(f"nothing came within {TIMEOUT:g} s") from None
    except Exception as error:  # each file system has errors of its own
        kind = type(error).__name__
        if kind in ("TooManyRedirects", "InvalidURL", "NoCredentialsError", "InvalidUrlRedirectClientError"):
            raise Refused(f"cannot be reached ({kind})") from None
        raise Broken(f"the connection failed ({kind})") from None


def _attempts(work: Callable[[], Any]) -> Any:
    """What `work` returns, after several attempts if need be. Raises Broken or Refused."""
    for attempt in range(ATTEMPTS):
        try:
            return work()
        except Broken as error:
            if attempt == ATTEMPTS - 1:
                raise Broken(f"{error}, {ATTEMPTS} times") from None
            time.sleep(_PAUSE * 2**attempt)
    raise AssertionError("there is at least one attempt")


def _explained(url: str, work: Callable[[], Any]) -> Any:
    """What `work` returns; its failure as an error for the user."""
    try:
        return _attempts(work)
    except (Broken, Refused) as error:
        raise DataError(Problem(_without_secrets(url), str(error))) from None


def _changed(url: str) -> DataError:
    return DataError(Problem(_without_secrets(url), "was changed since this run began to read it", "start again"))


def _source(url: str) -> Source:
    system, name = _system(url)
    return WebSource(system, name) if url.startswith("http") else Source(system, name)


def _system(url: str) -> tuple[Any, str]:
    """The file system of an address, and the file's name in it. Nothing is contacted yet."""
    check_url(url)
    if os.environ.get("SEQKIT_OFFLINE", "") not in ("", "0"):
        raise DataError(Problem(_without_secrets(url), "is not read, because SEQKIT_OFFLINE is set"))
    scheme, _, rest = url.partition("://")
    try:
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False}
        if scheme.startswith("http"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
            options["client_kwargs"] = {"trust_env": True, "timeout": timeout, "auto_decompress": False}
        system = fsspec.filesystem(scheme, **options)
    except ImportError:
        if scheme in _PACKAGES:
            raise UsageError(f"{scheme}:// needs a package: pip install {_PACKAGES[scheme]}") from None
        raise MissingExtra(f"{scheme}://", "remote") from None
    place = f"{scheme}://{rest.partition('/')[0]}"
    tell = _tell.get()
    if tell is not None and place not in _told:
        _told.add(place)
        tell(f"reading from {place}")
    return system, url if scheme.startswith("http") else rest
