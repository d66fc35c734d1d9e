"""Where sentences with tags come from: the generator, published data, the user's CoNLL files."""

from __future__ import annotations

import hashlib
import itertools
import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, final

from seqkit import DataError, Dataset, Example, File, Flaw, MissingFile, Problem, Shard, UsageError, fetch
from seqkit.readers import FileNames, Line, as_shards, numbered, plain_names, read_shards, shard_files, shown_names
from seqkit.reading import report_changed, report_columns, report_left_out, report_split_rule
from seqkit.spans import fault, mend, type_of
from seqkit_ner import generator
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
from seqkit_ner.options import DataScheme, DataSource, Form, Separator, WordTokenizer

DOCUMENT = "-DOCSTART-"
"""Begins a line between documents; such a line is not a word."""
_PROBLEMS_SHOWN = 20
_WITH_COLUMNS: Final = ("columns", "conllu")
"""Formats of files that have columns."""


@final
@dataclass(frozen=True)
class Source:
    """Sentences with tags.

    Attributes:
        read: gives the examples of a split.
        splits: the splits of this source.
        files: gives the files that a split is read from; None: there are none.
        about: facts for the run folder.
        shards: the files of a split that can be read one by one.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    shards: Callable[[str], Sequence[Shard]] | None = None


def named(name: DataSource, sizes: tuple[int, int, int], seed: int, features: tuple[int, ...] = ()) -> Source:
    """The source of this name; `sizes` and `seed` are for the generated sentences, `features` for files.

    Raises:
        UsageError: features of generated sentences, which have no columns.
    """
    if name == "generated":
        if features:
            raise UsageError("features: the generated sentences have no columns; give a folder, or source: conll2000")
        return generated(sizes, seed)
    return published({"ncbi-disease": NCBI_DISEASE, "wnut17": WNUT17, "conll2000": CONLL2000}[name], features)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Short news from the generator; `sizes` are the numbers of sentences of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by a hash of the generated words: no sentence is in two splits")
        for number, (words, tags) in enumerate(generator.sentences(split, counts[split], seed=seed), 1):
            yield Example(words, tags, f"generated {split}:{number}")

    return Source(read, about={"dataset": "generated news", "sizes": counts, "seed": seed})


_NCBI_URL = (
    "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016"
    "/df0df02fae6dbb87d88ffcf323b9096528f06f84/data/NCBI-disease-IOB"
)
NCBI_DISEASE = Dataset(
    "ner/ncbi_disease",
    tuple(
        File(name, f"{_NCBI_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("train.tsv", 1_137_445, "58379baf4614b8d757d93dd7a21b202849ca99f9b9d71b49185523ff5443300c"),
            ("devel.tsv", 200_352, "b4e1e7efcc2a35047bf2f3d281648357470e674f555d4a26a0049ac37d59cc61"),
            ("test.tsv", 205_664, "8f088ce45dc4746592188f9e69de3d89d87f3bb8f0ed8c4a287d018123fa148d"),
        )
    ),
    licence="CC BY 4.0 (the corpus itself is CC0)",
    about="diseases in abstracts of PubMed (Doğan, Leaman and Lu 2014), in the form of Crichton et al. 2017",
)

_WNUT_URL = "https://raw.githubusercontent.com/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
WNUT17 = Dataset(
    "ner/wnut17",
    tuple(
        File(name, f"{_WNUT_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("wnut17train.conll", 493_781, "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"),
            ("emerging.dev.conll", 114_749, "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"),
            ("emerging.test.annotated", 192_425, "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0"),
        )
    ),
    licence="CC BY 4.0",
    about="new and rare entities in tweets, comments and forums (Derczynski et al. 2017, WNUT shared task)",
)

CONLL2000 = Dataset(
    "tagging/conll2000",
    (
        File("train.txt.gz", None, "bb828b11822d90dd2189b9b2d81436f7f09f9d53cf2e3514ffc408cf90434e4f", 599_687),
        File("test.txt.gz", None, "e9b6ab142898d592b355518374e03cbca0d9678a125aee84876c7a3a6334ce5d", 136_951),
    ),
    licence="not stated (the text is the Penn Treebank's, LDC); for research",
    about="chunks of the Wall Street Journal (Tjong Kim Sang and Buchholz 2000, CoNLL-2000 shared task)",
    by_hand=(
        "train.txt and test.txt of packages/corpora/conll2000.zip at github.com/nltk/nltk_data, each compressed with "
        "gzip -n; they also work as your own (folder), packed or not"
    ),
)

_FILE_NAMES: dict[Dataset, dict[str, str]] = {
    NCBI_DISEASE: {"train": "train.tsv", "dev": "devel.tsv", "test": "test.tsv"},
    WNUT17: {"train": "wnut17train.conll", "dev": "emerging.dev.conll", "test": "emerging.test.annotated"},
    CONLL2000: {"train": "train.txt.gz", "test": "test.txt.gz"},
}
_DEV_PART = 10
"""Where a data set has no dev, the last of so many parts of train is dev."""


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
        if self.features and self.form not in (None, *_WITH_COLUMNS):
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
            return  # an error when the words are read
        names = ["feature"] if len(features) == 1 else [f"feature {letter}" for letter in string.ascii_uppercase]
        used = {"input": word, **dict(zip(names, features, strict=False)), "target": tag}
        unused = [column for column in range(1, width + 1) if column not in used.values()]
        report_columns(path.name, used, unused, first=() if self.scheme else columns)

    def _form(self, path: Path) -> Form:
        return self.form or form_of(path)

    def _tagged(self, path: Path, problems: list[Problem], labelled: bool) -> Iterator[_Sentence]:
        """All sentences. One that cannot be read has no words; its problem is added."""
        form = self._form(path)
        if self.features and form not in _WITH_COLUMNS:
            what = f"is read as {form}, which has no columns, and {column_names(self.features)} should be read too"
            raise DataError(Problem(str(path), what, "give files of columns, or CoNLL-U"))
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
        raise ValueError(f"has {width} columns, so there is no column {column} for the {name}")
    return index


def published(dataset: Dataset, features: tuple[int, ...] = ()) -> Source:
    """A published data set in its official split, in IOB2. Without a dev file, the last tenth of train is dev."""
    names = _FILE_NAMES[dataset]
    reader = ConllReader(separator="space" if dataset == CONLL2000 else "tab", features=features)

    def file(split: str) -> Path:
        return fetch(dataset) / names.get(split, names["train"])

    def read(split: str) -> Iterator[Example]:
        if split == "test" or "dev" in names:
            report_split_rule("by file, as published")
            return reader.read(file(split))
        report_split_rule("by position: the last tenth of the sentences of train is dev")
        examples = list(reader.read(file("train")))
        first_of_dev = len(examples) - len(examples) // _DEV_PART
        return iter(examples[first_of_dev:] if split == "dev" else examples[:first_of_dev])

    about = {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
    return Source(read, files=lambda split: [file(split)], about=about)


def folder(path: Path, names: Mapping[str, FileNames | None], reader: ConllReader, held_out: float) -> Source:
    """A folder of the user's files.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        reader: reads the files.
        held_out: the share of train that is dev where dev has no file.
    """
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def shards(split: str) -> list[Path]:
        own_names = names["train" if split == "dev" and not has_dev else split] or ""
        return shard_files(path, own_names, split, suffixes=SUFFIXES)

    def read(split: str, paths: Sequence[Path] | None = None, names: Sequence[str] | None = None) -> Iterator[Example]:
        examples = read_shards(shards(split) if paths is None else paths, reader.read, names)
        if split == "test" or has_dev or held_out == 0:
            report_split_rule("by file")
            return examples
        report_split_rule(rule)
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": plain_names(names)}
    rule = f"{held_out:.4g} of {shown_names(names['train'])} is dev, chosen by a hash of the words"
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {shown_names(names['train'])}, chosen by a hash of the words"

    def parts(split: str) -> list[Shard]:
        return as_shards(shards(split), lambda paths, of_paths: read(split, paths, of_paths), files_of)

    def files(split: str) -> list[Path]:
        return [file for shard in shards(split) for file in files_of(shard)]

    return Source(read, splits, files, about, parts)


SUFFIXES = (".conll", ".conllu", ".jsonl", ".json", ".iob", ".iob2", ".bio", ".bioes", ".col", ".tsv")
"""The usual names of files that the tasks read."""
SUFFIXES_OF_COLUMNS = tuple(suffix for suffix in SUFFIXES if form_of(Path(f"file{suffix}")) in _WITH_COLUMNS)
"""Those of files that have columns."""


def read_other(
    path: Path,
    split: str | None,
    labelled: bool,
    names: Mapping[str, FileNames | None],
    reader: ConllReader,
    held_out: float,
) -> Iterable[Example]:
    """The sentences of a file, or of a split (test, if the user did not say) of another folder with such files.

    Raises:
        DataError: there is no such file.
        UsageError: the folder has no such split, or a split is asked for of a file.
    """
    if not path.is_dir():
        if not all(item.exists() for item in files_of(path)):
            raise MissingFile(path)
        if split is not None:
            raise UsageError(f"--split: {path} is no folder with a file for each split; all of it is scored")
        return reader.read(path, labelled=labelled)
    source = folder(path, names, reader, held_out)
    if (split or "test") not in source.splits:
        raise UsageError(f"{path}: the recipe names no file for {split or 'test'}; give the file itself")
    return source.read(split or "test")


def is_held_out(steps: Sequence[Any], share: float) -> bool:
    """Whether a sentence of train is dev. It depends on the words alone, so repeats of a sentence are in one split."""
    words = [step if isinstance(step, str) else step[0] for step in steps]
    digest = hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
