"""Readers: from files of text to examples, one at a time, each with the place where a human finds it.

What all of them do:

* bytes are read as a stream; memory does not grow with the file, only with its longest line;
* text is UTF-8; a byte order mark at the start is skipped, nothing else is normalised;
* a line ends with LF, CR LF or the end of the file. Nothing else ends a line: not U+2028, U+0085, vertical tab, form
  feed, nor a CR inside of a line, all of which are kept as they are;
* `.gz` files are read as what is in them;
* whatever cannot be read for certain is a `DataError` that says `file:line:column`: an empty file, a byte that is no
  UTF-8, UTF-16, a NUL, a file whose lines end in CR alone, damaged gzip. Columns count characters from 1.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias

from seqkit import public_api
from seqkit.errors import DataError, Problem, UsageError, suggest
from seqkit.types import Example

__all__ = ["Line", "Piece", "csv", "jsonl", "lines", "numbered", "parallel", "pieces", "text", "tsv"]

Column: TypeAlias = str | int
"""A column by the name in the header, or by its number, counted from 1."""

LONGEST_LINE: Final = 1 << 28
"""Bytes. A longer line is refused: it is no line of text, or a bomb."""


class Line(NamedTuple):
    """A line without its end.

    Attributes:
        number: counted from 1.
        text: what it says.
        ended: False for a last line without a line end.
    """

    number: int
    text: str
    ended: bool


def numbered(path: Path | str) -> Iterator[Line]:
    """The lines of a file: what all other readers are made of. For readers of your own formats.

    Raises:
        DataError: as the head of this module says.
    """
    path = Path(path)
    number, empty = 0, True
    with _opened(path) as file:
        while raw := _next(path, file, number + 1):
            number += 1
            if number == 1:
                raw = _without_mark(path, raw)
                if not raw:
                    break
            empty = False
            ended = raw.endswith(b"\n")
            body = raw[:-1] if ended else raw
            if body.endswith(b"\r"):
                body = body[:-1]
            if number == 1 and not ended and b"\r" in body:
                column = _width(body[: body.index(b"\r")]) + 1
                hint = "convert them, e.g. with: tr '\\r' '\\n'"
                _fail(path, number, column, "lines end in CR alone, as on a Macintosh before 2001", hint)
            yield Line(number, _decoded(path, number, body), ended)
    if empty:
        _fail(path, None, None, "is empty")


class Piece(NamedTuple):
    """Some bytes of a line, its end among them if it is the last piece.

    Attributes:
        number: of the line, counted from 1.
        raw: the bytes.
        begins: True for the first piece of a line.
    """

    number: int
    raw: bytes
    begins: bool


def pieces(path: Path | str, size: int = 1 << 20) -> Iterator[Piece]:
    """The lines of a file as bytes, those longer than `size` in pieces. For formats whose lines have no longest one.

    What the bytes mean is for the caller to check. A CR LF is never torn apart.

    Raises:
        DataError: the file is empty, UTF-16, or damaged gzip.
    """
    path = Path(path)
    number, begins, empty = 1, True, True
    with _opened(path) as file:
        while raw := _next(path, file, number, size):
            if raw.endswith(b"\r"):
                raw += _next(path, file, number, 1)
            if empty:
                raw = _without_mark(path, raw)
                if not raw:
                    break
            empty = False
            yield Piece(number, raw, begins)
            begins = raw.endswith(b"\n")
            number += begins
    if empty:
        _fail(path, None, None, "is empty")


def lines(path: Path | str, *, skip_blank: bool = False) -> Iterator[Example]:
    """One example a line, without a target.

    Args:
        path: the file.
        skip_blank: leave out lines of nothing but white space. Otherwise they are examples like the others.
    """
    name = Path(path).name
    for line in numbered(path):
        if not (skip_blank and not line.text.strip()):
            yield Example(line.text, None, f"{name}:{line.number}")


def parallel(inputs: Path | str, targets: Path | str) -> Iterator[Example]:
    """Line n of one file is the input, line n of the other its target.

    Raises:
        DataError: the files have different numbers of lines.
    """
    inputs, targets = Path(inputs), Path(targets)
    for left, right in itertools.zip_longest(numbered(inputs), numbered(targets)):
        if left is None or right is None:
            rest = sum(1 for _ in numbered(inputs if right is None else targets))
            short, long = (targets, inputs) if right is None else (inputs, targets)
            less = (left or right).number - 1
            what = f"has {less:,} lines, but {long} has {rest:,}"
            raise DataError(Problem(str(short), what, "line n of one belongs to line n of the other"))
        yield Example(left.text, right.text, f"{inputs.name}:{left.number}")


def tsv(
    path: Path | str,
    *,
    input: Column = 1,
    target: Column | None = 2,
    header: bool | None = None,
    skip_blank: bool = False,
) -> Iterator[Example]:
    """Columns separated by tabs, one example a line. A quotation mark is a character like any other.

    Args:
        path: the file.
        input: the column of the inputs, by name or number (counted from 1).
        target: the column of the targets; None: there are none.
        header: True: the first line names the columns. None: it does if a column is given by name.
        skip_blank: leave out lines of nothing but white space.

    Raises:
        DataError: a line with another number of columns than the first, or no such column.
        UsageError: a column number below 1, or a name with `header=False`.
    """
    path = Path(path)
    rows = ((line.number, line.text.split("\t")) for line in _kept(path, skip_blank))
    yield from _table(path, rows, input, target, header)


def csv(
    path: Path | str,
    *,
    input: Column = 1,
    target: Column | None = 2,
    header: bool | None = None,
    delimiter: str = ",",
    skip_blank: bool = False,
) -> Iterator[Example]:
    """Comma-separated values as RFC 4180 has them: a field in quotation marks may hold commas, line ends and `""`.

    Args:
        path: the file.
        input: the column of the inputs, by name or number (counted from 1).
        target: the column of the targets; None: there are none.
        header: True: the first record names the columns. None: it does if a column is given by name.
        delimiter: what separates fields, one character.
        skip_blank: leave out lines of nothing but white space between records.

    Raises:
        DataError: a record with another number of fields than the first, no such column, a quotation mark that is not
            closed, or anything but a comma after a closing one.
        UsageError: a column number below 1, a name with `header=False`, or a delimiter that is none.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"csv: {delimiter!r} cannot separate fields; a delimiter is one character")
    path = Path(path)
    yield from _table(path, _records(path, delimiter, skip_blank), input, target, header)


