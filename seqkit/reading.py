"""What a task's `read` used and what it passed over, so that nothing is left out without a word.

The readers of `seqkit.readers` report by themselves. A reader of your own calls `report_left_out` wherever it passes
over something, `report_changed` where it changes something, `report_columns` for a table, `report_split_rule` where it
decides which example belongs to which split, and `report_remark` for anything else. What is reported while a split is
encoded is stored with it, and told by `seqkit run` and `seqkit data`.

    for line in readers.numbered(path):
        if line.text.startswith("#"):
            report_left_out("comment line (#)", f"{path.name}:{line.number}")
            continue

Outside of `collect_reports`, calls have no effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, final

from seqkit import public_api
from seqkit.types import JSON

__all__ = [
    "Columns",
    "Counted",
    "Reading",
    "collect_reports",
    "report_again",
    "report_changed",
    "report_columns",
    "report_left_out",
    "report_remark",
    "report_split_rule",
]

_LONGEST_FIELD: Final = 80
"""Characters that are kept of a field of a table's first record."""


@final
@dataclass(slots=True)
class Counted:
    """Things of one kind that were passed over or changed.

    Attributes:
        count: how many.
        first: where the first of them is: `train.tsv:17`.
    """

    count: int
    first: str


@final
@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table, or the keys of a file of JSON objects.

    Attributes:
        used: what each one that is read is read as, `{"input": "text", "target": "label"}`; columns without a header by
            their number from 1, `{"input": 1}`.
        unused: names or numbers of the others.
        header: whether the first line was read as names of columns.
        first: the fields of the first record that was read as an example, long ones cut. What a header that was taken
            for an example looks like.
    """

    used: Mapping[str, str | int]
    unused: tuple[str | int, ...] = ()
    header: bool = False
    first: tuple[str, ...] = ()

    def join(self, other: Columns) -> Columns | None:
        """What both say of one file; None: they contradict each other, so they are of different files."""
        sides = {**self.used, **other.used}
        used = {side: sides[side] for side in sorted(sides, key=lambda side: (side != "input", side != "target"))}
        columns = [{*table.used.values(), *table.unused} for table in (self, other)]
        contradict = any(self.used.get(side, column) != column for side, column in other.used.items())
        firsts = {table.first for table in (self, other) if table.first}
        if contradict or columns[0] != columns[1] or self.header != other.header or len(firsts) > 1:
            return None
        unused = [column for column in self.unused if column not in other.used.values()]
        return Columns(used, tuple(unused), self.header, next(iter(firsts), ()))


@final
@dataclass(slots=True)
class Reading:
    """Everything that was reported of one pass over a split.

    Attributes:
        tables: by file name, its columns.
        split_rules: sentences that say by which rule examples came into this split.
        left_out: by kind ("blank line", "file that is not audio (.txt)"), what was passed over.
        changed: by kind ("tags that break the scheme, corrected"), what was not taken as it is.
        remarks: other things to know, each once.
    """

    tables: dict[str, Columns] = field(default_factory=dict)
    split_rules: list[str] = field(default_factory=list)
    left_out: dict[str, Counted] = field(default_factory=dict)
    changed: dict[str, Counted] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add_table(self, file: str, table: Columns) -> None:
        """Keep the columns of a file. What is said of other columns of the same file is joined to it; of two different
        files with one name, the second is numbered.
        """
        name, number, joined = file, 1, table
        while (known := self.tables.get(name)) is not None:
            both = known.join(table)
            if both is not None:
                joined = both
                break
            number += 1
            name = f"{file} ({number})"
        self.tables[name] = joined

    def join(self, later: Reading) -> None:
        """Add what another pass reported."""
        for name, table in later.tables.items():
            self.add_table(name, table)
        self.split_rules += [rule for rule in later.split_rules if rule not in self.split_rules]
        self.remarks += [remark for remark in later.remarks if remark not in self.remarks]
        for counts, later_counts in ((self.left_out, later.left_out), (self.changed, later.changed)):
            for kind, things in later_counts.items():
                _count(counts, kind, things.first, things.count)

    def facts(self) -> JSON:
        """As JSON; `Reading.restore` gives an equal one back."""
        return {
            "tables": {
                name: {
                    "used": dict(table.used),
                    "unused": list(table.unused),
                    "header": table.header,
                    "first": list(table.first),
                }
                for name, table in self.tables.items()
            },
            "split_rules": list(self.split_rules),
            "left_out": _counted_facts(self.left_out),
            "changed": _counted_facts(self.changed),
            "remarks": list(self.remarks),
        }

    @classmethod
    def restore(cls, facts: JSON) -> Reading:
        """The reading whose `facts` these are. Raises ValueError, TypeError or KeyError if they cannot be facts."""
        counted = [(kind, things["count"], things["first"]) for kind, things in facts["left_out"].items()]
        if not all(isinstance(kind, str) and type(n) is int and isinstance(first, str) for kind, n, first in counted):
            raise ValueError("what was left out is not counted")
        if not all(isinstance(line, str) for key in ("split_rules", "remarks") for line in facts[key]):
            raise ValueError("rules and remarks are not text")
        return cls(
            {
                name: Columns(dict(table["used"]), tuple(table["unused"]), table["header"], tuple(table["first"]))
                for name, table in facts["tables"].items()
            },
            list(facts["split_rules"]),
            {kind: Counted(things["count"], things["first"]) for kind, things in facts["left_out"].items()},
            {kind: Counted(things["count"], things["first"]) for kind, things in facts["changed"].items()},
            list(facts["remarks"]),
        )


def _counted_facts(kinds: Mapping[str, Counted]) -> JSON:
    return {kind: {"count": things.count, "first": things.first} for kind, things in kinds.items()}


def _count(kinds: dict[str, Counted], kind: str, where: str, count: int) -> None:
    """Add things of a kind to those that are known."""
    known = kinds.setdefault(kind, Counted(0, where))
    known.count += count


_current: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def collect_reports() -> Iterator[Reading]:
    """Collects everything that this thread reports within the block.

    Inside of another such block, that one gets nothing: whoever looks through a folder once and reads splits from what
    was found collects there, and calls `report_again` for each split.
    """
    reading = Reading()
    token = _current.set(reading)
    try:
        yield reading
    finally:
        _current.reset(token)


def report_left_out(kind: str, where: str, count: int = 1) -> None:
    """Say that something was passed over.

    Args:
        kind: what it is, in the singular: "comment line (#)", "folder that is a link".
        where: where the first of it is, as a human finds it: `train.conll:3`.
        count: how many there are.
    """
    if (reading := _current.get()) is not None:
        _count(reading.left_out, kind, where, count)


def report_changed(kind: str, where: str, count: int = 1) -> None:
    """Say that something was not taken as it is.

    Args:
        kind: what it is, and what became of it: "sentence whose tags break the scheme, corrected".
        where: where the first of it is.
        count: how many there are.
    """
    if (reading := _current.get()) is not None:
        _count(reading.changed, kind, where, count)


def report_columns(
    file: str,
    used: Mapping[str, str | int],
    unused: Sequence[str | int] = (),
    *,
    header: bool = False,
    first: Sequence[Any] = (),
) -> None:
    """Say which columns of a table are read and which are not; see `Columns`."""
    if (reading := _current.get()) is not None:
        shown = tuple(str(text)[:_LONGEST_FIELD] for text in first)
        reading.add_table(file, Columns(dict(used), tuple(unused), header, shown))


def report_split_rule(rule: str) -> None:
    """Say by which rule examples are divided into splits: "by hash of the speaker: 80 % train, 10 % dev, 10 % test"."""
    if (reading := _current.get()) is not None and rule not in reading.split_rules:
        reading.split_rules.append(rule)


def report_remark(sentence: str) -> None:
    """Say anything else that one should know about the data; each sentence is kept once."""
    if (reading := _current.get()) is not None and sentence not in reading.remarks:
        reading.remarks.append(sentence)


def report_again(reading: Reading) -> None:
    """Report what was collected earlier, as if it happened now."""
    if (current := _current.get()) is not None:
        current.join(reading)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return public_api.deprecated_attribute(__name__, name)
