"""The lines of a file, checked and numbered: what all readers are made of."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn

from seqkit.errors import DataError, MissingFile, Problem, UsageError
from seqkit.reading import report_left_out
from seqkit.regular_files import open_regular
from seqkit.remote_files import is_remote, open_remote, shown

LONGEST_LINE: Final = 1 << 27
"""Bytes. A longer line is refused, because it is hardly a line of text; it may be a decompression bomb."""


class Line(NamedTuple):
    """A line without its line end.

    Attributes:
        number: counted from 1.
        text: its characters.
        ended: False for a last line without a line end.
        flaw: why it is not text, if it is not and such lines are wanted; then `text` has a sign for each bad byte.
    """

    number: int
    text: str
    ended: bool
    flaw: str = ""


def numbered(path: Path | str, *, flaws: bool = False, encoding: str = "utf-8") -> Iterator[Line]:
    """The lines of a file, for readers of your own formats. All other readers use it.

    Args:
        path: the file.
        flaws: a line that is not text says so (`Line.flaw`), instead of being an error.
        encoding: of the text: `latin-1`, `cp1252`, `utf-16`, and what else Python knows.

    Raises:
        DataError: the file is not text as described for `seqkit.readers`.
        UsageError: there is no such encoding.
    """
    path = Path(path)
    with _open(path) as file:
        yield from numbered_stream(recode(file, path, encoding), path, flaws=flaws)


def numbered_stream(file: IO[bytes], path: Path, *, flaws: bool = False) -> Iterator[Line]:
    """The lines of an open file, which may be a pipe or a socket; `path` is what messages call it. See `numbered`."""
    number, is_empty = 0, True
    while raw := _read_line(path, file, number + 1):
        number += 1
        if number == 1:
            raw = _without_mark(path, raw)
            if not raw:
                break
        is_empty = False
        ended = raw.endswith(b"\n")
        body = raw[:-1] if ended else raw
        if body.endswith(b"\r"):
            body = body[:-1]
        if number == 1 and not ended and b"\r" in body:
            column = _width(body[: body.index(b"\r")]) + 1
            hint = "convert them, e.g. with: tr '\\r' '\\n'"
            fail(path, number, column, "lines end in CR alone, as on a Macintosh before 2001", hint)
        text, flaw = "", ""
        try:
            text = _decode(path, number, body)
        except DataError as error:
            if not flaws:
                raise
            text, flaw = body.decode("utf-8", "replace"), error.problems[0].what
        yield Line(number, text, ended, flaw)
    if is_empty:
        fail(path, None, None, "is empty")


def kept_lines(path: Path, *, skip_blank: bool, flaws: bool = False, encoding: str = "utf-8") -> Iterator[Line]:
    """The lines of a file, without those of nothing but white space if `skip_blank`, which are reported."""
    for line in numbered(path, flaws=flaws, encoding=encoding):
        if skip_blank and not line.text.strip():
            report_blank(path, line)
        else:
            yield line


def report_blank(path: Path, line: Line) -> None:
    """Report that a blank line is left out."""
    report_left_out("blank line", f"{path.name}:{line.number}")


class Piece(NamedTuple):
    """Some bytes of a line. The last piece of a line includes the line end.

    Attributes:
        number: of the line, counted from 1.
        raw: the bytes.
        begins: True for the first piece of a line.
    """

    number: int
    raw: bytes
    begins: bool


def pieces(path: Path | str, size: int = 1 << 20) -> Iterator[Piece]:
    """The lines of a file as bytes, those longer than `size` in pieces. For formats whose lines may have any length.

    What the bytes mean is for the caller to check. A CR LF is never cut in two.

    Raises:
        DataError: the file is empty, UTF-16, or damaged gzip.
    """
    path = Path(path)
    number, begins, is_empty = 1, True, True
    with _open(path) as file:
        while raw := _read_line(path, file, number, size):
            if raw.endswith(b"\r"):
                raw += _read_line(path, file, number, 1)
            if is_empty:
                raw = _without_mark(path, raw)
                if not raw:
                    break
            is_empty = False
            yield Piece(number, raw, begins)
            begins = raw.endswith(b"\n")
            number += begins
    if is_empty:
        fail(path, None, None, "is empty")


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    try:
        raw = open_remote(path) if is_remote(path) else open_regular(path)
    except IsADirectoryError:
        fail(path, None, None, "is a folder, not a file")
    except FileNotFoundError:
        raise MissingFile(path, "file") from None
    except OSError as error:
        fail(path, None, None, f"cannot be opened: {error.strerror}")
    with raw:
        try:
            start = raw.peek(6)[:6]
        except OSError as error:
            fail(path, 1, None, f"cannot be read: {error.strerror or error}")
        with decompressed(raw, path, start) as file:
            yield file


def decompressed(file: IO[bytes], path: Path, start: bytes) -> IO[bytes]:
    """An open file as it is without its compression, which its first bytes tell; a name in .gz has to be gzip."""
    if path.suffix == ".gz":
        opened: IO[bytes] = _COMPRESSED[_GZIP](file)
        return opened
    opener = next((opener for sign, opener in _COMPRESSED.items() if start.startswith(sign)), None)
    return file if opener is None else opener(file)


_GZIP: Final = b"\x1f\x8b\x08"
_COMPRESSED: Final[dict[bytes, Any]] = {
    _GZIP: lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}
"""By the first bytes of a compressed file, what decompresses it. Blocked gzip (bgz) is gzip of several members."""


def recode(file: IO[bytes], path: Path, encoding: str) -> IO[bytes]:
    """A file of text in any encoding, as one in UTF-8.

    Raises:
        UsageError: there is no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
        if name not in ("utf-8", "utf-8-sig"):
            codecs.getincrementaldecoder(encoding)()
            "".encode(encoding)  # not one from bytes to bytes
    except (LookupError, TypeError, AssertionError):
        hint = "such as utf-8, latin-1, cp1252, utf-16 or shift_jis"
        raise UsageError(f"encoding: '{encoding}' is not the name of an encoding; {hint}") from None
    if name in ("utf-8", "utf-8-sig"):
        return file
    return io.BufferedReader(_Recoded(file, path, name))


