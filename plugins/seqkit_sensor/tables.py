"""Sequences of measurements in tables: a row a step, a row a sequence, or a row that names the file of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias, final

import numpy as np

from seqkit import DataError, Example, Flaw, NamedVectors, Problem, UsageError
from seqkit.readers import Record, TableFormat, TimeOrder, cell_number, column_index, records, separator_hint
from seqkit.reading import report_changed, report_columns, report_remark

Steps: TypeAlias = np.ndarray | NamedVectors
"""(T, C) numbers, with the names of their channels where there are some."""

_SHOWN = 8
"""Channels that are listed one by one."""
_ONLY_HEADER = "has a header and nothing else"


@final
@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads tables of one of three layouts; the first line of a table names its columns.

    Attributes:
        sequence: the column that says which sequence a row belongs to: a row is a step (long).
        time: of a long table, the column of times, which must rise within a sequence; None: rows are in order of time.
        file: the column that names a table with the steps of a sequence: a row is a sequence in a file of its own.
        label: the column of the labels.
        group: the column of the groups by which sequences are divided; None: there is none.
        channels: the columns of the measurements; None: all others. If neither `sequence` nor `file` is given, a row is
            a sequence, and these columns are its numbers from left to right (wide).
        width: of a wide table, how many numbers are one step.
        layout: the format of the files.
    """

    sequence: str | None = None
    time: str | None = None
    file: str | None = None
    label: str = "label"
    group: str | None = None
    channels: tuple[str, ...] | None = None
    width: int = 1
    layout: TableFormat = field(default_factory=TableFormat)

    def __post_init__(self) -> None:
        if self.sequence is not None and self.file is not None:
            raise UsageError(
                "sequence: a row is a step of a sequence, and with `file` a whole one; give one of the two"
            )
        if self.time is not None and self.sequence is None:
            raise UsageError("time: is a column of a table with a step in each row; name `sequence`, too")

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[tuple[Example, str]]:
        """The sequences of a table, each with its group: (T, C) float64, with names but where a row is a sequence.

        Without `labelled`, a sequence whose numbers cannot be read is a `Flaw`.

        Raises:
            DataError: a column that is missing, or a cell that is not as it should be.
        """
        if self.file is not None and not labelled and not self._names_files(path):
            yield Example(steps_of_file(path, self.channels, self.layout), None, path.name), ""
            return
        header, rows = read_header(path, self.layout)
        header.check(self.sequence, self.time, self.file, self.group, self.label if labelled else None)
        if self.file is not None:
            yield from self._files(header, rows, labelled)
            return
        channels = header.channels(self.channels, but=(self.sequence, self.time, self.label, self.group))
        self._report(header, channels)
        if self.sequence is None:
            for row in rows:
                values = _attempt(partial(self._wide, header, row, channels), labelled)
                yield self._example(values, row, header, labelled)
            return
        kept = header.positions(self.label if labelled else None, self.group)
        names = tuple(header.columns[place] for place in channels)
        order = None if self.time is None else TimeOrder(path, self.time)

        def read(steps: list[Record]) -> NamedVectors:
            if order is not None:
                self._check_times(header, steps, order)
            return NamedVectors(numbers(path, steps, channels, header.columns), names, header.where)

        for steps in sequences(header, rows, self.sequence):
            _check_constant(header, steps, kept)
            yield self._example(_attempt(partial(read, steps), labelled), steps[0], header, labelled)
        if order is not None:
            order.report()

    def _check_times(self, header: Header, steps: Sequence[Record], order: TimeOrder) -> None:
        """Raises DataError if the times of a sequence do not rise."""
        sequence, time = header.positions(self.sequence, self.time)
        for row in steps:
            order.add(row.number, row.fields[time], row.fields[sequence])

    def _report(self, header: Header, channels: Sequence[int]) -> None:
        """Report the columns of a table; of a wide one, those of the first step are the channels."""
        path, columns = header.path, header.columns
        names = {"sequence": self.sequence, "time": self.time, "label": self.label, "group": self.group}
        used: dict[str, str | int] = {side: name for side, name in names.items() if name in columns}
        if self.sequence is None:
            step = f"of {self.width} numbers" if self.width > 1 else "of a number"
            count = len(channels) // self.width
            report_remark(f"{path.name}: its {len(channels):,} columns of numbers are up to {count:,} steps {step}")
        first = channels if self.sequence is not None else channels[: self.width]
        used |= _channels_in_words([columns[place] for place in first])
        report_columns(path.name, used, header.unused([*channels, *header.positions(*names.values())]), header=True)

    def _example(self, values: Steps | Flaw, row: Record, header: Header, labelled: bool) -> tuple[Example, str]:
        """The example that begins in a row."""
        label = row.fields[header.columns.index(self.label)].strip() if labelled else None
        if label == "":
            _fail(header.path, row.number, f"column {self.label!r} is empty", "each sequence needs its label")
        group = "" if self.group is None else row.fields[header.columns.index(self.group)]
        return Example(values, label, f"{header.path.name}:{row.number}"), group

    def _wide(self, header: Header, row: Record, channels: list[int]) -> np.ndarray:
        """A row is a sequence. Empty cells at its end are none of its steps."""
        path = header.path
        while channels and not row.fields[channels[-1]].strip():
            channels = channels[:-1]
        if not channels or len(channels) % self.width:
            _fail(path, row.number, f"has {len(channels)} numbers, which are not steps of {self.width} (width)")
        return numbers(path, [row], channels, header.columns).reshape(-1, self.width)

    def _files(self, header: Header, rows: Iterator[Record], labelled: bool) -> Iterator[tuple[Example, str]]:
        """A row names the file of a sequence, which lies beside the table or below its folder."""
        assert self.file is not None
        path = header.path
        names = {"file": self.file, "label": self.label, "group": self.group}
        used: dict[str, str | int] = {side: name for side, name in names.items() if name in header.columns}
        report_columns(path.name, used, header.unused(header.positions(*names.values())), header=True)
        first: NamedVectors | None = None
        for row in rows:
            name = row.fields[header.columns.index(self.file)]
            values = _attempt(partial(steps_of_file, path.parent / name, self.channels, self.layout), labelled)
            if isinstance(values, NamedVectors):
                if first is None:
                    first = values
                    shown = ", ".join(str(name) for name in _channels_in_words(first.names).values())
                    report_remark(f"channels, by the headers of the files that {path.name} names: {shown}")
                if first.names != values.names and set(first.names) == set(values.names):
                    report_changed("file whose columns are in another order, which are matched by name", name)
            yield self._example(values, row, header, labelled)

    def _names_files(self, path: Path) -> bool:
        """Whether a file is a table with the names of files, and not one of these files."""
        first = next(records(path, layout=self.layout), None)
        return first is not None and self.file in [name.strip() for name in first.fields]


