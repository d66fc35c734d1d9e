"""One file over HTTPS: no longer than expected, never decompressed, and continued where an earlier attempt ended."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from seqkit._version import __version__

SLOWEST: Final = 256
"""Bytes a second; a slower transfer is broken off."""

_BLOCK: Final = 1 << 16
"""Bytes that are read at a time."""


class TransferBroken(Exception):
    """The transfer did not finish; another attempt may."""


class TransferRefused(Exception):
    """What the server offers is not what was asked for; another attempt would not help."""


def receive(
    url: str, partial: Path, size: int, *, timeout: float, progress: Callable[[int], None] | None = None
) -> None:
    """Bring the file `partial` to its full size; what is there already is not fetched again.

    Args:
        url: https.
        partial: the beginning of the file, if there is any.
        size: bytes of the complete file.
        timeout: seconds without an answer, or with less than `SLOWEST` bytes a second, until it is broken off.
        progress: called with the number of bytes that are there.

    Raises:
        TransferBroken: it did not finish; `partial` keeps what has come.
        TransferRefused: the address is not https, or the server offers something else.
        OSError: `partial` cannot be written.
    """
    have = partial.stat().st_size if partial.exists() else 0
    if have > size:
        partial.unlink()
        have = 0
    if have == size and have:
        return
    _require_https(url)
    request = urllib.request.Request(url, headers=_headers(have))
    try:
        with _opener().open(request, timeout=timeout) as response:
            have = _first_byte(response, have, size)
            with _open_partial(partial, have) as out:
                _copy(response, out, have, size, timeout=timeout, progress=progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            partial.unlink(missing_ok=True)
            raise TransferBroken("the server will not continue from where the last download ended") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise TransferBroken(f"the server answers {error.code} {error.reason}") from None
        raise TransferRefused(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise TransferBroken(f"cannot reach {urllib.parse.urlsplit(url).hostname}: {error.reason}") from None
    except TimeoutError:
        raise TransferBroken(f"nothing came for {timeout:.0f} seconds") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise TransferBroken(f"the connection broke: {error or type(error).__name__}") from None


def _require_https(url: str) -> None:
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme == "https":
        return
    # The tests run a server on this machine, which speaks http. It is allowed only if they set this variable.
    loopback = parsed.hostname in ("127.0.0.1", "localhost") and os.environ.get("SEQKIT_TEST_LOOPBACK") == "1"
    if parsed.scheme != "http" or not loopback:
        raise TransferRefused(f"leads to {parsed.scheme}://{parsed.hostname or ''}, and only https is allowed")


def _headers(have: int) -> dict[str, str]:
    headers = {"User-Agent": f"seqkit/{__version__}", "Accept-Encoding": "identity"}
    return headers | {"Range": f"bytes={have}-"} if have else headers


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        # urllib itself also allows http and ftp, and its error shows the whole address, which may contain a signature.
        # It reads a header `URI` if there is no `Location`.
        target = headers.get("Location") or headers.get("URI") or ""
        try:
            _require_https(urllib.parse.urljoin(req.full_url, target))
        except TransferRefused:
            fp.close()
            raise
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https only: no file, ftp or data."""
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


def _first_byte(response: Any, have: int, size: int) -> int:
    """The byte of the file that the response starts with: `have`, or 0 if the server sends the whole file again."""
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise TransferRefused(f"the server sends it as {encoding}, though it was asked not to")
    if response.status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise TransferRefused("the server sends another part of the file than was asked for")
    elif response.status == 200:
        have = 0
    else:
        raise TransferRefused(f"the server answers {response.status}")
    length = response.headers.get("Content-Length")
    if length is not None and length.isdigit() and int(length) > size - have:
        raise TransferRefused(f"the server sends {have + int(length):,} bytes, but the file has {size:,}")
    return have


def _open_partial(partial: Path, have: int) -> Any:
    """The partial file, cut to `have` bytes and open for writing there. A symbolic link is not followed."""
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    out = os.fdopen(handle, "wb")
    out.truncate(have)
    out.seek(have)
    return out


def _copy(
    response: Any, out: Any, have: int, size: int, *, timeout: float, progress: Callable[[int], None] | None
) -> None:
    """Write the rest of the file, and make it durable."""
    checked_at, checked_have = time.monotonic(), have
    while have < size:
        block = response.read1(min(_BLOCK, size - have))
        if not block:
            raise TransferBroken(f"the connection ended after {have:,} of {size:,} bytes")
        out.write(block)
        have += len(block)
        if progress:
            progress(have)
        if (seconds := time.monotonic() - checked_at) > timeout:
            if have - checked_have < SLOWEST * seconds:
                raise TransferBroken(f"only {have - checked_have:,} bytes came in {seconds:.0f} seconds")
            checked_at, checked_have = time.monotonic(), have
    if response.read1(1):
        raise TransferRefused(f"the server sends more than the {size:,} bytes that the file has")
    out.flush()
    os.fsync(out.fileno())
