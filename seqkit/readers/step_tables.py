"""Tables with a step of a sequence in each row: their header, the rows of each sequence, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from seqkit.readers.cells import cell_number, column_index, separator_hint
from seqkit.readers.formats import TableFormat, records
from seqkit.readers.line_reader import fail
from seqkit.readers.tables import Record
from seqkit.readers.time_order import TimeOrder


@final
@dataclass(frozen=True)
class TableHeader:
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

    def check_names(self) -> None:
        """Raises DataError if two columns have one name."""
        twice = next((name for name in self.columns if self.columns.count(name) > 1), None)
        if twice is not None:
            fail(
                self.path,
                self.number,
                None,
                f"the header has the column {twice!r} twice",
                "give each a name of its own",
            )

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
            fail(self.path, self.number, None, "no column has measurements", separator_hint(self.columns))
        return self.positions(*names)

    def check_times(self, rows: Sequence[Record], order: TimeOrder, *, time: str, sequence: str) -> None:
        """Raises DataError if the times of a sequence do not rise.

        Args:
            rows: of the sequence.
            order: of the times of the whole table.
            time: the column of times.
            sequence: the column that says which sequence a row belongs to.
        """
        time_place, sequence_place = self.columns.index(time), self.columns.index(sequence)
        for row in rows:
            order.add(row.number, row.fields[time_place], row.fields[sequence_place])

    def unused(self, used: Sequence[int]) -> list[str]:
        """The columns at other positions than these."""
        return [name for place, name in enumerate(self.columns) if place not in used]


def read_header(path: Path, layout: TableFormat) -> tuple[TableHeader, Iterator[Record]]:
    """The header of a table, and its rows, which are checked to be as long.

    Raises:
        DataError: there is no row, or two columns have one name.
    """
    rows = records(path, layout=layout)
    first = next(rows, None)
    if first is None:
        fail(path, None, None, "has no rows")
    header = TableHeader(path, first.number, [name.strip() for name in first.fields])
    header.check_names()
    return header, checked_rows(path, rows, header.columns)


def rows_of_sequences(
    header: TableHeader, rows: Iterator[Record], column: str, *, kind: str = "sequence"
) -> Iterator[list[Record]]:
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
                fail(header.path, row.number, None, message, hint)
            begun[name] = row.number
        steps.append(row)
    if steps:
        yield steps


def cell_numbers(path: Path, rows: Sequence[Record], places: Sequence[int], names: Sequence[str] = ()) -> np.ndarray:
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


def checked_rows(path: Path, rows: Iterator[Record], columns: Sequence[str]) -> Iterator[Record]:
    """The rows below a header.

    Raises:
        DataError: one has another length than the header, or there is none.
    """
    is_empty = True
    for row in rows:
        is_empty = False
        if len(row.fields) != len(columns):
            fail(path, row.number, None, f"has {len(row.fields)} columns, and the first line has {len(columns)}")
        yield row
    if is_empty:
        fail(path, None, None, "has a header and nothing else")
