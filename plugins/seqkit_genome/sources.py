"""Where sequences with classes come from: the generator, published data, the user's files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, UsageError, fetch, readers
from seqkit.reading import collect_reports, report_columns, report_left_out, report_remark, report_split_rule
from seqkit_genome import alphabet, fasta, generator
from seqkit_genome.options import Format, Gaps, Names, Signal
from seqkit_genome.splits import Folds, SequenceIdentity

FileOrFiles: TypeAlias = Path | Mapping[str, Path]
"""One file, or one file for each class."""

SUFFIXES: Final[dict[str, Format]] = {
    ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta", ".ffn": "fasta", ".frn": "fasta", ".fas": "fasta",
    ".fq": "fastq", ".fastq": "fastq", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl",
    ".json": "json", ".parquet": "parquet", ".data": "uci",
}  # fmt: skip


_TABLES: Final = ("csv", "tsv", "jsonl", "json", "parquet")
_LETTERS: Final = frozenset("ACGTUNRYSWKMBDHV-.*")
"""Letters of nucleotides, and of gaps: a field of a table with any other is no sequence."""


_TITLE: Final = re.compile("[A-Z]?[DR]NA")
"""A title of a column of sequences that has letters of nucleotides only: DNA, RNA, cDNA, mRNA."""


class Source(Protocol):
    """Examples of sequence and class."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of this source."""

    def read(self, split: str) -> Iterable[Example]:
        """The examples of a split."""

    def files(self, split: str) -> Sequence[Path]:
        """The files that a split is read from; empty: none."""

    def notes(self) -> Sequence[str]:
        """Remarks about the examples, for the log."""


@final
@dataclass(frozen=True)
class GeneratedSource:
    """Windows drawn from matrices: see `seqkit_genome.generator`."""

    signal: Signal
    sizes: tuple[int, int, int]
    seed: int
    splits: tuple[str, ...] = ("train", "dev", "test")

    def read(self, split: str) -> Iterator[Example]:
        count = self.sizes[self.splits.index(split)]
        report_split_rule("drawn for each split by itself")
        windows = generator.windows(self.signal, split, count, seed=self.seed)
        return (Example(text, label, f"generated {split}:{i}") for i, (text, label) in enumerate(windows, 1))

    def files(self, split: str) -> Sequence[Path]:
        return ()

    def notes(self) -> Sequence[str]:
        return ()


