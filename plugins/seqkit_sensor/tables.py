"""Sequences of measurements in tables: a row a step, a row a sequence, or a row that names the file of a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, final

import numpy as np

from seqkit import DataError, Example, Problem, UsageError
from seqkit.readers import Record, TableFormat, records
from seqkit.reading import report_columns


@final
@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads tables of one of three layouts; the first line of a table names its columns.

    Attributes:
        sequence: the column that says which sequence a row belongs to: a row is a step (long).
        file: the column that names a table with the steps of a sequence: a row is a sequence in a file of its own.
        label: the column of the labels.
        group: the column of the groups by which sequences are divided; None: there is none.
        channels: the columns of the measurements; None: all others. If neither `sequence` nor `file` is given, a row is
            a sequence, and these columns are its numbers from left to right (wide).
        width: of a wide table, how many numbers are one step.
        layout: the format of the files.
    """

    sequence: str | None = None
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

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[tuple[Example, str]]:
        """The sequences of a table, (T, C) float64, each with its group.

        Raises:
            DataError: a column that is missing, or a cell that is not as it should be.
        """
        rows = records(path, layout=self.layout)
        header = next(rows, None)
        if header is None:
            _fail(path, None, "has no rows")
        columns = [name.strip() for name in header.fields]
        for name in (self.sequence, self.file, self.group, self.label if labelled else None):
            if name is not None and name not in columns:
                _fail(path, header.number, f"no column {name!r}; there are {', '.join(columns)}")
        checked = _checked(path, rows, columns)
        channels = self._channels(path, columns)
        self._report(path, columns, channels)
        if self.sequence is not None:
            yield from self._long(path, checked, columns, channels, labelled)
            return
        for row in checked:
            values = self._of_file(path, row, columns) if self.file else self._wide(path, row, columns, channels)
            yield self._example(values, row, columns, f"{path.name}:{row.number}", labelled)

    def _channels(self, path: Path, columns: list[str]) -> list[int]:
        """The positions of the columns of the measurements."""
        if self.file is not None:
            return []
        others = (self.sequence, self.label, self.group)
        names = self.channels or [name for name in columns if name not in others]
        if missing := [name for name in names if name not in columns]:
            _fail(path, 1, f"no column {missing[0]!r}; there are {', '.join(columns)}")
        if not names:
            _fail(path, 1, "no column has measurements")
        return [columns.index(name) for name in names]

    def _report(self, path: Path, columns: list[str], channels: Sequence[int]) -> None:
        names = {"sequence": self.sequence, "file": self.file, "label": self.label, "group": self.group}
        used: dict[str, str | int] = {side: name for side, name in names.items() if name in columns}
        used |= {f"channel {number}": columns[place] for number, place in enumerate(channels[:8], start=1)}
        places = {*channels, *(columns.index(name) for name in names.values() if name in columns)}
        unused = [name for place, name in enumerate(columns) if place not in places]
        report_columns(path.name, used, unused, header=True)

    def _example(
        self, values: np.ndarray, row: Record, columns: list[str], id: str, labelled: bool
    ) -> tuple[Example, str]:
        label = row.fields[columns.index(self.label)].strip() if labelled else None
        group = "" if self.group is None else row.fields[columns.index(self.group)]
        return Example(values, label, id), group

    def _long(
        self, path: Path, rows: Iterator[Record], columns: list[str], channels: list[int], labelled: bool
    ) -> Iterator[tuple[Example, str]]:
        """A row is a step; those of a sequence follow each other."""
        assert self.sequence is not None
        key = columns.index(self.sequence)
        kept = [columns.index(name) for name in (self.label if labelled else None, self.group) if name is not None]
        begun: dict[str, int] = {}
        first, steps = None, []
        for row in rows:
            name = row.fields[key]
            if first is not None and name != first.fields[key]:
                yield self._example(np.array(steps), first, columns, f"{path.name}:{first.number}", labelled)
                first, steps = None, []
            if first is None:
                if name in begun:
                    message = f"the sequence {name!r}, which began in line {begun[name]}, goes on after another one"
                    _fail(path, row.number, message, "sort the rows, so that those of a sequence follow each other")
                begun[name], first = row.number, row
            for place in kept:
                if row.fields[place] != first.fields[place]:
                    values = f"{row.fields[place]!r}, and line {first.number} {first.fields[place]!r}"
                    _fail(path, row.number, f"has the {columns[place]} {values}, in one sequence")
            steps.append([_number(path, row, place) for place in channels])
        if first is not None:
            yield self._example(np.array(steps), first, columns, f"{path.name}:{first.number}", labelled)

    def _wide(self, path: Path, row: Record, columns: list[str], channels: list[int]) -> np.ndarray:
        """A row is a sequence. Empty cells at its end are none of its steps."""
        while channels and not row.fields[channels[-1]].strip():
            channels = channels[:-1]
        if not channels or len(channels) % self.width:
            _fail(path, row.number, f"has {len(channels)} numbers, which are not steps of {self.width} (width)")
        return np.array([_number(path, row, place) for place in channels]).reshape(-1, self.width)

    def _of_file(self, path: Path, row: Record, columns: list[str]) -> np.ndarray:
        """The steps in the file that a row names, which lies beside the table or below its folder."""
        assert self.file is not None
        return steps_of_file(path.parent / row.fields[columns.index(self.file)], self.channels)


def steps_of_file(path: Path, channels: Sequence[str] | None = None) -> np.ndarray:
    """(T, C) numbers of a table whose rows are the steps of one sequence; a first line of names is passed over.

    Args:
        path: the file.
        channels: the columns wanted, by their names; None: all.

    Raises:
        DataError: a cell that is not a number, or rows of different lengths.
    """
    rows = list(records(path))
    places = list(range(len(rows[0].fields)))
    names = [name.strip() for name in rows[0].fields]
    if channels is not None:
        if missing := [name for name in channels if name not in names]:
            _fail(path, 1, f"no column {missing[0]!r}; there are {', '.join(names)}")
        places = [names.index(name) for name in channels]
    has_header = channels is not None or not any(_is_number(name) for name in names)
    checked = _checked(path, iter(rows[1:] if has_header else rows), names)
    steps = [[_number(path, row, place) for place in places] for row in checked]
    if not steps:
        _fail(path, None, "has no steps")
    return np.array(steps)


def _checked(path: Path, rows: Iterator[Record], columns: list[str]) -> Iterator[Record]:
    """The rows; DataError for one of another length."""
    for row in rows:
        if len(row.fields) != len(columns):
            _fail(path, row.number, f"has {len(row.fields)} columns, and the first line has {len(columns)}")
        yield row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(path: Path, row: Record, place: int) -> float:
    try:
        return float(row.fields[place])
    except ValueError:
        text = row.fields[place].strip()
        message = f"column {place + 1} {f'has {text!r}, which is not a number' if text else 'is empty'}"
        _fail(path, row.number, message)


def _fail(path: Path, number: int | None, message: str, hint: str = "") -> NoReturn:
    raise DataError(Problem(f"{path}" if number is None else f"{path}:{number}", message, hint))
