"""Where sessions come from: published data, the user's files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, fetch
from seqkit.readers import FileNames, TableFormat, TimeOrder, column_index, is_remote, numbered, records, shard_files
from seqkit.reading import report_columns, report_left_out, report_split_rule

_BY_HAND = (
    "the terms want everybody to fetch it; a session on each line, items with blanks between them, in order of time"
)

YOOCHOOSE = Dataset(
    "session/yoochoose1_64",
    (
        File("train.txt.gz", None, "29763ebabd8476979d84994a67e336b72cf1d47b5b6fd82faf505a663a89ea3f", 954_996),
        File("test.txt.gz", None, "05d6ad0d5cc6a484851575adad6c57550a62eeebcc1bc271ae5fdb43e0355c39", 128_917),
    ),
    licence="CC BY-NC-ND 4.0 (RecSys Challenge 2015)",
    about="the latest 1/64 of Yoochoose's training clicks, as prepared for NARM and SR-GNN",
    by_hand=_BY_HAND,
)
DIGINETICA = Dataset(
    "session/diginetica",
    (
        File("train.txt.gz", None, "630554f8004291d62c62b26b5c868ac4c14704056807d4f119861b899426a013", 2_131_091),
        File("test.txt.gz", None, "34f81cefd2b0158e7e1a97fef01d03b0afcdf03b9c197982dab71079ae94ffeb", 185_116),
    ),
    licence="terms of the CIKM Cup 2016",
    about="product views of Diginetica, as prepared for SR-GNN",
    by_hand=_BY_HAND,
)
BEAUTY = Dataset(
    "session/beauty",
    (File("Beauty.txt.gz", None, "d90327e98288647f5bae59c0dba82e153af2d940eafb7540f4b05185e108d0fe", 455_497),),
    licence="not stated; for research",
    about="reviews of beauty products at Amazon (McAuley et al. 2015), users and items with five or more",
    by_hand="data/Beauty.txt of github.com/RUCAIBox/CIKM2020-S3Rec, compressed with gzip -n",
)
DATASETS = {"yoochoose-1-64": YOOCHOOSE, "diginetica": DIGINETICA, "beauty": BEAUTY}
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl")


@final
@dataclass(frozen=True, kw_only=True)
class SessionReader:
    """Reads sessions, in the order of the file.

    Attributes:
        session: of a table with an event in each row, the column that says to which session it belongs; None: a session
            is a line, with blanks between its items.
        item: the column of the items.
        time: the column of times, in whose order the events of a session must be; None: rows are in order of time.
        user: whether a line begins with its user.
        layout: the format of tables.
    """

    session: str | None = None
    item: str = "item"
    time: str | None = None
    user: bool = False
    layout: TableFormat = field(default_factory=TableFormat)

    def read(self, path: Path, *, by_name: bool = False) -> Iterator[tuple[str, list[str]]]:
        """Sessions, each with the id of its first line. Those of one item are there too.

        With `by_name`, the id of a session of a table is its name, in the column `session`.

        Raises:
            DataError: a column that is missing, or rows of a session that do not follow each other.
        """
        if not (is_remote(path) or path.is_file()):
            raise MissingFile(path, "file")
        if self.session is None and self.layout.of_name(path.name) is not None:
            names = [name.strip() for name in next(records(path, layout=self.layout)).fields]
            hint = f"name the column that says to which session a row belongs with `session`: {', '.join(names)}"
            raise DataError(Problem(str(path), "is a table", hint))
        return self._lines(path) if self.session is None else self._events(path, by_name)

    def read_all(self, paths: Sequence[Path]) -> Iterator[tuple[str, list[str]]]:
        """The sessions of several files. A session does not go on in the next file."""
        for path in paths:
            yield from self.read(path)

    def _lines(self, path: Path) -> Iterator[tuple[str, list[str]]]:
        for line in numbered(path, encoding=self.layout.encoding):
            items = line.text.split()[1 if self.user else 0 :]
            if items:
                yield f"{path.name}:{line.number}", items
            else:
                report_left_out("line without items", f"{path.name}:{line.number}")

    def _events(self, path: Path, by_name: bool) -> Iterator[tuple[str, list[str]]]:
        rows = records(path, layout=self.layout)
        header = next(rows)
        names = [name.strip() for name in header.fields]
        used: dict[str, str | int] = {"session": str(self.session), "item": self.item}
        used |= {} if self.time is None else {"time": self.time}
        places = [column_index(path, header.number, names, str(name)) for name in used.values()]
        key, place = places[:2]
        report_columns(path.name, used, [name for name in names if name not in used.values()], header=True)
        order = None if self.time is None else TimeOrder(path, self.time, repeats=True)
        ended: set[str] = set()
        current, id = None, ""
        items: list[str] = []
        for row in rows:
            where = f"{path}:{row.number}"
            if len(row.fields) != len(names):
                raise DataError(Problem(where, f"has {len(row.fields)} columns, and the first line has {len(names)}"))
            name, value = row.fields[key], row.fields[place].strip()
            if not value or len(value.split()) != 1:
                raise DataError(Problem(where, f"the item {value!r} should be one word"))
            if name != current:
                if items:
                    yield id, items
                if name in ended:
                    hint = "sort the rows by session and time"
                    raise DataError(Problem(where, f"the session {name!r} goes on after another one", hint))
                ended.add(name)
                current, items = name, []
                id = name if by_name and name.strip() else f"{path.name}:{row.number}"
            if order is not None:
                order.add(row.number, row.fields[places[2]], name)
            items.append(value)
        if items:
            yield id, items
        if order is not None:
            order.report()


@final
@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Sessions and their splits: files, or the last share of train (dev), or the last items of each user.

    Attributes:
        folder: gives the folder of the files.
        names: the file of each split; None: there is none.
        reader: reads a file.
        held_out: the share of train, its last sessions, that is dev if it has no file.
        leave_one_out: all splits are of one file: the last item of each session is test, the one before it dev.
        facts: what the run folder says of the data.
    """

    folder: Callable[[], Path]
    names: Mapping[str, FileNames | None]
    reader: SessionReader
    held_out: float = 0.0
    leave_one_out: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        if self.leave_one_out:
            return ("train", "dev", "test")
        has_dev = self.names.get("dev") is not None or self.held_out > 0
        return ("train", *(["dev"] if has_dev else []), *(["test"] if self.names.get("test") is not None else []))

    def files(self, split: str) -> list[Path]:
        """The files of a split. Raises DataError if one is not there."""
        names = (None if self.leave_one_out else self.names.get(split)) or self.names["train"] or ""
        return shard_files(self.folder(), names, split)

    def sessions(self, split: str) -> Iterator[tuple[str, list[str]]]:
        """The sessions of a split, with the items that are left for it."""
        paths = self.files(split)
        if self.leave_one_out:
            cut = {"train": -2, "dev": -1}.get(split)
            report_split_rule("by position: the last item of each session is test, the one before it dev")
            for id, items in self.reader.read_all(paths):
                if len(items) < 3:
                    report_left_out("session of fewer than three items, which cannot be divided", id)
                    continue
                yield id, items[:cut]
            return
        if split == "test" or self.names.get("dev") is not None or not self.held_out:
            report_split_rule("by file")
            yield from self.reader.read_all(paths)
            return
        report_split_rule(f"by position: the last {self.held_out:.4g} of the sessions of train are dev")
        count = sum(1 for _ in self.reader.read_all(paths))
        first_of_dev = count - round(self.held_out * count)
        for number, session in enumerate(self.reader.read_all(paths)):
            if (number >= first_of_dev) == (split == "dev"):
                yield session

    def examples(self, split: str) -> Iterator[Example]:
        """Examples whose input is a session without its last item, and whose target is it without its first."""
        for id, items in self.sessions(split):
            if len(items) < 2:
                report_left_out("session of one item, after which nothing comes", id)
                continue
            yield example_of(id, items)


def example_of(id: str, items: list[str]) -> Example:
    return Example(" ".join(items[:-1]), items[1:], id)


def published(name: str, held_out: float) -> Sessions:
    """A published data set."""
    dataset = DATASETS[name]
    facts = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    if name == "beauty":
        reader = SessionReader(user=True)
        names: Mapping[str, FileNames | None] = {"train": dataset.files[0].path}
        return Sessions(folder=lambda: fetch(dataset), names=names, reader=reader, leave_one_out=True, facts=facts)
    names = {"train": "train.txt.gz", "dev": None, "test": "test.txt.gz"}
    return Sessions(folder=lambda: fetch(dataset), names=names, reader=SessionReader(), held_out=held_out, facts=facts)


def read_other(path: Path, labelled: bool, reader: SessionReader) -> Iterator[Example]:
    """The sessions of another file; without targets, by their names, and what comes after the last item is wanted."""
    for id, items in reader.read(path, by_name=not labelled):
        if not labelled:
            yield Example(" ".join(items), None, id)
        elif len(items) > 1:
            yield example_of(id, items)
        else:
            report_left_out("session of one item, after which nothing comes", id)