class _Recoded(io.RawIOBase):
    """A file in another encoding, read as UTF-8."""

    def __init__(self, file: IO[bytes], path: Path, encoding: str) -> None:
        self._file, self._path, self._encoding = file, path, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._buffer, self._line, self._ended = b"", 1, False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._buffer and not self._ended:
            raw = self._file.read(1 << 16)
            self._ended = not raw
            try:
                text = self._decoder.decode(raw, final=self._ended)
            except UnicodeDecodeError as error:
                line = self._line + bytes(error.object[: error.start]).count(b"\n")
                reason = f"byte 0x{error.object[error.start]:02x} is not {self._encoding}: {error.reason}"
                fail(self._path, line, None, reason, "give the encoding of the file")
            self._line += text.count("\n")
            self._buffer = text.encode("utf-8", "surrogatepass")
        size = min(len(target), len(self._buffer))
        target[:size], self._buffer = self._buffer[:size], self._buffer[size:]
        return size


def _read_line(path: Path, file: IO[bytes], number: int, size: int | None = None) -> bytes:
    """The next line with its line end, or its first `size` bytes; nothing at the end of the file."""
    try:
        raw = file.readline(LONGEST_LINE + 1 if size is None else size)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        kind = "xz" if isinstance(file, lzma.LZMAFile) else "bzip2" if isinstance(file, bz2.BZ2File) else "gzip"
        fail(path, number, None, f"damaged {kind}: {str(error)[:1].lower()}{str(error)[1:]}")
    except OSError as error:
        fail(path, number, None, f"cannot be read: {error.strerror or error}")
    if len(raw) > LONGEST_LINE:
        fail(path, number, None, f"a line of more than {LONGEST_LINE:,} bytes")
    return raw


def _without_mark(path: Path, raw: bytes) -> bytes:
    """The first line without a byte order mark. The marks of UTF-16 and UTF-32 are an error."""
    for mark, encoding in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if raw.startswith(mark):
            hint = f"convert it with: iconv -f {encoding.lower()} -t utf-8"
            fail(path, 1, 1, f"is {encoding}, not UTF-8", hint)
    return raw.removeprefix(b"\xef\xbb\xbf")


def _decode(path: Path, number: int, body: bytes) -> str:
    if b"\0" in body:
        column = _width(body[: body.index(b"\0")]) + 1
        fail(path, number, column, "has a NUL character", "is it UTF-16, or no text at all?")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        column = _width(body[: error.start]) + 1
        hint = "if it is another encoding, convert it, e.g. with: iconv -f latin1 -t utf-8"
        fail(path, number, column, f"byte 0x{body[error.start]:02x} is not UTF-8", hint)


def _width(prefix: bytes) -> int:
    """How many characters these bytes are."""
    return len(prefix.decode("utf-8", "replace"))


def list_names(kind: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: which there are, at most 20 of them."""
    return f"the {kind} are: {', '.join(itertools.islice(names, 20))}"


def fail(path: Path, line: int | None, column: int | None, message: str, hint: str = "") -> NoReturn:
    """Raise a DataError about a place in a file."""
    where = ":".join(str(number) for number in (shown(path), line, column) if number is not None)
    raise DataError(Problem(where, message, hint)) from None