def jsonl(
    path: Path | str, *, input: str = "text", target: str | None = "label", skip_blank: bool = False
) -> Iterator[Example]:
    """One JSON object a line. Values are given as JSON has them: text, numbers, lists.

    Args:
        path: the file.
        input: the key of the input.
        target: the key of the target; None: there is none.
        skip_blank: leave out lines of nothing but white space.

    Raises:
        DataError: a line that is no JSON object or lacks a key; a key given twice, NaN, infinity, or half of a
            surrogate pair, none of which is JSON that two programs read alike.
    """
    path = Path(path)
    for line in _kept(path, skip_blank):
        found = _object(path, line)
        for key in (input, *((target,) if target is not None else ())):
            if key not in found:
                _fail(path, line.number, None, f"has no key '{key}'", suggest(key, found) or _listed("keys", found))
        yield Example(found[input], None if target is None else found[target], f"{path.name}:{line.number}")


def text(path: Path | str, *, piece: int | None = None) -> Iterator[Example]:
    """A whole file as one text, or cut into pieces. Line ends are part of it, as LF.

    Args:
        path: the file.
        piece: characters of a piece (the last one may be shorter); None: the whole file is one example. With it memory
            does not grow with the file.
    """
    if piece is not None and piece < 1:
        raise UsageError(f"text: a piece has at least 1 character, not {piece}")
    name = Path(path).name
    held: list[str] = []
    size, first = 0, 1
    for line in numbered(path):
        held.append(line.text + "\n" if line.ended else line.text)
        size += len(held[-1])
        if piece is None or size < piece:
            continue
        whole = "".join(held)
        for at in range(0, size - piece + 1, piece):
            yield Example(whole[at : at + piece], None, f"{name}:{line.number if at else first}")
        held, size = [whole[size - size % piece :]], size % piece
        first = line.number if size else line.number + 1
    if size:
        yield Example("".join(held), None, f"{name}:{first}")


