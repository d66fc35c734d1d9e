"""Files of series: tables with a series in each column or row, or in long form, and the .tsf of the Monash archive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np

from seqkit import DataError, MissingFile, Problem, readers
from seqkit.readers import Record
from seqkit_series.covariates import Step, rows_of
from seqkit_series.form import Form

SUFFIXES = (".csv", ".tsv", ".txt", ".tsf")
MISSING = frozenset({"", "?", "na", "nan", "null", "none"})
"""How files write a value that is missing."""

Named: TypeAlias = tuple[str, np.ndarray]
"""The id of a series, and its rows (T, C + K): values, and covariates if the form has any."""


def read_series(path: Path, form: Form) -> list[Named]:
    """The series of a file; of the layout `columns` they are one, whose channels are the columns.

    Raises:
        DataError: the file is missing, or a line of it cannot be read.
    """
    if not path.exists():
        raise MissingFile(path)
    if _suffix(path) == ".tsf":
        if form.covariates:
            _fail(path, None, "is a .tsf, of which no covariates are read", "write it as a table, layout: long")
        return list(_tsf(path))
    rows = list(readers.records(path, delimiter="\t" if _suffix(path) == ".tsv" else ","))
    if not rows:
        _fail(path, None, "is empty")
    readers_of = {"columns": _columns, "rows": _rows, "long": _long}
    return readers_of[form.layout](path, rows, form)


def _columns(path: Path, rows: Sequence[Record], form: Form) -> list[Named]:
    names = rows[0].fields if form.header else [str(number) for number in range(1, len(rows[0].fields) + 1)]
    time = None if form.time is None else _column(path, names, form.time)
    covariates = [_column(path, names, name) for name in (*form.known, *form.static)]
    kept = [number for number in range(len(names)) if number != time and number not in covariates]
    steps = []
    for row in rows[1:] if form.header else rows:
        if len(row.fields) != len(names):
            _fail(path, row.number, f"has {len(row.fields)} columns, but there are {len(names)} names")
        cells = [_number(path, row.number, names[number], row.fields[number]) for number in kept]
        steps.append(_step(path, row, names, cells, covariates, time))
    if not steps:
        _fail(path, None, "has a header and nothing else")
    return [(",".join(names[number] for number in kept), rows_of(path, steps, form))]


def _rows(path: Path, rows: Sequence[Record], form: Form) -> list[Named]:
    series = []
    for row in rows[1:] if form.header else rows:
        cells = list(row.fields[1:])
        while cells and not cells[-1].strip():  # rows of a table are as long as the longest of them
            cells.pop()
        if not cells:
            _fail(path, row.number, "has an id, and no value")
        numbers = [_number(path, row.number, f"column {number}", cell) for number, cell in enumerate(cells, 2)]
        series.append((row.fields[0], np.array(numbers)[:, None]))
    return series


def _long(path: Path, rows: Sequence[Record], form: Form) -> list[Named]:
    names = rows[0].fields
    id, value = _column(path, names, form.id), _column(path, names, form.value)
    time = None if form.time is None else _column(path, names, form.time)
    covariates = [_column(path, names, name) for name in (*form.known, *form.static)]
    by_id: dict[str, list[Step]] = {}
    latest: dict[str, str] = {}
    for row in rows[1:]:
        if len(row.fields) != len(names):
            _fail(path, row.number, f"has {len(row.fields)} columns, but there are {len(names)} names")
        name = row.fields[id]
        if time is not None:
            if row.fields[time] <= latest.get(name, ""):
                _fail(
                    path,
                    row.number,
                    f"time {row.fields[time]!r} is not after {latest[name]!r}",
                    "sort the rows by time",
                )
            latest[name] = row.fields[time]
        cells = [_number(path, row.number, form.value, row.fields[value])]
        by_id.setdefault(name, []).append(_step(path, row, names, cells, covariates, time))
    return [(name, rows_of(path, steps, form)) for name, steps in by_id.items()]


def _step(
    path: Path, row: Record, names: Sequence[str], values: list[float], covariates: Sequence[int], time: int | None
) -> Step:
    """A row of a table: its values, and the covariates in the columns of these numbers."""
    numbers = [_number(path, row.number, names[number], row.fields[number]) for number in covariates]
    return Step(row.number, values, numbers, "" if time is None else row.fields[time])


def _tsf(path: Path) -> Iterator[Named]:
    """Godahewa et al. 2021, the Monash archive: `@` lines describe, then each line is `name:start:v,v,...`."""
    attributes, is_data = 0, False
    for line in readers.numbered(path):
        text = line.text.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            attributes += text.lower().startswith("@attribute")
            is_data = is_data or text.lower() == "@data"
            continue
        if not is_data:
            _fail(path, line.number, "comes before @data, and is no line of @")
        parts = text.split(":")
        if len(parts) != attributes + 1:
            _fail(
                path, line.number, f"has {len(parts)} parts between colons, and {attributes} attributes are described"
            )
        values = [
            _number(path, line.number, f"value {number}", cell) for number, cell in enumerate(parts[-1].split(","), 1)
        ]
        yield parts[0], np.array(values)[:, None]


def _number(path: Path, line: int, column: str, cell: str) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    try:
        return float(text)
    except ValueError:
        _fail(path, line, f"{column}: {cell!r} is not a number", "name the column of times with `time`, if it is one")


def _column(path: Path, names: Sequence[str], name: str) -> int:
    if name not in names:
        _fail(path, 1, f"has no column {name!r}", f"its columns: {', '.join(names[:8])}")
    return list(names).index(name)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _fail(path: Path, line: int | None, what: str, hint: str | None = None) -> NoReturn:
    raise DataError(Problem(f"{path}:{line}" if line else str(path), what, hint or ""))
