"""Where sentences with intents and slots come from: ATIS, the user's files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, fetch
from seqkit.readers import FileNames, ShareSplit, SplitFiles, TableFormat, column_index, numbered, records
from seqkit_intents.fields import INTENT, SLOTS

ATIS = Dataset(
    "joint/atis",
    tuple(
        File(name, None, sha256, size)
        for name, size, sha256 in (
            ("test/label.gz", 578, "f0e5ceef00908e2ee80cb7bfacc9cfbf6f57c320d2fbd1172094e5897604a5f1"),
            ("test/seq.in.gz", 9_241, "f541a63592cb223c27248b2afb96013746190687fc4f574f1717b04d3de22974"),
            ("test/seq.out.gz", 4_232, "c880c43e1cf3ff87447e6b22ff8dd9aab3c58e3b00667bc7c19983bfc7ed0ea2"),
            ("train/label.gz", 2_299, "114f0a6bb546c7ac5c9a796526291ac7a84e890403810869dfc75ba2e0bb8c22"),
            ("train/seq.in.gz", 50_952, "4b5370062a64fef08ed33014b419e17a9703ad26fc1e43e2df6dc4f96c3e17d5"),
            ("train/seq.out.gz", 21_977, "e456e4a8150be27dd4e4e8692b78092bea2f3c949451854837ee94cb73be6569"),
            ("valid/label.gz", 422, "471c8f6e325084c61828a9a5945f4f743c7da7e62989663c21ec19ba0028d975"),
            ("valid/seq.in.gz", 7_222, "5b05d56f8cae9fb4c59c823049c3fcd6138edb4cc3c2491831b64bdcc8022d6d"),
            ("valid/seq.out.gz", 3_094, "649ac1dbb8f47a21abae6eb2f9ef4783b3a1012ce0eccf378ba0f0bb4a2d7e47"),
        )
    ),
    licence="not stated (ATIS is data of the LDC); for research",
    about="questions about flights (Hemphill et al. 1990, in the split of Goo et al., NAACL 2018)",
    by_hand="data/atis of github.com/MiuLab/SlotGated-SLU; its files also work as your own (folder), packed or not",
)
PARALLEL: Final = "seq.in|seq.out|label"
"""Files of words, tags and labels: the names of ATIS and SNIPS."""
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


@final
@dataclass(frozen=True, kw_only=True)
class SentenceReader:
    """Reads three parallel files, or a table whose cells hold words and tags with blanks between them (or JSON lists).

    Attributes:
        words: the column of the words.
        slots: that of the tags.
        intent: that of the labels.
        layout: the format of tables.
    """

    words: str = "words"
    slots: str = "slots"
    intent: str = "intent"
    layout: TableFormat = field(default_factory=TableFormat)

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[Example]:
        """Sentences: a list of words, and `{"intent", "slots"}`.

        Raises:
            DataError: files of different lengths, a sentence with another number of tags than words, no such column.
        """
        files = files_of(path)
        rows = self._parallel(files) if len(files) == 3 else self._table(path, labelled)
        for where, id, words, slots, intent in rows:
            if not words:
                raise DataError(Problem(where, "has no words"))
            if labelled and len(words) != len(slots):
                raise DataError(Problem(where, f"has {len(words)} words and {len(slots)} tags"))
            yield Example(words, {INTENT: intent, SLOTS: slots} if labelled else None, id)

    def _parallel(self, files: list[Path]) -> Iterator[tuple[str, str, list[str], list[str], str]]:
        lines = [list(numbered(file)) for file in files]
        counts = [len(rows) for rows in lines]
        if len(set(counts)) > 1:
            counted = ", ".join(f"{file.name} {count:,}" for file, count in zip(files, counts, strict=True))
            raise DataError(Problem(str(files[0]), f"parallel files have different numbers of lines: {counted}"))
        for words, slots, intent in zip(*lines, strict=True):
            where = f"{files[0]}:{words.number}"
            yield where, f"{files[0].name}:{words.number}", words.text.split(), slots.text.split(), intent.text.strip()

    def _table(self, path: Path, labelled: bool) -> Iterator[tuple[str, str, list[str], list[str], str]]:
        rows = records(path, layout=self.layout)
        header = next(rows)
        names = [name.strip() for name in header.fields]
        columns = (self.words, self.slots, self.intent) if labelled else (self.words,)
        for name in columns:
            column_index(path, header.number, names, name)
        for row in rows:
            where = f"{path}:{row.number}"
            if len(row.fields) != len(names):
                raise DataError(Problem(where, f"has {len(row.fields)} columns, and the first line has {len(names)}"))
            cells = [row.fields[names.index(name)] for name in columns]
            slots = _words(cells[1], where) if labelled else []
            yield (
                where,
                f"{path.name}:{row.number}",
                _words(cells[0], where),
                slots,
                cells[2].strip() if labelled else "",
            )


def _words(cell: str, where: str) -> list[str]:
    """The words of a cell: of a JSON list, or what blanks separate."""
    if not cell.lstrip().startswith("["):
        return cell.split()
    try:
        words = json.loads(cell)
    except ValueError:
        return cell.split()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(Problem(where, "a list of words or tags has something else in it"))
    return words


def files_of(path: Path) -> list[Path]:
    """A file, or the parallel files of a name such as `seq.in|seq.out|label`."""
    return [path.parent / name for name in path.name.split("|")]


def split_files(
    folder: Any, names: Mapping[str, FileNames | None], reader: SentenceReader, shares: ShareSplit
) -> SplitFiles:
    """The user's files, or those of ATIS."""

    def read(path: Path) -> Iterator[tuple[Example, str]]:
        return ((example, "") for example in reader.read(path))

    return SplitFiles(folder=folder, names=names, read=read, shares=shares, paths=files_of)


def atis() -> tuple[SplitFiles, dict[str, Any]]:
    """ATIS in its official split, and facts for the run folder."""
    names: Mapping[str, FileNames | None] = {
        split: f"{folder}/seq.in.gz|seq.out.gz|label.gz"
        for split, folder in (("train", "train"), ("dev", "valid"), ("test", "test"))
    }
    files = split_files(lambda: fetch(ATIS), names, SentenceReader(), ShareSplit())
    return files, {"dataset": ATIS.name, "licence": ATIS.licence, "about": ATIS.about}


def read_other(path: Path, labelled: bool, reader: SentenceReader) -> Iterator[Example]:
    """The sentences of another file."""
    for file in files_of(path):
        if not file.is_file():
            raise MissingFile(file)
    return reader.read(path, labelled=labelled)