@final
@dataclass(frozen=True, kw_only=True)
class SequenceReader:
    """Reads files of sequences; see `seqkit_genome.genome` for the options."""

    format: Format = "auto"
    sequence: str | int | None = None
    label: str | int | None = None
    header: bool | None = None
    pattern: str | None = None
    gaps: Gaps = "refuse"
    names: Names = "refuse"
    layout: readers.TableFormat = field(default_factory=readers.TableFormat)

    def read(self, path: Path, label: str | None) -> Iterator[Example]:
        """The examples of a file, all of class `label` unless it is None."""
        for example in self._read(path, label):
            if self.gaps == "remove" and isinstance(example.input, str):
                count = sum(example.input.count(gap) for gap in alphabet.GAPS)
                if count:
                    report_left_out("gap in a sequence", example.id, count)
            yield example

    def _read(self, path: Path, label: str | None) -> Iterator[Example]:
        file_format = self.format_of(path.name)
        if file_format in ("fasta", "fastq"):
            yield from self._read_records(path, label, file_format)
            return
        is_uci = file_format == "uci"
        examples = _read_uci(path) if is_uci else self._table(path, file_format, labelled=label is None)
        for example in examples:
            yield example if label is None else replace(example, target=label)

    def read_inputs(self, path: Path) -> Iterator[Example]:
        """The sequences of a file, which need no class; a row that cannot be read is a `Flaw`."""
        file_format = self.format_of(path.name)
        if file_format in ("fasta", "fastq"):
            # For predictions it is of no account that two records have one name.
            examples = replace(self, names="allow")._read_records(path, "", file_format)
        elif file_format == "uci":
            examples = _read_uci(path)
        else:
            examples = self._table(path, file_format, labelled=False, flaws=True)
        return (replace(example, target=None) for example in examples)

    def format_of(self, name: str) -> Format:
        """The format of a file of this name. Raises UsageError if the name does not tell."""
        if self.format != "auto":
            return self.format
        suffix = Path(_without_compression(name)).suffix.lower()
        if suffix not in SUFFIXES:
            known = f"{', '.join(SUFFIXES)} (or one of them and .gz, .bgz, .xz or .bz2)"
            raise UsageError(f"'{name}': the name does not tell the format; set `format`, or let it end in {known}")
        return SUFFIXES[suffix]

    def check(self, name: str, has_class: bool) -> None:
        """Check the options against a file of this name, of which the class may be known already.

        Raises:
            UsageError: the classes could not be read, or an option does not fit the format.
        """
        file_format = self.format_of(name)
        if file_format in ("fasta", "fastq") and not has_class and self.pattern is None:
            reason = f"'{name}': the class is missing; give one file for each class ({{NAME: file, ...}})"
            raise UsageError(f"{reason}, or set `pattern` to find it in the headers")
        for option, column in (("sequence", self.sequence), ("label", self.label)):
            if column is not None and file_format not in _TABLES:
                raise UsageError(f"{option}: '{name}' is {file_format.upper()} and has no columns to choose from")
            if isinstance(column, str) and self.header is False:
                raise UsageError(f"{option}: '{column}' is a name, but header: false means that columns have none")

    def _read_records(self, path: Path, label: str | None, file_format: str) -> Iterator[Example]:
        reader = fasta.read_fasta if file_format == "fasta" else fasta.read_fastq
        pattern = None if self.pattern is None or label is not None else re.compile(self.pattern)
        for record in reader(path, gaps=self.gaps, names=self.names):
            record_label = label
            if pattern is not None:
                match = pattern.search(record.title)
                if match is None or not match["label"]:
                    reason = f"the pattern finds no class in the header '{record.title[:80]}'"
                    raise DataError(Problem(f"{path}:{record.line}", reason))
                record_label = match["label"]
            yield Example(record.sequence, record_label, f"{path.name}:{record.line}")

    def _table(self, path: Path, file_format: Format, *, labelled: bool, flaws: bool = False) -> Iterator[Example]:
        """The rows of a table, of JSON or of Parquet; `flaws`: those that cannot be read are a `Flaw`."""
        header = self._has_header(path, file_format)
        return self._rows(path, file_format, labelled=labelled, header=header, flaws=flaws)

    def _rows(
        self, path: Path, file_format: Format, *, labelled: bool, header: bool | None, flaws: bool = False
    ) -> Iterator[Example]:
        form: Any = file_format
        return readers.table(
            path,
            input=self.sequence,
            target=self.label,
            names=("sequence", "label"),
            labelled=labelled,
            header=header,
            skip_blank=not flaws,
            flaws=flaws,
            layout=replace(self.layout, format=form),
        )

    def _has_header(self, path: Path, file_format: Format) -> bool | None:
        """Whether the first line of a table names its columns: as the options say, else if it holds no sequence."""
        if self.header is not None or file_format not in ("csv", "tsv"):
            return self.header
        if isinstance(self.sequence, str) or isinstance(self.label, str):
            return True
        with collect_reports():  # this look at the first line is not what the run reads
            first = next(iter(self._rows(path, file_format, labelled=False, header=False)))
        text = str(first.input).strip().upper()
        if set(text) <= _LETTERS and not _TITLE.fullmatch(text):
            return False
        message = f"the first line of {path.name} is taken for a header, as it holds no sequence"
        report_remark(f"{message}; `header` says it for certain")
        return True


def _without_compression(name: str) -> str:
    """A file's name without the suffix of a compression."""
    path = Path(name)
    return path.stem if path.suffix.lower() in (".gz", ".bgz", ".xz", ".bz2") else name