@final
@dataclass(frozen=True)
class Header:
    """The first line of a table.

    Attributes:
        path: the table.
        number: of the line.
        columns: their names.
    """

    path: Path
    number: int
    columns: list[str]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    def check(self, *names: str | None) -> None:
        """Raises DataError if one of these columns is not there."""
        for name in names:
            if name is not None:
                column_index(self.path, self.number, self.columns, name)

    def positions(self, *names: str | None) -> list[int]:
        """Those of the columns that have a name, and are there."""
        return [self.columns.index(name) for name in names if name in self.columns]

    def channels(self, names: Sequence[str] | None, *, but: Sequence[str | None]) -> list[int]:
        """The positions of the columns of the measurements: those with these names, or all but some.

        Raises:
            DataError: one is not there, or there is none.
        """
        names = names or [name for name in self.columns if name not in but]
        self.check(*names)
        if not names:
            _fail(self.path, self.number, "no column has measurements", separator_hint(self.columns))
        return self.positions(*names)

    def unused(self, used: Sequence[int]) -> list[str]:
        """The columns at other positions than these."""
        return [name for place, name in enumerate(self.columns) if place not in used]


def read_header(path: Path, layout: TableFormat) -> tuple[Header, Iterator[Record]]:
    """The header of a table, and its rows, which are checked to be as long.

    Raises:
        DataError: there is no row, or two columns have one name.
    """
    rows = records(path, layout=layout)
    first = next(rows, None)
    if first is None:
        _fail(path, None, "has no rows")
    header = Header(path, first.number, [name.strip() for name in first.fields])
    _check_names(header)
    return header, _checked(path, rows, header.columns, empty=_ONLY_HEADER)


