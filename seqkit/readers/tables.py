"""Tables: columns separated by tabs, or by commas as RFC 4180 has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from seqkit.errors import DataError, UsageError
from seqkit.readers.cells import column_index, separator_hint
from seqkit.readers.line_reader import Line, fail, kept_lines, numbered, report_blank
from seqkit.readers.shards import over_shards
from seqkit.reading import report_columns
from seqkit.types import Example, Flaw

Column: TypeAlias = str | int
"""A column by its name in the header, or by its number, counted from 1."""


@over_shards
def tsv(
    path: Path | str,
    *,
    input: Column = 1,
    target: Column | None = 2,
    header: bool | None = None,
    skip_blank: bool = False,
    flaws: bool = False,
) -> Iterator[Example]:
    """Columns separated by tabs, one example a line. Quotation marks have no special meaning.

    Args:
        path: the file.
        input: the column of the inputs, by name or number (counted from 1).
        target: the column of the targets; None: there are none.
        header: True: the first line names the columns. None: it does if a column is given by name.
        skip_blank: leave out lines of nothing but white space.
        flaws: a line that cannot be read is an example with a `Flaw` for its input, instead of an error.

    Raises:
        DataError: a line with another number of columns than the first, or no such column.
        UsageError: a column number below 1, or a name with `header=False`.
    """
    path = Path(path)
    yield from examples_of(path, plain_rows(path, "\t", skip_blank, flaws), input, target, header, flaws)


@over_shards
def csv(
    path: Path | str,
    *,
    input: Column = 1,
    target: Column | None = 2,
    header: bool | None = None,
    delimiter: str = ",",
    skip_blank: bool = False,
    flaws: bool = False,
) -> Iterator[Example]:
    """Comma-separated values as RFC 4180 has them: a field in quotation marks may hold commas, line ends and `""`.

    Args:
        path: the file.
        input: the column of the inputs, by name or number (counted from 1).
        target: the column of the targets; None: there are none.
        header: True: the first record names the columns. None: it does if a column is given by name.
        delimiter: what separates fields, one character.
        skip_blank: leave out lines of nothing but white space between records.
        flaws: a record that cannot be read is an example with a `Flaw` for its input, instead of an error.

    Raises:
        DataError: a record with another number of fields than the first, no such column, a quotation mark that is not
            closed, or anything but a delimiter after a closing one.
        UsageError: a column number below 1, a name with `header=False`, or a delimiter that cannot be one.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(f"csv: {delimiter!r} cannot separate fields; a delimiter is one character")
    path = Path(path)
    yield from examples_of(path, quoted_rows(path, delimiter, skip_blank, flaws), input, target, header, flaws)


Row: TypeAlias = tuple[int, list[str], str]
"""The number of the line on which a row of a table starts, its fields, and what is wrong with it, if anything is."""