def _read_uci(path: Path) -> Iterator[Example]:
    """Examples from lines of `class, name, sequence`, with blanks and tabs around each of them."""
    is_reported = False
    for line in readers.numbered(path):
        if not line.text.strip():
            report_left_out("blank line", f"{path.name}:{line.number}")
            continue
        columns = [column.strip() for column in line.text.split(",")]
        if len(columns) != 3:
            reason = f"has {len(columns)} columns, but three are expected: class, name and sequence"
            raise DataError(Problem(f"{path}:{line.number}", reason))
        if not is_reported:
            report_columns(path.name, {"input": 3, "target": 1}, [2], first=columns)
            is_reported = True
        yield Example(columns[2], columns[0], f"{path.name}:{line.number}")


@final
@dataclass(frozen=True)
class FileSet:
    """Files that belong together, each with the class of all its sequences, or None if the file has the classes."""

    find: Callable[[], Sequence[tuple[Path, str | None]]]
    reader: SequenceReader
    folder: Path | None = None
    """The folder of classes that they are from, if they are."""

    def read(self) -> Iterator[Example]:
        for path, label in self.find():
            for example in self.reader.read(path, label):
                # In a folder of classes, files of different classes may have one name.
                name = path if self.folder is None else path.relative_to(self.folder)
                number = example.id.removeprefix(path.name)
                yield example if self.folder is None else replace(example, id=f"{name}{number}")

    def files(self) -> list[Path]:
        return [path for path, _ in self.find()]


def class_files(folder: Path, reader: SequenceReader) -> list[tuple[Path, str | None]]:
    """The files of sequences in a folder of classes, by name, each with its class. All other files are reported.

    The class of a file is the folders that it lies in, joined with `/`, or its own name if it lies in none.

    Raises:
        DataError: there is no such folder, or it has none.
    """
    if not folder.is_dir():
        raise MissingFile(folder)
    suffixes = tuple(SUFFIXES)
    if reader.format != "auto":
        names = [name for *_, folder_names in os.walk(folder, followlinks=True) for name in folder_names]
        suffixes = tuple({Path(_without_compression(name)).suffix.lower() for name in names})
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not any(entry.iterdir()):
            report_left_out("empty folder", entry.name)
    files: list[tuple[Path, str | None]] = []
    for path in readers.list_files(folder, suffixes):
        folders = path.relative_to(folder).parts[:-1]
        files.append((path, "/".join(folders) or Path(_without_compression(path.name)).stem))
    if not files:
        hint = "it should have a file or a folder for each class, such as enhancer.fa"
        raise DataError(Problem(str(folder), "has no file of sequences", hint))
    return files


@final
@dataclass(frozen=True)
class FileSource:
    """Sequences from files, with splits as they are, by hash, or in folds.

    Attributes:
        file_sets: the files of each split that has its own.
        identity: when two sequences are the same.
        held_out: the share of train that is dev, if dev has no files.
        folds: number of folds that train is dealt out to, or None.
        fold: the fold that is test.
    """

    file_sets: Mapping[str, FileSet]
    identity: SequenceIdentity
    held_out: float
    folds: int | None = None
    fold: int = 0

    @property
    def splits(self) -> tuple[str, ...]:
        has_dev = "dev" in self.file_sets or self.held_out > 0
        has_test = "test" in self.file_sets or self.folds is not None
        return ("train", *(("dev",) if has_dev else ()), *(("test",) if has_test else ()))

    def read(self, split: str) -> Iterator[Example]:
        report_split_rule(self._rule())
        if split in self.file_sets and split != "train" and self.folds is None:
            return self.file_sets[split].read()
        return (example for example in self.file_sets["train"].read() if self._split_of(example.input) == split)

    def files(self, split: str) -> Sequence[Path]:
        return self.file_sets[split if split in self.file_sets and self.folds is None else "train"].files()

    def notes(self) -> Sequence[str]:
        return () if self.folds is None else self._dealt_folds.notes

    def _rule(self) -> str:
        """By which rule sequences are divided, in words."""
        repeats = "a sequence, its repeats and its reverse complements are" if self.identity.strands else "repeats are"
        rules = ["by file"] if len(self.file_sets) > 1 else []
        if self.folds is not None:
            rules.append(f"fold {self.fold} of {self.folds} is test, with its share of each class")
        if "dev" not in self.file_sets and self.held_out > 0:
            rules.append(f"{self.held_out:.4g} of train is dev, chosen by a hash of the sequence")
        if rules == ["by file"]:
            return "by file"
        return "; ".join(rules) + (f" ({repeats} in one split)" if rules else "all is train")

    def _split_of(self, sequence: Any) -> str:
        """The split of a sequence from train's files."""
        if self.folds is not None and self._dealt_folds.of(sequence) == self.fold:
            return "test"
        if "dev" not in self.file_sets and self.identity.is_held_out(sequence, self.held_out):
            return "dev"
        return "train"

    @cached_property
    def _dealt_folds(self) -> Folds:
        assert self.folds is not None
        with collect_reports():  # what is passed over is reported when the splits are read
            return Folds.deal(self.file_sets["train"].read(), self.folds, self.identity)