def _table(
    path: Path, rows: Iterable[tuple[int, list[str]]], input: Column, target: Column | None, header: bool | None
) -> Iterator[Example]:
    wanted = [input] if target is None else [input, target]
    named = any(isinstance(column, str) for column in wanted)
    for column in wanted:
        if isinstance(column, int) and column < 1:
            raise UsageError(f"columns are counted from 1, so there is no column {column}")
    if named and header is False:
        raise UsageError("a column can be given by name only if the file has a header")
    places: list[int] = []
    width, first = 0, 0
    for number, fields in rows:
        if not places:
            width, first = len(fields), number
            places = [_place(path, number, column, fields, named or bool(header)) for column in wanted]
            if named or header:
                continue
        if len(fields) != width:
            what = f"has {len(fields):,} columns, but line {first} has {width:,}"
            _fail(path, number, None, what)
        yield Example(fields[places[0]], None if target is None else fields[places[1]], f"{path.name}:{number}")
    if not places:
        _fail(path, None, None, "has nothing but blank lines")


def _place(path: Path, number: int, column: Column, fields: Sequence[str], header: bool) -> int:
    """Where a column stands, from 0."""
    if isinstance(column, int):
        if column > len(fields):
            _fail(path, number, None, f"has {len(fields):,} columns, so there is no column {column}")
        return column - 1
    if fields.count(column) > 1:
        _fail(path, number, None, f"the header has the column '{column}' twice")
    if column not in fields:
        _fail(path, number, None, f"no column '{column}'", suggest(column, fields) or _listed("columns", fields))
    return fields.index(column)


def _records(path: Path, delimiter: str, skip_blank: bool) -> Iterator[tuple[int, list[str]]]:
    """The number of the line on which each record starts, and its fields."""
    source = numbered(path)
    for line in source:
        if skip_blank and not line.text.strip():
            continue
        if '"' not in line.text:
            yield line.number, line.text.split(delimiter)
        else:
            yield line.number, _quoted(path, source, line, delimiter)


def _quoted(path: Path, source: Iterator[Line], line: Line, delimiter: str) -> list[str]:
    """The fields of a record that has quotation marks; takes more lines from the source if a field goes on there."""
    fields: list[str] = []
    at = 0
    while True:
        if not line.text.startswith('"', at):
            end = line.text.find(delimiter, at)
            field = line.text[at:] if end < 0 else line.text[at:end]
            if '"' in field:
                hint = 'put the field in quotation marks and write "" for one inside'
                _fail(path, line.number, at + field.index('"') + 1, "a quotation mark inside a field", hint)
            at = len(line.text) if end < 0 else end
        else:
            field, line, at = _quotation(path, source, line, at)
            if at < len(line.text) and line.text[at] != delimiter:
                what = f"{line.text[at]!r} after a closing quotation mark"
                _fail(path, line.number, at + 1, what, f"only {delimiter!r} or the end of the line can follow")
        fields.append(field)
        if at >= len(line.text):
            return fields
        at += 1


def _quotation(path: Path, source: Iterator[Line], line: Line, at: int) -> tuple[str, Line, int]:
    """The field that starts at a quotation mark, the line on which it ends, and the place after its closing mark."""
    opened, column = line, at + 1
    parts: list[str] = []
    at += 1
    while True:
        end = line.text.find('"', at)
        if end >= 0:
            parts.append(line.text[at:end])
            if not line.text.startswith('"', end + 1):
                return "".join(parts), line, end + 1
            parts.append('"')
            at = end + 2
            continue
        parts.append(line.text[at:])
        following = next(source, None)
        if following is None:
            _fail(path, opened.number, column, "a quotation mark that is never closed")
        parts.append("\n")
        line, at = following, 0


