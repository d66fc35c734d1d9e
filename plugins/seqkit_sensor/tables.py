"""Sequences of measurements in tables: a row a step, a row a sequence, or a row that names the file of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias, final

import numpy as np

from seqkit import DataError, Example, Flaw, NamedVectors, Problem, UsageError
from seqkit.readers import (
    Record,
    TableFormat,
    TableHeader,
    TimeOrder,
    cell_numbers,
    checked_rows,
    read_header,
    records,
    rows_of_sequences,
)
from seqkit.reading import report_changed, report_columns, report_remark

Steps: TypeAlias = np.ndarray | NamedVectors
"""(T, C) numbers, with the names of their channels where there are some."""

_SHOWN = 8
"""Channels that are listed one by one."""


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
                header.check_times(steps, order, time=str(self.time), sequence=str(self.sequence))
            return NamedVectors(cell_numbers(path, steps, channels, header.columns), names, header.where)

        for steps in rows_of_sequences(header, rows, self.sequence):
            _check_constant(header, steps, kept)
            yield self._example(_attempt(partial(read, steps), labelled), steps[0], header, labelled)
        if order is not None:
            order.report()

    def _report(self, header: TableHeader, channels: Sequence[int]) -> None:
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

    def _example(self, values: Steps | Flaw, row: Record, header: TableHeader, labelled: bool) -> tuple[Example, str]:
        """The example that begins in a row."""
        label = row.fields[header.columns.index(self.label)].strip() if labelled else None
        if label == "":
            _fail(header.path, row.number, f"column {self.label!r} is empty", "each sequence needs its label")
        group = "" if self.group is None else row.fields[header.columns.index(self.group)]
        return Example(values, label, f"{header.path.name}:{row.number}"), group

    def _wide(self, header: TableHeader, row: Record, channels: list[int]) -> np.ndarray:
        """A row is a sequence. Empty cells at its end are none of its steps."""
        path = header.path
        while channels and not row.fields[channels[-1]].strip():
            channels = channels[:-1]
        if not channels or len(channels) % self.width:
            _fail(path, row.number, f"has {len(channels)} numbers, which are not steps of {self.width} (width)")
        return cell_numbers(path, [row], channels, header.columns).reshape(-1, self.width)

    def _files(self, header: TableHeader, rows: Iterator[Record], labelled: bool) -> Iterator[tuple[Example, str]]:
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
    header = TableHeader(path, rows[0].number, [name.strip() for name in rows[0].fields])
    has_names = channels is not None or not any(_is_number(name) for name in header.columns)
    places = list(range(len(header.columns)))
    if has_names:
        header.check_names()
        places = header.channels(channels, but=())
    checked = list(checked_rows(path, iter(rows[1:] if has_names else rows), header.columns))
    steps = cell_numbers(path, checked, places, header.columns if has_names else ())
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


def _check_constant(header: TableHeader, steps: Sequence[Record], places: Sequence[int]) -> None:
    """Raises DataError if rows of one sequence differ in these columns."""
    first = steps[0]
    for row in steps:
        for place in places:
            if row.fields[place] != first.fields[place]:
                values = f"{row.fields[place]!r}, and line {first.number} {first.fields[place]!r}"
                _fail(header.path, row.number, f"has the {header.columns[place]} {values}, in one sequence")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fail(path: Path, number: int | None, message: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(f"{path}" if number is None else f"{path}:{number}", message, hint))