def user_files(
    paths: Mapping[str, FileOrFiles | None], reader: SequenceReader, identity: SequenceIdentity, held_out: float
) -> FileSource:
    """The user's files: for each split one file, one file for each class, or None.

    Raises:
        UsageError: the classes of a file cannot be known.
    """
    file_sets = {}
    for split, value in paths.items():
        if value is None:
            continue
        # A name without a suffix can only be a folder; a recipe may be checked where its data are not.
        is_folder = isinstance(value, Path) and (value.is_dir() or not (value.suffix or value.is_file()))
        if isinstance(value, Path) and is_folder and (value.is_dir() or reader.format == "auto"):
            file_sets[split] = FileSet(partial(class_files, value, reader), reader, value)
            continue
        files = [(path, label) for label, path in value.items()] if isinstance(value, Mapping) else [(value, None)]
        for path, label in files:
            reader.check(path.name, label is not None)
        file_sets[split] = FileSet(_existing(files, split), reader)
    return FileSource(file_sets, identity, held_out)


def read_other(path: Path, split: str | None, labelled: bool, reader: SequenceReader) -> Iterator[Example]:
    """The examples of a file, or of a folder with one file for each class and called after it (enhancer.fa).

    Args:
        path: the file or folder.
        split: should be None: neither has splits.
        labelled: False: classes are not needed.
        reader: reads the files.

    Raises:
        DataError: there is no such file, or the folder has no files of sequences.
        UsageError: the classes of a file cannot be known, or a split is asked for.
    """
    if split is not None:
        raise UsageError(f"--split: {path} has no splits; all of it is scored")
    if path.is_dir():
        return FileSet(partial(class_files, path, reader), reader, path).read()
    if not path.exists():
        raise MissingFile(path)
    if not labelled:
        return reader.read_inputs(path)
    reader.check(path.name, False)
    return reader.read(path, None)


def _existing(files: Sequence[tuple[Path, str | None]], split: str) -> Callable[[], Sequence[tuple[Path, str | None]]]:
    """A function that gives these files, with those that match a pattern; it raises DataError if one is missing."""

    def find() -> Sequence[tuple[Path, str | None]]:
        listed: list[tuple[Path, str | None]] = []
        for path, label in files:
            if path.is_file():
                listed.append((path, label))
            elif readers.is_remote(path) or readers.is_pattern(path):
                listed += [(shard, label) for shard in readers.shard_files(path.parent, path.name, split)]
            else:
                raise MissingFile(path, "file", f"`{split}` names it")
        return listed

    return find