def plain_rows(
    path: Path, separator: str | None, skip_blank: bool, flaws: bool, encoding: str = "utf-8"
) -> Iterator[Row]:
    """The rows of a table without quotation; None separates fields by any run of spaces and tabs."""
    for line in kept_lines(path, skip_blank=skip_blank, flaws=flaws, encoding=encoding):
        text = line.text.strip(" \t") if separator is None else line.text
        yield line.number, re.split("[ \t]+", text) if separator is None else text.split(separator), line.flaw


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        number: of the line on which it starts, counted from 1.
        fields: its fields.
        column: where it starts on its line, if something stands before it there, as may be in JSON.
    """

    number: int
    fields: list[str]
    column: int | None = None


def examples_of(
    path: Path,
    rows: Iterable[Row],
    input: Column,
    target: Column | None,
    header: bool | None,
    flaws: bool,
) -> Iterator[Example]:
    """The examples in the rows of a table; a row is the number of its line, its fields, and what is wrong with it."""
    columns = [input] if target is None else [input, target]
    has_names = any(isinstance(column, str) for column in columns)
    for column in columns:
        if isinstance(column, int) and column < 1:
            raise UsageError(f"columns are counted from 1, so there is no column {column}")
    if has_names and header is False:
        raise UsageError("a column can be given by name only if the file has a header")
    positions: list[int] = []
    names: list[str] = []
    width, first_line, is_reported = 0, 0, False
    for number, fields, flaw in rows:
        if flaws and not flaw and not any(field.strip() for field in fields):
            flaw = "is empty"
        if flaw:
            yield Example(Flaw(flaw), None, f"{path.name}:{number}")
            continue
        if not positions:
            width, first_line = len(fields), number
            positions = [_position(path, number, column, fields) for column in columns]
            if has_names or header:
                names = fields
                continue
        if len(fields) != width:
            message = f"has {len(fields):,} columns, but line {first_line} has {width:,}"
            if not flaws:
                fail(path, number, None, message)
            yield Example(Flaw(message), None, f"{path.name}:{number}")
            continue
        if not is_reported:
            _report(path, positions, width, names, fields)
            is_reported = True
        target_value = None if target is None else fields[positions[1]]
        yield Example(fields[positions[0]], target_value, f"{path.name}:{number}")
    if not positions:
        fail(path, None, None, "has nothing but blank lines")


def _report(path: Path, positions: Sequence[int], width: int, names: Sequence[str], first: Sequence[str]) -> None:
    """Report the columns of a table. `names` are those of its header, empty without one; `first` is the first row."""
    columns: Sequence[Column] = names or range(1, width + 1)
    used = {side: columns[position] for side, position in zip(("input", "target"), positions, strict=False)}
    unused = [column for position, column in enumerate(columns) if position not in positions]
    report_columns(path.name, used, unused, header=bool(names), first=first)


def _position(path: Path, number: int, column: Column, fields: Sequence[str]) -> int:
    """The index of a column, given the fields of the first row; a name is looked for among them."""
    if isinstance(column, int):
        if column > len(fields):
            message = f"has {len(fields):,} columns, so there is no column {column}"
            fail(path, number, None, message, separator_hint(fields))
        return column - 1
    return column_index(path, number, fields, column)


def quoted_rows(path: Path, delimiter: str, skip_blank: bool, flaws: bool, encoding: str = "utf-8") -> Iterator[Row]:
    """The rows of a table in which a field in quotation marks may hold delimiters and line ends."""
    file_lines = numbered(path, flaws=flaws, encoding=encoding)
    for line in file_lines:
        if skip_blank and not line.text.strip():
            report_blank(path, line)
            continue
        if '"' not in line.text or line.flaw:
            yield line.number, line.text.split(delimiter), line.flaw
            continue
        try:
            yield line.number, _quoted_record(path, file_lines, line, delimiter), ""
        except DataError as error:
            if not flaws:
                raise
            yield line.number, [], error.problems[0].what


def _quoted_record(path: Path, file_lines: Iterator[Line], line: Line, delimiter: str) -> list[str]:
    """The fields of a record that has quotation marks. It takes further lines if a field continues there."""
    fields: list[str] = []
    start = 0
    while True:
        if not line.text.startswith('"', start):
            end = line.text.find(delimiter, start)
            field = line.text[start:] if end < 0 else line.text[start:end]
            if '"' in field:
                hint = 'put the field in quotation marks and write "" for one inside, or set `quoting: false`'
                fail(path, line.number, start + field.index('"') + 1, "a quotation mark inside a field", hint)
            end = len(line.text) if end < 0 else end
        else:
            field, line, end = _quoted_field(path, file_lines, line, start)
            if end < len(line.text) and line.text[end] != delimiter:
                message = f"{line.text[end]!r} after a closing quotation mark"
                hint = f"only {delimiter!r} or the end of the line can follow, unless `quoting: false`"
                fail(path, line.number, end + 1, message, hint)
        fields.append(field)
        if end >= len(line.text):
            return fields
        start = end + 1


def _quoted_field(path: Path, file_lines: Iterator[Line], line: Line, start: int) -> tuple[str, Line, int]:
    """The field that starts with a quotation mark, the line on which it ends, and the index after its closing mark."""
    first_line, column = line, start + 1
    texts: list[str] = []
    start += 1
    while True:
        end = line.text.find('"', start)
        if end >= 0:
            texts.append(line.text[start:end])
            if not line.text.startswith('"', end + 1):
                return "".join(texts), line, end + 1
            texts.append('"')
            start = end + 2
            continue
        texts.append(line.text[start:])
        next_line = next(file_lines, None)
        if next_line is None:
            fail(path, first_line.number, column, "a quotation mark that is never closed")
        texts.append("\n")
        line, start = next_line, 0
