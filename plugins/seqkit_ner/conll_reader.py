"""Reads files of tagged sentences: CoNLL files of columns, and by `seqkit_ner.formats` the other formats."""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from seqkit import DataError, Example, Flaw, Problem, UsageError
from seqkit.readers import Line, numbered
from seqkit.reading import report_changed, report_columns, report_left_out
from seqkit.spans import fault, mend, type_of
from seqkit_ner.formats import (
    base_scheme,
    files_of,
    fitting_scheme,
    form_of,
    is_word_of_conllu,
    json_sentences,
    parallel_sentences,
    rename_letters,
)
from seqkit_ner.options import DataScheme, Form, Separator, WordTokenizer

DOCUMENT = "-DOCSTART-"
"""Begins a line between documents; such a line is not a word."""
_PROBLEMS_SHOWN = 20
_NO_COLUMN: Final = "there is no column"
WITH_COLUMNS: Final = ("columns", "conllu")
"""Formats of files that have columns."""


class _Sentence(NamedTuple):
    """Words, a tag for each if they are read, the place of each, the text that was split into the words, the features
    of each word if they are read."""

    words: list[str]
    tags: list[str] | None
    places: Sequence[int | str]
    given: str | None = None
    features: Sequence[tuple[str, ...]] = ()

    @property
    def steps(self) -> list[Any]:
        """What the field of the task reads: words, or (word, feature, ...) for each."""
        if not self.features:
            return self.words
        return [(word, *features) for word, features in zip(self.words, self.features, strict=True)]