_SPLICE_URL = (
    "https://raw.githubusercontent.com/drusk/splice-junction-gene-sequences/e862a929e3d82a881bb7abc8e0ffba3f68cf9a8c"
)
SPLICE = Dataset(
    "genome/splice_junction",
    (
        File(
            "splice.data",
            f"{_SPLICE_URL}/data/splice.data",
            "ebbae10c85d3c285e2a2489a37e42bc2ee8d91d15005e391a9962fa3389a114f",
            319_000,
        ),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="Molecular Biology (Splice-junction Gene Sequences) of UCI: 3,190 windows of 60 bases of primates, classes "
    "EI, IE and N (Towell, Noordewier and Shavlik 1991)",
)
_PROMOTERS_URL = (
    "https://raw.githubusercontent.com/farhan-137/dna-promoter-classifier/585478d4bcbeb8a6293f777d9d1abfae91c6db59"
)
PROMOTERS = Dataset(
    "genome/promoters",
    (
        File(
            "promoters.data",
            f"{_PROMOTERS_URL}/data/promoters.data",
            "9cba9e8661ab04760d69b857f62259233446f2dce5ec9b515efe0b23c315bb29",
            7_089,
        ),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="Molecular Biology (Promoter Gene Sequences) of UCI: 106 windows of 57 bases of E. coli, promoter or not "
    "(Harley and Reynolds 1987, Towell et al. 1990)",
)
_ENHANCERS_URL = (
    "https://raw.githubusercontent.com/YangHuan639/iEnhancer-RD/809aeccdaeb05c7b69e0938d49cceec2ce4a97f0/dataset"
)
ENHANCERS = Dataset(
    "genome/enhancers",
    tuple(
        File(name, f"{_ENHANCERS_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("B_NonEnhancer.txt", 338_234, "150dbb52b489e263f43aadba03118e9dd3bf2bdcd598e3fea0aa7cddec1bc825"),
            ("B_StrongEnhancer.txt", 169_047, "366326bd1759d642c755ac0491bd13d741ec766d101fb704bf72ebb03ae4bfec"),
            ("B_WeakEnhancer.txt", 169_133, "33ba47e6566b5b2ca70e80c108b83e53fe7c9d85ff8e0e6b2ae90c76e32ea13c"),
            ("I_NonEnhancer.txt", 61_497, "18ffbfc1a61b1107dfd041c817df12c24344cf0cc1020a94c34d6ec94ffb0280"),
            ("I_StrongEnhancer.txt", 22_794, "e4a2ae6ca861bdfba7230c6b3224bd7fc20e9c0030418270a6d73565068ceea0"),
            ("I_WeakEnhancer.txt", 30_619, "dfa803e39b82f340a88302bccccf63cc009531c75f73875f6fdd41dcdbb16f5c"),
        )
    ),
    licence="not stated; sequences of the public human genome, for research",
    about="human enhancers, strong and weak, and none of 200 bases: benchmark of Liu et al. 2016 (iEnhancer-2L), "
    "independent test of Liu et al. 2018 (iEnhancer-EL)",
)
_ENHANCER_TASKS: Final = {
    "enhancers": {"Strong": "enhancer", "Weak": "enhancer", "Non": "none"},
    "enhancers-strength": {"Strong": "strong", "Weak": "weak"},
}


def published(name: str, identity: SequenceIdentity, held_out: float, gaps: Gaps) -> tuple[FileSource, Dataset]:
    """A published data set and its description."""
    if name in _ENHANCER_TASKS:
        # Headers of the test files repeat their first words.
        reader = SequenceReader(format="fasta", gaps=gaps, names="allow")
        file_sets = {
            split: FileSet(_enhancer_files(name, letter), reader) for split, letter in (("train", "B"), ("test", "I"))
        }
        return FileSource(file_sets, identity, held_out), ENHANCERS
    dataset = SPLICE if name == "splice-junction" else PROMOTERS

    def find() -> list[tuple[Path, str | None]]:
        return [(fetch(dataset) / dataset.files[0].path, None)]

    return FileSource({"train": FileSet(find, SequenceReader(format="uci"))}, identity, held_out), dataset


def _enhancer_files(name: str, letter: str) -> Callable[[], list[tuple[Path, str | None]]]:
    def find() -> list[tuple[Path, str | None]]:
        folder = fetch(ENHANCERS)
        return [(folder / f"{letter}_{kind}Enhancer.txt", label) for kind, label in _ENHANCER_TASKS[name].items()]

    return find
