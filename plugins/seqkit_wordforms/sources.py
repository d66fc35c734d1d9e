"""Where words and what becomes of them come from: files of SIGMORPHON's layouts, one for each language and split."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, Flaw, MissingFile, Problem, UsageError, fetch
from seqkit.readers import FileNames, each_name, is_remote, numbered, read_shards, shard_files
from seqkit.reading import report_columns, report_split_rule

SUFFIXES = (".tsv", ".trn", ".dev", ".tst")

Row = Callable[[Sequence[str], str], tuple[list[str], str | None]]
"""Makes of the columns of a line and the name of its language the symbols of an input, and the target (None: the line
has none). Raises ValueError for a line that it cannot read."""


def g2p_row(columns: Sequence[str], language: str) -> tuple[list[str], str | None]:
    """`word<TAB>phones`: the letters of the word, decomposed (NFD), and the phones with one blank between them."""
    if len(columns) not in (1, 2):
        raise ValueError(f"has {len(columns)} columns, and should have a word, a tab, and its phones")
    word = columns[0].strip()
    if not word:
        raise ValueError("has no word")
    phones = " ".join(columns[1].split()) if len(columns) == 2 else None
    if phones == "":
        raise ValueError("has no phones")
    return [*_tag(language), *letters_of(word)], phones


def inflection_row(columns: Sequence[str], language: str) -> tuple[list[str], str | None]:
    """`lemma<TAB>form<TAB>V;PST;...`: the features, then the letters of the lemma; and the form.

    To predict, the form is left out or empty.
    """
    if len(columns) not in (2, 3):
        raise ValueError(
            f"has {len(columns)} columns, and should have lemma, form and features, with tabs between them"
        )
    lemma, features = columns[0].strip(), [name.strip() for name in columns[-1].split(";") if name.strip()]
    form = columns[1].strip() if len(columns) == 3 else ""
    if not lemma or not features:
        raise ValueError("has no lemma" if not lemma else "has no features")
    return [*_tag(language), *(f"<{name}>" for name in features), *letters_of(lemma)], form or None


def letters_of(word: str) -> list[str]:
    """The letters of a word, decomposed, with `_` in place of blanks."""
    return ["_" if letter.isspace() else letter for letter in unicodedata.normalize("NFD", word)]


def _tag(language: str) -> list[str]:
    return [f"<{language}>"] if language else []


@final
@dataclass(frozen=True)
class Columns:
    """What the columns of a line are.

    Attributes:
        names: of the columns, in their order; a first line of names may have them in another one.
        target: the name of the one that is the target.
        row: reads a line.
    """

    names: tuple[str, ...]
    target: str
    row: Row

    def check_target(self, columns: Sequence[str]) -> None:
        """Raises ValueError for the columns of a line without a target, which says what is missing."""
        if len(columns) < len(self.names):
            shown = f"{', '.join(self.names[:-1])} and {self.names[-1]}"
            count = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
            raise ValueError(f"has {count}, and should have {shown}, with tabs between them")
        raise ValueError(f"has no {self.target}")

    def order(self, header: Sequence[str]) -> list[int]:
        """Where each column is in a file with this first line: by its name if all names are there, else as it comes."""
        names = [name.strip().casefold() for name in header]
        if set(self.names) <= set(names):
            return [names.index(name) for name in self.names]
        return list(range(len(header)))


G2P_COLUMNS = Columns(("word", "phones"), "phones", g2p_row)
INFLECTION_COLUMNS = Columns(("lemma", "form", "features"), "form", inflection_row)


@final
@dataclass(frozen=True, kw_only=True)
class WordFiles:
    """A file for each language and split.

    Attributes:
        folder: gives the folder of the files.
        names: the file of each split, with `{}` in place of the language; None: there is none.
        languages: their names; empty: one language without a name, and no `{}`.
        columns: what the columns of a line are.
        facts: what the run folder says of the data.
        header: whether the first line of each file names its columns.
    """

    folder: Callable[[], Path]
    names: Mapping[str, FileNames | None]
    languages: tuple[str, ...]
    columns: Columns
    facts: Mapping[str, Any]
    header: bool = False

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split in ("train", "dev", "test") if self.names.get(split) is not None)

    def shards(self, split: str) -> list[tuple[str, list[Path]]]:
        """Each language with its files. Raises DataError if one is not there."""
        folder, names = self.folder(), each_name(self.names[split])
        return [
            (language, shard_files(folder, [name.replace("{}", language) for name in names], split, suffixes=SUFFIXES))
            for language in self.languages or ("",)
        ]

    def files(self, split: str) -> list[Path]:
        """Raises DataError if one is not there."""
        return [path for _, paths in self.shards(split) for path in paths]

    def examples(self, split: str) -> Iterator[Example]:
        """The words of all languages, one language after the other. An id begins with the name of the language."""
        report_split_rule("by file")
        for language, paths in self.shards(split):
            yield from read_shards(
                paths, partial(read_words, columns=self.columns, language=language, header=self.header)
            )


def read_words(
    path: Path, columns: Columns, language: str = "", *, labelled: bool = True, header: bool = False
) -> Iterator[Example]:
    """The words of a file.

    Raises:
        DataError: a line that cannot be read, or that has no target. Without `labelled`, such a line is an example with
            a `Flaw` for its input, and targets are not needed.
    """
    if not (is_remote(path) or path.is_file()):
        raise MissingFile(path, "file")
    order: list[int] | None = None
    is_first = True
    for line in numbered(path):
        cells = line.text.split("\t")
        if is_first:
            is_first = False
            _report_columns(path, columns, cells, header=header)
            if header:
                order = columns.order(cells)
                continue
        id = f"{language or 'words'}:{path.name}:{line.number}"
        try:
            if order is not None and len(cells) > max(order):
                cells = [cells[place] for place in order]
            symbols, target = columns.row(cells, language)
            if labelled and target is None:
                columns.check_target(cells)
        except ValueError as error:
            if labelled:
                raise DataError(Problem(f"{path}:{line.number}", str(error))) from None
            yield Example(Flaw(str(error)), None, id)
            continue
        yield Example(symbols, target if labelled else None, id)


def _report_columns(path: Path, columns: Columns, first: Sequence[str], *, header: bool) -> None:
    """Report what is read as what; `first` are the cells of the first line."""
    names = columns.names if len(first) >= len(columns.names) else columns.names[:: len(columns.names) - 1]
    places = columns.order(first) if header else range(len(first))
    shown: Sequence[str | int] = [name.strip() for name in first] if header else range(1, len(first) + 1)
    used = {name: shown[place] for name, place in zip(names, places, strict=False)}
    report_columns(path.name, used, header=header, first=() if header else first)


def published(
    dataset: Dataset,
    names: Mapping[str, FileNames | None],
    languages: tuple[str, ...],
    known: tuple[str, ...],
    columns: Columns,
) -> WordFiles:
    """Some languages of a data set. Raises UsageError for one that it does not have."""
    for language in languages:
        if language not in known:
            raise UsageError(f"languages: {language!r} is not one of {', '.join(known)}")
    facts = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about, "languages": list(languages)}
    return WordFiles(folder=lambda: fetch(dataset), names=names, languages=languages, columns=columns, facts=facts)


def own(
    path: Path, names: Mapping[str, FileNames | None], languages: tuple[str, ...], columns: Columns, *, header: bool
) -> WordFiles:
    """The user's files. Raises UsageError if languages are named, but the names of the files have no place for them."""
    for split, name in ((split, name) for split, value in names.items() for name in each_name(value)):
        if ("{}" in name) != bool(languages):
            hint = (
                "write {} where the language's name belongs" if languages else "name the `languages`, or leave {} out"
            )
            raise UsageError(f"{split}: {name!r}: {hint}")
    facts = {"dataset": str(path), "languages": list(languages)}
    return WordFiles(folder=lambda: path, names=names, languages=languages, columns=columns, facts=facts, header=header)