@final
@dataclass(frozen=True, kw_only=True)
class ConllReader:
    """Reads files of CoNLL: one word a line with its columns, a blank line between sentences.

    Attributes:
        separator: between columns: any run of spaces and tabs, one tab, or one space.
        word: the column of the word, counted from 1, or from the end with -1, -2 and so on.
        tag: the column of the tag, likewise.
        comment: lines that begin with this are left out, unless they have the columns of a word; None: there are no
            comments.
        scheme: how tags mark spans; None: each tag is a separate label.
        repair: correct tags that break the scheme, as conlleval reads them; otherwise they are errors.
        form: the format of the files; None: by their names.
        prefix: what every word begins with, and is taken off (`de:Berlin`).
        tokenizer: how a text with spans in characters is split into words.
        features: further columns that are read, counted as those of word and tag.
    """

    separator: Separator = "blanks"
    word: int | None = None
    tag: int | None = None
    comment: str | None = None
    scheme: DataScheme | None = "iob2"
    repair: bool = False
    form: Form | None = None
    prefix: str = ""
    tokenizer: WordTokenizer = "spaces"
    features: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        options = [("word_column", self.word), ("tag_column", self.tag), *(("features", c) for c in self.features)]
        for name, column in options:
            if column == 0:
                raise UsageError(f"{name}: 0 is not a column; count from 1, or from the end with -1")
        if self.features and self.form not in (None, *WITH_COLUMNS):
            raise UsageError(f"features: files of the format {self.form} have no columns; leave out one of the two")
        if self.comment == "":
            raise UsageError("comment: should not be empty; give what comments begin with, or null")

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[Example]:
        """The sentences of a file: a list of words, a list of tags, `file:line` of the first word.

        With `features`, an input is a list of (word, feature, ...).

        Lines that are blank or have only white space separate sentences, and so do document markers.

        Args:
            path: the file.
            labelled: False: tags are not read, and a sentence that cannot be read is a `Flaw`.

        Raises:
            DataError: at the end of the file, all problems with its words and tags, each as `file:line`.
        """
        problems: list[Problem] = []
        words_path = files_of(path)[0]
        for sentence in self._tagged(path, problems, labelled):
            example = self._example(words_path, sentence, problems) if sentence.words else None
            if example is None and len(problems) == 1 and labelled and sentence.words:
                self._raise_if_scheme_differs(path, problems[-1])
            if example is not None and not problems:
                yield example
            elif not labelled:
                yield Example(Flaw(problems.pop().what), None, f"{words_path.name}:{sentence.places[0]}")
            if len(problems) >= _PROBLEMS_SHOWN:
                break
        if problems:
            raise DataError(problems)

    def _sentences(self, path: Path) -> Iterator[list[Line]]:
        is_conllu = self._form(path) == "conllu"
        block: list[Line] = []
        width = 0
        is_reported = False
        for line in itertools.chain(numbered(path), (None,)):
            if line is not None and line.text.startswith(DOCUMENT):
                report_left_out(f"line between documents ({DOCUMENT})", f"{path.name}:{line.number}")
            elif line is not None and line.text.strip():
                block.append(line)
                continue
            rows = self._without_comments(path, block, width, is_conllu)
            if is_conllu:
                rows = [row for row in rows if is_word_of_conllu(path, row)]
            block = []
            if rows:
                columns = self._columns(rows[0].text, is_conllu)
                width = len(columns)
                if not is_reported:
                    self._report_columns(path, columns, is_conllu)
                    is_reported = True
                yield rows

    def _without_comments(self, path: Path, block: Sequence[Line], width: int, is_conllu: bool) -> list[Line]:
        """The lines of a sentence that are words. Comments are reported, and so are words that begin like one.

        Args:
            path: the file.
            block: the lines.
            width: how many columns the sentence before it has; 0: there is none.
            is_conllu: the file is CoNLL-U, where the line of a word begins with its number.
        """
        comment = "#" if is_conllu and self.comment is None else self.comment
        if comment is None:
            return list(block)
        first_word = next((line for line in block if not line.text.startswith(comment)), None)
        width = width if first_word is None else len(self._columns(first_word.text, is_conllu))
        rows: list[Line] = []
        for line in block:
            if not line.text.startswith(comment):
                rows.append(line)
            elif not is_conllu and self._is_word(line, width, is_first=not rows):
                rows.append(line)
                kind = f"line that begins like a comment ({comment.strip()}), read as a word, whose columns it has"
                report_changed(kind, f"{path.name}:{line.number}")
            else:
                report_left_out(f"comment line ({comment.strip()})", f"{path.name}:{line.number}")
        return rows

    def _is_word(self, line: Line, width: int, *, is_first: bool) -> bool:
        """Whether a line that begins like a comment is a word, as `#win` is in a tweet.

        A word has as many columns as the others, and a tag. Where any text can be a tag, a comment is what stands in
        front of a sentence, except if tabs separate columns: comments have none.
        """
        columns = self._columns(line.text, False)
        if len(columns) != width or width < 2:
            return False
        scheme = base_scheme(self.scheme)
        if scheme is None or scheme == "plain":
            return self.separator == "tab" or not is_first
        with suppress(ValueError):
            type_of(rename_letters([columns[_column_index("tag", self.tag or -1, width)]], self.scheme)[0], scheme)
            return True
        return False

    def _report_columns(self, path: Path, columns: Sequence[str], is_conllu: bool) -> None:
        """Report which columns are read. The first line is part of it only if any text can be a tag, as of a header."""
        width = len(columns)
        try:
            word, tag, *features = [index + 1 for index in self._indices(width, is_conllu, labelled=True)]
        except ValueError:
            return  # an error when the words are read, if tags are; without tags, nothing is wrong
        names = ["feature"] if len(features) == 1 else [f"feature {letter}" for letter in string.ascii_uppercase]
        used = {"input": word, **dict(zip(names, features, strict=False)), "target": tag}
        unused = [column for column in range(1, width + 1) if column not in used.values()]
        report_columns(path.name, used, unused, first=() if self.scheme else columns)

    def _form(self, path: Path) -> Form:
        return self.form or form_of(path)

    def _tagged(self, path: Path, problems: list[Problem], labelled: bool) -> Iterator[_Sentence]:
        """All sentences. One that cannot be read has no words; its problem is added."""
        form = self._form(path)
        if self.features and form not in WITH_COLUMNS:
            message = f"is read as {form}, which has no columns, and {column_names(self.features)} should be read too"
            raise DataError(Problem(str(path), message, "give files of columns, or CoNLL-U"))
        if form == "parallel" and not labelled:
            for line in numbered(files_of(path)[0], flaws=True):
                words = [] if line.flaw else line.text.split()
                if not words:
                    problems.append(Problem(f"{path}:{line.number}", line.flaw or "is blank"))
                yield _Sentence(words, None, [line.number])
        elif form == "parallel":
            for words, tags, number in parallel_sentences(path):
                lines = [number] * len(words)
                yield _Sentence(self._without_prefix(words, path, lines, problems), tags, lines)
        elif form in ("jsonl", "json"):
            for sentence in json_sentences(path, form, self.scheme, self.tokenizer, labelled):
                if isinstance(sentence.words, Flaw):
                    problems.append(Problem(f"{path}:{sentence.place}", sentence.words.what))
                    yield _Sentence([], None, [sentence.place])
                    continue
                places = [sentence.place] * len(sentence.words)
                words = self._without_prefix(sentence.words, path, places, problems)
                yield _Sentence(words, sentence.tags if labelled else None, places, sentence.given)
        else:
            for rows in self._sentences(path):
                lines = [row.number for row in rows]
                columns = self._read_columns(path, rows, problems, labelled)
                words, tags, *features = columns if columns is not None else ([], [])
                words = self._without_prefix(words, path, lines, problems)
                yield _Sentence(words, tags if labelled else None, lines, None, list(zip(*features, strict=True)))

    def _without_prefix(
        self, words: list[str], path: Path, lines: Sequence[int | str], problems: list[Problem]
    ) -> list[str]:
        """Words without the prefix; none of them if one does not have it, which is a problem."""
        if not self.prefix:
            return words
        for word, line in zip(words, lines, strict=False):
            if not word.startswith(self.prefix) or word == self.prefix:
                message = f"the word {word!r} is not {self.prefix!r} and more"
                problems.append(Problem(f"{path}:{line}", message, "check `prefix`"))
                return []
        return [word.removeprefix(self.prefix) for word in words]

    def _raise_if_scheme_differs(self, path: Path, problem: Problem) -> None:
        """Raises a DataError of one line if the tags of the whole file follow another scheme."""
        ignored: list[Problem] = []
        sentences = replace(self, scheme=None)._tagged(path, ignored, True)
        fitting = fitting_scheme(sentence.tags for sentence in sentences if sentence.tags)
        if self.scheme is not None and not ignored and fitting not in (None, self.scheme):
            raise DataError(Problem(problem.where, problem.what, f"all tags of the file fit `scheme: {fitting}`"))

    def _read_columns(
        self, path: Path, rows: list[Line], problems: list[Problem], labelled: bool
    ) -> list[list[str]] | None:
        """The words of a sentence, its tags (the words again if they are not read) and each feature; None after a
        problem."""
        is_conllu = self._form(path) == "conllu"
        width = len(self._columns(rows[0].text, is_conllu))
        options = ["separator", "word_column", "tag_column", *["features"] * bool(self.features)]
        hint = f"check {', '.join(options[:-1])} and {options[-1]}"
        try:
            indices = self._indices(width, is_conllu, labelled=labelled)
        except ValueError as error:
            is_known = labelled and any(problem.what == str(error) for problem in problems)
            if not (is_known and _NO_COLUMN in str(error)):  # the same of each sentence is said once
                problems.append(Problem(f"{path}:{rows[0].number}", str(error), hint))
            return None
        cells: list[list[str]] = []
        for row in rows:
            where = f"{path}:{row.number}"
            columns = self._columns(row.text, is_conllu)
            if len(columns) != width:
                reason = f"has {len(columns)} columns, but line {rows[0].number} of the same sentence has {width}"
                problems.append(Problem(where, reason))
                return None
            empty = next(
                (name for name, index in zip(self._names, indices, strict=True) if not columns[index].strip()), None
            )
            if empty is not None:
                problems.append(Problem(where, f"the {empty} is empty", hint))
                return None
            cells.append([columns[column] for column in indices])
        return [list(column) for column in zip(*cells, strict=True)]

    @property
    def _names(self) -> list[str]:
        """What the columns that are read are called."""
        return ["word", "tag", *["feature"] * len(self.features)]

    def _indices(self, width: int, is_conllu: bool, *, labelled: bool) -> list[int]:
        """The columns that are read, from 0; that of the word again instead of that of the tag if tags are not read.

        Raises:
            ValueError: a line does not have one, or two are the same.
        """
        word = self.word or (2 if is_conllu else 1)
        tag = (self.tag or (4 if is_conllu else -1)) if labelled else word
        names_of: dict[int, str] = {}
        indices = []
        for name, column in zip(self._names, (word, tag, *self.features), strict=True):
            index = _column_index(name, column, width)
            if index in names_of and (labelled or name != "tag"):
                raise ValueError(f"has {width} columns, so {names_of[index]} and {name} are in the same column")
            names_of.setdefault(index, name)
            indices.append(index)
        return indices

    def _example(self, path: Path, sentence: _Sentence, problems: list[Problem]) -> Example | None:
        """A sentence whose tags follow the scheme; None after a problem."""
        tags, lines = sentence.tags, sentence.places
        id = f"{path.name}:{lines[0]}"
        if tags is None:
            return Example(sentence.steps, None, id, sentence.given)
        scheme = base_scheme(self.scheme)
        try:
            tags = rename_letters(tags, self.scheme)
        except ValueError as error:
            step = next(step for step, tag in enumerate(tags) if repr(tag) in str(error))
            problems.append(Problem(f"{path}:{lines[step]}", str(error), "set scheme to that of the file"))
            return None
        if scheme and self.repair:
            with suppress(ValueError):  # a tag that the scheme does not have cannot be corrected
                corrected = mend(tags, scheme)
                if corrected != tags:
                    report_changed("sentence whose tags break the scheme, corrected (repair)", id)
                tags = corrected
        if scheme and (wrong := fault(tags, scheme)):
            hint = "" if self.repair else "set scheme to that of the file, or correct such tags with `repair: true`"
            problems.append(Problem(f"{path}:{lines[wrong[0]]}", wrong[1], hint))
            return None
        return Example(sentence.steps, tags, id, sentence.given)

    def parse_tags(self, tags: Any) -> Any:
        """Tags that are not from a file, as they are read from one. Raises ValueError if they break the scheme."""
        if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"should be a list of tags, but is {tags!r}"[:100])
        scheme = base_scheme(self.scheme)
        renamed = rename_letters(tags, self.scheme)
        if scheme and self.repair:
            with suppress(ValueError):
                renamed = mend(renamed, scheme)
        if scheme and (wrong := fault(renamed, scheme)):
            raise ValueError(f"breaks the scheme at step {wrong[0] + 1}: {wrong[1]}")
        return renamed

    def _columns(self, text: str, is_conllu: bool) -> list[str]:
        if is_conllu:
            return text.split("\t")
        if self.separator == "blanks":
            return re.split("[ \t]+", text.strip(" \t"))
        return text.split("\t" if self.separator == "tab" else " ")


def column_names(features: Sequence[int]) -> str:
    """The columns of these features in a message."""
    return f"column{'s' * (len(features) > 1)} {', '.join(map(str, features))} (features)"


def _column_index(name: str, column: int, width: int) -> int:
    """The index of a column from 0. Raises ValueError if the line does not have it."""
    index = column - 1 if column > 0 else width + column
    if not 0 <= index < width:
        raise ValueError(f"has {width} columns, so {_NO_COLUMN} {column} for the {name}")
    return index