def _object(path: Path, line: Line) -> dict[str, Any]:
    """The JSON object of a line."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise _Refused(f"the key '{next(key for key in keys if keys.count(key) > 1)}' is given twice")
        return found

    def constant(name: str) -> NoReturn:
        raise _Refused(f"{name} is not JSON")

    try:
        found = json.loads(line.text, object_pairs_hook=unique, parse_constant=constant, parse_float=_number)
        if "\\u" in line.text:
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except _Refused as error:
        _fail(path, line.number, None, str(error))
    except json.JSONDecodeError as error:
        _fail(path, line.number, error.colno, f"is not JSON: {error.msg}")
    except UnicodeEncodeError:
        _fail(path, line.number, None, "has half of a surrogate pair (\\ud800 to \\udfff), which is no character")
    except RecursionError:
        _fail(path, line.number, None, "is nested too deeply")
    except ValueError:
        _fail(path, line.number, None, "has a number with too many digits")
    if not isinstance(found, dict):
        _fail(path, line.number, 1, f"is JSON, but a {type(found).__name__} and not an object")
    return found


class _Refused(Exception):
    """JSON that is well formed, more or less, but not to be trusted."""


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"{digits} is too large for a number")
    return value


def _kept(path: Path, skip_blank: bool) -> Iterator[Line]:
    return (line for line in numbered(path) if not (skip_blank and not line.text.strip()))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    except IsADirectoryError:
        _fail(path, None, None, "is a folder, not a file")
    except FileNotFoundError:
        _fail(path, None, None, "there is no such file")
    except OSError as error:
        _fail(path, None, None, f"cannot be opened: {error.strerror}")
    with file:
        yield file


def _next(path: Path, file: IO[bytes], number: int, most: int = LONGEST_LINE + 1) -> bytes:
    try:
        raw = file.readline(most)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _fail(path, number, None, f"damaged gzip: {str(error)[:1].lower()}{str(error)[1:]}")
    except OSError as error:
        _fail(path, number, None, f"cannot be read: {error.strerror or error}")
    if len(raw) > LONGEST_LINE:
        _fail(path, number, None, f"a line of more than {LONGEST_LINE:,} bytes")
    return raw


def _without_mark(path: Path, raw: bytes) -> bytes:
    """The first line without a byte order mark; UTF-16 and UTF-32 are refused by theirs."""
    for mark, name in (
        (b"\xff\xfe\0\0", "UTF-32"),
        (b"\0\0\xfe\xff", "UTF-32"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
    ):
        if raw.startswith(mark):
            _fail(path, 1, 1, f"is {name}, not UTF-8", f"convert it with: iconv -f {name.lower()} -t utf-8")
    return raw.removeprefix(b"\xef\xbb\xbf")


def _decoded(path: Path, number: int, body: bytes) -> str:
    if b"\0" in body:
        column = _width(body[: body.index(b"\0")]) + 1
        _fail(path, number, column, "has a NUL character", "is it UTF-16, or no text at all?")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        column = _width(body[: error.start]) + 1
        hint = "if it is another encoding, convert it, e.g. with: iconv -f latin1 -t utf-8"
        _fail(path, number, column, f"byte 0x{body[error.start]:02x} is not UTF-8", hint)


def _width(prefix: bytes) -> int:
    return len(prefix.decode("utf-8", "replace"))


def _listed(what: str, names: Iterable[str]) -> str:
    return f"the {what} are: {', '.join(itertools.islice(names, 20))}"


def _fail(path: Path, line: int | None, column: int | None, what: str, hint: str = "") -> NoReturn:
    where = ":".join(str(part) for part in (path, line, column) if part is not None)
    raise DataError(Problem(where, what, hint)) from None


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return public_api.deprecated_attribute(__name__, name)
