"""An account of what lies in some data: each line, file and column is used, counted as left out, or refused.

A generator knows what it wrote and lists it as `Unit`s, by its own count of lines. `audit` reads the data as a run
does, and finds out by itself which units are in an example. All others have to be in the data card.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from seqkit.data.card import DataCard, find_warnings
from seqkit.data.card_table import describe_reading
from seqkit.data.store import SplitReport, prepare
from seqkit.errors import SeqkitError
from seqkit.reading import Reading, collect_reports
from seqkit.types import Example, Flaw, Task

ROW_MARK = re.compile(r"r\d+x")
COLUMN_MARK = re.compile(r"c(\d+)x")


@dataclass(frozen=True)
class Unit:
    """Something that lies in the data: a line, a record, a file, a link.

    Attributes:
        where: how a report calls it: `train.tsv:3`, `sport/a.pdf`.
        id: how the example that it becomes is called; empty: as `where`.
        marks: what that example contains, or the examples that it becomes; empty: the id alone tells.
        header_of: the file of which it is the first row, and so perhaps the header.
    """

    where: str
    id: str = ""
    marks: tuple[str, ...] = ()
    header_of: str = ""

    @property
    def name(self) -> str:
        return self.id or self.where


@dataclass(frozen=True)
class Table:
    """The columns of a file.

    Attributes:
        width: how many there are.
        header: their names, if the file has them.
    """

    width: int
    header: Sequence[str] = ()


@dataclass
class Group:
    """What some splits are read from together.

    Attributes:
        splits: their names.
        units: all that lies there.
        tables: the columns of each file that has any.
        has_ids: the ids of examples are those of the units.
        has_usual_header: the first unit is a header, which has to be noticed if it is taken for an example.
    """

    splits: tuple[str, ...]
    units: list[Unit] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    has_ids: bool = True
    has_usual_header: bool = False


@dataclass
class Case:
    """Some generated data.

    Attributes:
        make: makes the task that reads them.
        groups: what lies there.
        options: how it was made, for messages.
        is_stored: encode and store it too.
        others: files and folders that are also read by themselves, with and without targets.
    """

    make: Callable[[], Task]
    groups: list[Group]
    options: Mapping[str, Any]
    is_stored: bool = True
    others: list[tuple[Path, Group]] = field(default_factory=list)


@dataclass
class Audit:
    """What became of a case.

    Attributes:
        refusal: the message of the error, if the data were refused.
        silent: what was passed over or changed without a word.
        used: how many units are in an example.
        told: how many were reported as left out.
    """

    refusal: str = ""
    silent: list[str] = field(default_factory=list)
    used: int = 0
    told: int = 0


def audit(case: Case, folder: Path) -> Audit:
    """Read the data as a run does, and compare."""
    result = Audit()
    try:
        task = case.make()
        read = {split: _read(partial(task.read, split)) for split in task.splits}
        for group in case.groups:
            _compare(group, {split: read[split] for split in group.splits if split in read}, result)
        if case.is_stored:
            _compare_with_store(task, read, case, folder, result)
    except SeqkitError as error:
        result.refusal = str(error)
    for path, group in case.others:
        for labelled in (True, False):
            try:
                read_file = case.make().read_file
                assert read_file is not None
                got = _read(partial(read_file, path, None, labelled))
                _compare(group, {f"other file, labelled {labelled}": got}, result, labelled=labelled)
            except SeqkitError:
                continue
    return result


def _read(read: Callable[[], Iterable[Example]]) -> tuple[list[Example], Reading]:
    with collect_reports() as reading:
        examples = list(read())
    return examples, reading


def _compare(
    group: Group, read: Mapping[str, tuple[list[Example], Reading]], result: Audit, *, labelled: bool = True
) -> None:
    """Account for each unit of a group, given the examples and the report of each of its splits."""
    ids = Counter(example.id for examples, _ in read.values() for example in examples)
    marks = Counter(
        mark for examples, _ in read.values() for example in examples for mark in ROW_MARK.findall(_content(example))
    )
    known = {name for unit in group.units for name in (unit.name, unit.where)}
    result.silent += [f"an example {id} that nobody wrote" for id in ids if group.has_ids and id not in known]
    result.silent += [
        f"{name} is in {count} examples" for name, count in (ids + marks).items() if group.has_ids and count > 1
    ]
    for split, (examples, reading) in read.items():
        left = []
        for unit in group.units:
            is_used = (
                any(mark in marks for mark in unit.marks)
                if unit.marks
                else not ids.keys().isdisjoint((unit.name, unit.where))
            )
            if is_used and not all(mark in marks for mark in unit.marks):
                result.silent.append(f"{split}: {unit.where} is used in part")
            is_header = bool(unit.header_of) and any(
                name.startswith(unit.header_of) and table.header for name, table in reading.tables.items()
            )
            if not is_used and not is_header:
                left.append(unit)
            result.used += is_used
        told = sum(things.count for kind, things in reading.left_out.items() if not kind.startswith("gap in"))
        result.told += told
        if told != len(left):
            kinds = {kind: (things.count, things.first) for kind, things in reading.left_out.items()}
            names = [unit.where for unit in left]
            result.silent.append(f"{split}: {len(left)} are left out ({names}), but {told} are told ({kinds})")
        wheres = {unit.where for unit in left} | {unit.name for unit in left}
        result.silent += [
            f"{split}: the first {kind} is not at {things.first}"
            for kind, things in reading.left_out.items()
            if things.first not in wheres and not kind.startswith("gap in")
        ]
        _compare_columns(group, split, examples, reading, result, labelled)


def _content(example: Example) -> str:
    return f"{_text(example.input)} {_text(example.target)}"


def _text(value: Any) -> str:
    """A value as text; a recording by its name."""
    return str(value.name) if hasattr(value, "name") else repr(value)


def _compare_columns(
    group: Group, split: str, examples: Sequence[Example], reading: Reading, result: Audit, labelled: bool
) -> None:
    """Each column of each table is read or told, and what is read is in the examples."""
    for file, table in group.tables.items():
        rows = [example for example in examples if example.id.startswith((f"{file}:", f"{file.partition('|')[0]}:"))]
        if not rows or any(isinstance(row.input, Flaw) for row in rows):
            continue  # each row that does not fit the first one says so
        if file not in reading.tables:
            result.silent.append(f"{split}: the columns of {file} are not told")
            continue
        told = reading.tables[file]
        names: Sequence[str | int] = table.header if told.header else range(1, table.width + 1)
        if Counter([*set(told.used.values()), *told.unused]) != Counter(dict.fromkeys(names, 1)) and Counter(
            [*told.used.values(), *told.unused]
        ) != Counter(names):
            result.silent.append(f"{split}: the columns of {file} are {list(names)}, but told: {told}")
            continue
        for side in ("input", "target") if labelled else ("input",):
            columns = {int(n) for row in rows for n in COLUMN_MARK.findall(_text(getattr(row, side)))}
            if columns and {names[n - 1] for n in columns} != {told.used[side]}:
                result.silent.append(f"{split}: {side} of {file} is column {columns}, but told: {told.used}")


def _compare_with_store(
    task: Task, read: Mapping[str, tuple[list[Example], Reading]], case: Case, folder: Path, result: Audit
) -> None:
    """What is stored is what was read, the card tells all that was left out, and headers are noticed."""
    prepared = prepare(task, key=str(case.options), cache=folder)
    reports = {name: split.report for name, split in prepared.splits.items()}
    for split, (examples, reading) in read.items():
        report = reports[split]
        if report.examples + report.quarantined != len(examples):
            result.silent.append(f"{split}: {len(examples)} are read, {report.examples} are stored")
        if (report.reading.left_out, report.reading.tables) != (reading.left_out, reading.tables):
            result.silent.append(f"{split}: the stored report is not that of the reader: {report.reading} {reading}")
    result.silent += _untold(reports)
    headers = {group.units[0].name for group in case.groups if group.has_usual_header}
    taken = [example.id for examples, _ in read.values() for example in examples if example.id in headers]
    if taken and "header-as-example" not in {warning.code for warning in find_warnings(reports)}:
        result.silent.append(f"a header is an example without a warning: {taken}")


def _untold(reports: Mapping[str, SplitReport]) -> list[str]:
    """Kinds that are reported, but not in the sentences of the card."""
    sentences = "\n".join(describe_reading(DataCard("data", reports)))
    kinds = {kind for report in reports.values() for kind in report.reading.left_out}
    return [f"the card does not tell of: {kind}" for kind in kinds if f"x {kind}" not in sentences]
