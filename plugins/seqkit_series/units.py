"""The user's own machines: tables with a row for each step of each unit, until it fails or is stopped."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from seqkit import DataError, Example, Flaw, MissingFile, NamedVectors, Problem, UsageError
from seqkit.readers import (
    FileNames,
    Record,
    ShareSplit,
    SplitFiles,
    TableFormat,
    TableHeader,
    TimeOrder,
    cell_numbers,
    is_remote,
    read_header,
    rows_of_sequences,
)
from seqkit.reading import report_columns, report_remark, report_split_rule

SUFFIXES: Final = (".csv", ".tsv", ".jsonl", ".json")
CUTS: Final = 5
"""How often a unit that ran until it failed is cut for dev and test, so that its end is unknown there."""
_EARLIEST: Final = 30
"""The fewest steps that are left of a unit when it is cut, or half of it, if that is less."""
_REMAINING_HINT: Final = "`remaining` names the one with the true remaining life"


@final
@dataclass(frozen=True, kw_only=True)
class UnitReader:
    """Reads tables of units, whose rows are in order of time.

    Attributes:
        unit: the column that says which unit a row belongs to.
        time: the column of times, which must rise within a unit; None: rows are in order of time.
        remaining: the column with how many steps are left; None: units run until they fail.
        channels: the columns of the sensors; None: all others.
        cap: the most steps that count as left.
        layout: the format of the files.
    """

    unit: str
    time: str | None
    remaining: str | None
    channels: tuple[str, ...] | None
    cap: int
    layout: TableFormat = field(default_factory=TableFormat)

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[tuple[Example, str]]:
        """The units of a table, each with its name. The target is the life that remains after each step, (T,) float64.

        Where units are cut, these are not: see `cut`. Without `labelled`, a unit that cannot be read is a `Flaw`, and
        ids are the names of the units, not where they begin.

        Raises:
            DataError: a column that is missing, or a cell that is not as it should be.
        """
        _check_file(path)
        header, rows = read_header(path, self.layout)
        header.check(self.unit, self.time)
        channels = header.channels(self.channels, but=(self.unit, self.time, self.remaining))
        self._report(header, channels)
        names = tuple(header.columns[place] for place in channels)
        place = header.columns.index(self.unit)
        order = None if self.time is None else TimeOrder(path, self.time)
        for steps in rows_of_sequences(header, rows, self.unit, kind="unit"):
            name = steps[0].fields[place]
            id = f"{path.name}:{steps[0].number}" if labelled or not name.strip() else name
            try:
                if order is not None:
                    header.check_times(steps, order, time=str(self.time), sequence=self.unit)
                values = NamedVectors(cell_numbers(path, steps, channels, header.columns), names, header.where)
                life = self._life(header, steps) if labelled else None
            except DataError as error:
                if labelled:
                    raise
                yield Example(Flaw(str(error)), None, id), ""
                continue
            yield Example(values, life, id), name
        if order is not None:
            order.report()

    def tells(self, path: Path) -> bool:
        """Whether a table has the column `remaining`."""
        _check_file(path)
        return self.remaining is not None and self.remaining in read_header(path, self.layout)[0].columns

    def _life(self, header: TableHeader, steps: list[Record]) -> np.ndarray:
        """(T,) how many steps remain after each; the last row says what remains after that."""
        left = 0.0
        for place in header.positions(self.remaining):
            last = steps[-1]
            left = float(cell_numbers(header.path, [last], [place], header.columns)[0, 0])
            if not 0.0 <= left < np.inf:
                where = f"{header.path}:{last.number}"
                raise DataError(Problem(where, f"{self.remaining} is {left:g}, and should be 0 or more"))
        return np.asarray(np.minimum(float(self.cap), left + np.arange(len(steps))[::-1]))

    def _report(self, header: TableHeader, channels: list[int]) -> None:
        """Report the columns of a table."""
        names = {"unit": self.unit, "time": self.time, "remaining": self.remaining}
        used: dict[str, str | int] = {side: name for side, name in names.items() if name in header.columns}
        used |= {f"sensor {number}": header.columns[place] for number, place in enumerate(channels, start=1)}
        unused = header.unused([*channels, *header.positions(self.unit, self.time, self.remaining)])
        report_columns(header.path.name, used, unused, header=True)


@final
@dataclass(frozen=True)
class Units:
    """Own units and their splits.

    Attributes:
        files: the tables, with whole units of train held out where dev or test have none.
        reader: reads them.
    """

    files: SplitFiles
    reader: UnitReader

    def examples(self, split: str) -> Iterator[Example]:
        """The units of a split. Those of dev and test that ran until they failed are cut.

        Raises:
            DataError: `remaining` is named, and the table of test, or one of several, does not have that column.
        """
        paths = self.files.shards(split)
        tells = [self.reader.tells(path) for path in paths]
        if self.reader.remaining is not None and not all(tells):
            path = paths[tells.index(False)]
            message = f"has no column {self.reader.remaining!r}"
            if any(tells) or (split == "test" and self.files.names.get("test") is not None):
                raise DataError(Problem(f"{path}:1", message, _REMAINING_HINT))
            report_remark(f"{path.name} {message}: its units are taken to have run until they failed")
        is_cut = split != "train" and not all(tells)
        if is_cut:
            report_split_rule(cut_rule())
        for example in self.files.examples(split):
            yield from cut(example) if is_cut else [example]

    def read_other(self, path: Path, split: str | None, labelled: bool) -> Iterator[Example]:
        """The units of another table. To be scored, they are cut as those of dev, unless the recipe names `remaining`.

        Raises:
            DataError: `remaining` is named, and the table, which is to be scored, does not have that column.
            UsageError: a split is asked for.
        """
        if split is not None:
            raise UsageError(f"--split: {path} is one file, and all of it is read")
        is_cut = labelled and self.reader.remaining is None
        if labelled and not is_cut and not self.reader.tells(path):
            raise DataError(Problem(f"{path}:1", f"has no column {self.reader.remaining!r}", _REMAINING_HINT))
        if is_cut:
            report_split_rule(cut_rule())
        for example, _ in self.reader.read(path, labelled=labelled):
            yield from cut(example) if is_cut else [example]


def _check_file(path: Path) -> None:
    """Raises MissingFile if there is no such file."""
    if not (is_remote(path) or path.is_file()):
        raise MissingFile(path, "file")


def own(
    folder: Path, names: Mapping[str, FileNames | None], held_out: tuple[float, float], reader: UnitReader
) -> Units:
    """The user's tables.

    Args:
        folder: where they are.
        names: of the file of each split.
        held_out: the shares of the units of train that are dev and test, where these have no file.
        reader: reads them.
    """
    shares = ShareSplit(dev=held_out[0], test=held_out[1], by="group", advice="name files for dev and test")
    return Units(SplitFiles(folder=folder, names=names, read=reader.read, shares=shares), reader)


def about(units: Units, folder: Path) -> dict[str, Any]:
    """Facts for the run folder."""
    return {"dataset": str(folder)} | units.files.about()


def cut_rule() -> str:
    return f"units that ran until they failed are cut at {CUTS} random steps, so that their end is unknown"


def cut(example: Example) -> Iterator[Example]:
    """A unit as it was at some earlier steps, at random ones that depend on its id alone; of one step, all of it."""
    steps = len(example.target)
    places = range(max(1, min(_EARLIEST, steps // 2)), steps)
    if not places:
        yield example
    dice = random.Random(f"unit {example.id}")
    for place in sorted(dice.sample(places, min(CUTS, len(places)))):
        values = NamedVectors(example.input.rows[:place], example.input.names, example.input.where)
        yield Example(values, example.target[:place], f"{example.id}+{place}")
