"""Files in the manner of CoNLL: one word a line with its columns, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, final

from seqkit import DataError, Example, Problem, UsageError
from seqkit.readers import Line, numbered
from seqkit.spans import Scheme, fault, mend

Separator: TypeAlias = Literal["blanks", "tab", "space"]

DOCUMENT = "-DOCSTART-"
"""First on a line that stands between documents; such a line is no word."""

_PROBLEMS = 20


@final
@dataclass(frozen=True)
class Layout:
    """How a file is laid out, and what its tags mean.

    Attributes:
        separator: between columns: any run of spaces and tabs, one tab, or one space.
        word: the column of the word, counted from 1, or from the end by -1, -2 and so on.
        tag: the column of the tag, likewise.
        comment: lines that begin with this are left out; None: there are no comments.
        scheme: how tags mark spans; None: they do not, each is a label of its own.
        repair: mend tags that break the scheme, as conlleval reads them; else they are errors.
    """

    separator: Separator = "blanks"
    word: int = 1
    tag: int = -1
    comment: str | None = None
    scheme: Scheme | None = "iob2"
    repair: bool = False

    def __post_init__(self) -> None:
        for name, column in (("word", self.word), ("tag", self.tag)):
            if column == 0:
                raise UsageError(f"{name}_column: columns are counted from 1, or from the end from -1; there is no 0")
        if self.comment == "":
            raise UsageError("comment: every line begins with an empty text; give what comments begin with, or null")

    def read(self, path: Path) -> Iterator[Example]:
        """The sentences of a file: a list of words, a list of tags, `file:line` of the first word.

        Blank lines separate sentences, whatever white space is on them; so do lines of document markers.

        Raises:
            DataError: everything that is wrong with the file's words and tags, at its end, each as `file:line`.
        """
        problems: list[Problem] = []
        for rows in self._sentences(path):
            example = self._example(path, rows, problems)
            if example is not None and not problems:
                yield example
            if len(problems) >= _PROBLEMS:
                break
        if problems:
            raise DataError(problems)

    def _sentences(self, path: Path) -> Iterator[list[Line]]:
        rows: list[Line] = []
        for line in numbered(path):
            if self.comment is not None and line.text.startswith(self.comment):
                continue
            if line.text.strip() and not line.text.startswith(DOCUMENT):
                rows.append(line)
            elif rows:
                yield rows
                rows = []
        if rows:
            yield rows

    def _example(self, path: Path, rows: list[Line], problems: list[Problem]) -> Example | None:
        words, tags = [], []
        width = len(self._columns(rows[0].text))
        for row in rows:
            where = f"{path}:{row.number}"
            columns = self._columns(row.text)
            if len(columns) != width:
                what = f"has {len(columns)} columns, but line {rows[0].number} of the same sentence has {width}"
                problems.append(Problem(where, what))
                return None
            try:
                word, tag = self._place("word", self.word, width), self._place("tag", self.tag, width)
                if word == tag:
                    raise ValueError(f"has {width} columns, so word and tag are the same one")
                for name, column in (("word", word), ("tag", tag)):
                    if not columns[column].strip():
                        raise ValueError(f"the {name} is empty")
            except ValueError as error:
                problems.append(Problem(where, str(error), "say how the file is laid out"))
                return None
            words.append(columns[word])
            tags.append(columns[tag])
        if self.scheme and self.repair:
            with suppress(ValueError):  # a tag that is none of the scheme's cannot be mended
                tags = mend(tags, self.scheme)
        if self.scheme and (wrong := fault(tags, self.scheme)):
            hint = "" if self.repair else "give the file's scheme, or mend such tags with `repair: true`"
            problems.append(Problem(f"{path}:{rows[wrong[0]].number}", wrong[1], hint))
            return None
        return Example(words, tags, f"{path.name}:{rows[0].number}")

    def _columns(self, text: str) -> list[str]:
        if self.separator == "blanks":
            return re.split("[ \t]+", text.strip(" \t"))
        return text.split("\t" if self.separator == "tab" else " ")

    def _place(self, name: str, column: int, width: int) -> int:
        """Where a column stands, from 0."""
        place = column - 1 if column > 0 else width + column
        if not 0 <= place < width:
            raise ValueError(f"has {width} columns, so there is no column {column} for the {name}")
        return place