def sequences(header: Header, rows: Iterator[Record], column: str, *, kind: str = "sequence") -> Iterator[list[Record]]:
    """The rows of each sequence of a long table, which follow each other.

    Args:
        header: of the table.
        rows: its rows.
        column: the one that says which sequence a row belongs to.
        kind: what messages call a sequence.

    Raises:
        DataError: a sequence goes on after another one.
    """
    place = header.columns.index(column)
    begun: dict[str, int] = {}
    steps: list[Record] = []
    for row in rows:
        name = row.fields[place]
        if steps and name != steps[0].fields[place]:
            yield steps
            steps = []
        if not steps:
            if name in begun:
                message = f"the {kind} {name!r}, which began in line {begun[name]}, goes on after another one"
                hint = f"sort the rows, so that those of a {kind} follow each other"
                _fail(header.path, row.number, message, hint)
            begun[name] = row.number
        steps.append(row)
    if steps:
        yield steps


def numbers(path: Path, rows: Sequence[Record], places: Sequence[int], names: Sequence[str] = ()) -> np.ndarray:
    """(T, C) the numbers of rows in columns with these positions, and names, if they have any.

    Raises:
        DataError: a cell has no number, or not a finite one.
    """
    shown = {place: f"column {names[place]!r}" if names else f"column {place + 1}" for place in places}
    hint = "fill it in, or leave the sequence out"
    return np.array(
        [
            [cell_number(path, row.number, shown[place], row.fields[place], missing_hint=hint) for place in places]
            for row in rows
        ]
    )


def steps_of_file(path: Path, channels: Sequence[str] | None = None, layout: TableFormat | None = None) -> Steps:
    """(T, C) numbers of a table whose rows are the steps of one sequence, with names if its first line has some.

    Args:
        path: the file.
        channels: the columns wanted, by their names; None: all.
        layout: of the file. What it says of the format is for names that do not say it.

    Raises:
        DataError: a cell that is not a number, or rows of different lengths.
    """
    layout = layout or TableFormat()
    layout = layout if TableFormat().of_name(path.name) is None else replace(layout, format=None)
    rows = list(records(path, layout=layout))
    header = Header(path, rows[0].number, [name.strip() for name in rows[0].fields])
    has_names = channels is not None or not any(_is_number(name) for name in header.columns)
    places = list(range(len(header.columns)))
    if has_names:
        _check_names(header)
        places = header.channels(channels, but=())
    checked = list(_checked(path, iter(rows[1:] if has_names else rows), header.columns, empty=_ONLY_HEADER))
    steps = numbers(path, checked, places, header.columns if has_names else ())
    return NamedVectors(steps, tuple(header.columns[place] for place in places), header.where) if has_names else steps


def _attempt(read: Callable[[], Steps], labelled: bool) -> Steps | Flaw:
    """What `read` gives; without `labelled` a `Flaw`, if it cannot be read."""
    try:
        return read()
    except DataError as error:
        if labelled:
            raise
        return Flaw(str(error))


def _channels_in_words(names: Sequence[str]) -> dict[str, str]:
    """By what they are called in reports, the names of channels; of many, those after the first few are one entry."""
    shown = {f"channel {number}": name for number, name in enumerate(names[:_SHOWN], start=1)}
    if len(names) > _SHOWN:
        shown[f"channels {_SHOWN + 1} to {len(names)}"] = f"{names[_SHOWN]} to {names[-1]}"
    return shown


def _check_names(header: Header) -> None:
    """Raises DataError if two columns have one name."""
    twice = next((name for name in header.columns if header.columns.count(name) > 1), None)
    if twice is not None:
        _fail(header.path, header.number, f"the header has the column {twice!r} twice", "give each a name of its own")


def _check_constant(header: Header, steps: Sequence[Record], places: Sequence[int]) -> None:
    """Raises DataError if rows of one sequence differ in these columns."""
    first = steps[0]
    for row in steps:
        for place in places:
            if row.fields[place] != first.fields[place]:
                values = f"{row.fields[place]!r}, and line {first.number} {first.fields[place]!r}"
                _fail(header.path, row.number, f"has the {header.columns[place]} {values}, in one sequence")


def _checked(path: Path, rows: Iterator[Record], columns: list[str], *, empty: str) -> Iterator[Record]:
    """The rows; DataError for one of another length, and if there is none, which `empty` says."""
    is_empty = True
    for row in rows:
        is_empty = False
        if len(row.fields) != len(columns):
            _fail(path, row.number, f"has {len(row.fields)} columns, and the first line has {len(columns)}")
        yield row
    if is_empty:
        _fail(path, None, empty)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fail(path: Path, number: int | None, message: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(f"{path}" if number is None else f"{path}:{number}", message, hint))
