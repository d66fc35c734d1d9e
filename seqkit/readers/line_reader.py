"""The lines of a file, checked and numbered: what all readers are made of."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn

from seqkit.errors import DataError, Problem
from seqkit.reading import report_left_out

LONGEST_LINE: Final = 1 << 28
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


def numbered(path: Path | str, *, flaws: bool = False) -> Iterator[Line]:
    """The lines of a file, for readers of your own formats. All other readers use it.

    Args:
        path: the file.
        flaws: a line that is not text says so (`Line.flaw`), instead of being an error.

    Raises:
        DataError: the file is not text as described for `seqkit.readers`.
    """
    path = Path(path)
    with _open(path) as file:
        yield from numbered_stream(file, path, flaws=flaws)


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


def kept_lines(path: Path, *, skip_blank: bool, flaws: bool = False) -> Iterator[Line]:
    """The lines of a file, without those of nothing but white space if `skip_blank`, which are reported."""
    for line in numbered(path, flaws=flaws):
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
        file: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    except IsADirectoryError:
        fail(path, None, None, "is a folder, not a file")
    except FileNotFoundError:
        fail(path, None, None, "there is no such file")
    except OSError as error:
        fail(path, None, None, f"cannot be opened: {error.strerror}")
    with file:
        yield file


def _read_line(path: Path, file: IO[bytes], number: int, size: int | None = None) -> bytes:
    """The next line with its line end, or its first `size` bytes; nothing at the end of the file."""
    try:
        raw = file.readline(LONGEST_LINE + 1 if size is None else size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fail(path, number, None, f"damaged gzip: {str(error)[:1].lower()}{str(error)[1:]}")
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


def fail(path: Path, line: int | None, column: int | None, what: str, hint: str = "") -> NoReturn:
    """Raise a DataError about a place in a file."""
    where = ":".join(str(number) for number in (path, line, column) if number is not None)
    raise DataError(Problem(where, what, hint)) from None
