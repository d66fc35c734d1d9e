"""Where sequences with classes come from: the generator, published data, files of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, final

from seqkit import DataError, Dataset, Example, File, Problem, UsageError, fetch, readers
from seqkit_genome import generator, reading
from seqkit_genome.alphabet import Gaps
from seqkit_genome.folds import Alike, Folds

Format: TypeAlias = Literal["auto", "fasta", "fastq", "csv", "tsv", "uci"]
Given: TypeAlias = Path | Mapping[str, Path]
"""One file, or one file a class."""

SUFFIXES: Final[dict[str, Format]] = {
    ".fa": "fasta", ".fasta": "fasta", ".fna": "fasta", ".ffn": "fasta", ".frn": "fasta", ".fas": "fasta",
    ".fq": "fastq", ".fastq": "fastq", ".csv": "csv", ".tsv": "tsv", ".data": "uci",
}  # fmt: skip


class Source(Protocol):
    """Examples of sequence and class."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that there are."""

    def read(self, split: str) -> Iterable[Example]:
        """Its examples."""

    def files(self, split: str) -> Sequence[Path]:
        """The files behind it; empty: there are none."""

    def notes(self) -> Sequence[str]:
        """What there is to know of the examples."""


@final
@dataclass(frozen=True)
class Generated:
    """Windows drawn from matrices: see `seqkit_genome.generator`."""

    signal: generator.Signal
    sizes: tuple[int, int, int]
    seed: int
    splits: tuple[str, ...] = ("train", "dev", "test")

    def read(self, split: str) -> Iterator[Example]:
        count = self.sizes[self.splits.index(split)]
        windows = generator.windows(self.signal, split, count, seed=self.seed)
        return (Example(text, label, f"generated {split}:{i}") for i, (text, label) in enumerate(windows, 1))

    def files(self, split: str) -> Sequence[Path]:
        return ()

    def notes(self) -> Sequence[str]:
        return ()


@final
@dataclass(frozen=True)
class Reading:
    """How a file of sequences is read; see `seqkit_genome.genome` for what the options mean."""

    format: Format = "auto"
    sequence: str | int | None = None
    label: str | int | None = None
    header: bool | None = None
    pattern: str | None = None
    gaps: Gaps = "refuse"
    names: reading.Names = "refuse"

    def read(self, path: Path, label: str | None) -> Iterator[Example]:
        """The examples of a file, all of them of this class if one is given."""
        form = self.form(path.name)
        if form in ("fasta", "fastq"):
            yield from self._records(path, label, form)
            return
        examples = _uci(path) if form == "uci" else self._table(path, form, label is None)
        for example in examples:
            yield example if label is None else replace(example, target=label)

    def form(self, name: str) -> Format:
        """The format of a file of this name. Raises UsageError where that is not to be seen."""
        if self.format != "auto":
            return self.format
        suffix = Path(name.removesuffix(".gz")).suffix.lower()
        if suffix not in SUFFIXES:
            raise UsageError(f"'{name}': the name does not say the format; set `format`, or end it in {_listed()}")
        return SUFFIXES[suffix]

    def check(self, name: str, one_class: bool) -> None:
        """Raises UsageError where the classes of a file of this name could not be known, or not with these options."""
        form = self.form(name)
        if form in ("fasta", "fastq") and not one_class and self.pattern is None:
            what = f"'{name}': where is the class? give one file a class ({{NAME: file, ...}}), or set `pattern`"
            raise UsageError(what)
        for option, column in (("sequence", self.sequence), ("label", self.label)):
            if column is not None and form not in ("csv", "tsv"):
                raise UsageError(f"{option}: '{name}' is {form.upper()} and has no columns to choose")
            if isinstance(column, str) and self.header is False:
                raise UsageError(f"{option}: '{column}' is a name, but header: false says that there are none")

    def _records(self, path: Path, label: str | None, form: str) -> Iterator[Example]:
        reader = reading.fasta if form == "fasta" else reading.fastq
        pattern = None if self.pattern is None or label is not None else re.compile(self.pattern)
        for record in reader(path, gaps=self.gaps, names=self.names):
            where = f"{path.name}:{record.line}"
            found = label
            if pattern is not None:
                match = pattern.search(record.title)
                if match is None or not match["label"]:
                    what = f"the pattern finds no class in the header '{record.title[:80]}'"
                    raise DataError(Problem(f"{path}:{record.line}", what))
                found = match["label"]
            yield Example(record.sequence, found, where)

    def _table(self, path: Path, form: str, labelled: bool) -> Iterator[Example]:
        label = (self.label or 2) if labelled else None
        if form == "csv":
            return readers.csv(path, input=self.sequence or 1, target=label, header=self.header, skip_blank=True)
        return readers.tsv(path, input=self.sequence or 1, target=label, header=self.header, skip_blank=True)


def _uci(path: Path) -> Iterator[Example]:
    """Lines of `class, name, sequence`, blanks and tabs around each of them."""
    for line in readers.numbered(path):
        if not line.text.strip():
            continue
        fields = [each.strip() for each in line.text.split(",")]
        if len(fields) != 3:
            what = f"has {len(fields)} fields; class, name and sequence are wanted"
            raise DataError(Problem(f"{path}:{line.number}", what))
        yield Example(fields[2], fields[0], f"{path.name}:{line.number}")


@final
@dataclass(frozen=True)
class Part:
    """Some files that belong together, each with the class of all its sequences, or None where each says its own."""

    find: Callable[[], Sequence[tuple[Path, str | None]]]
    reading: Reading

    def read(self) -> Iterator[Example]:
        for path, label in self.find():
            yield from self.reading.read(path, label)

    def files(self) -> list[Path]:
        return [path for path, _ in self.find()]


@final
@dataclass(frozen=True)
class Files:
    """Sequences from files, split as they are or by hash.

    Attributes:
        parts: those that have files of their own.
        alike: when two sequences are the same.
        held_out: the share of train that is dev, where dev has no files.
        folds: how many folds train is dealt out to, or None.
        fold: which of them is test.
    """

    parts: Mapping[str, Part]
    alike: Alike
    held_out: float
    folds: int | None = None
    fold: int = 0

    @property
    def splits(self) -> tuple[str, ...]:
        dev = "dev" in self.parts or self.held_out > 0
        test = "test" in self.parts or self.folds is not None
        return ("train", *(("dev",) if dev else ()), *(("test",) if test else ()))

    def read(self, split: str) -> Iterator[Example]:
        if split in self.parts and split != "train" and self.folds is None:
            return self.parts[split].read()
        return (example for example in self.parts["train"].read() if self._split_of(example.input) == split)

    def files(self, split: str) -> Sequence[Path]:
        return self.parts[split if split in self.parts and self.folds is None else "train"].files()

    def notes(self) -> Sequence[str]:
        return () if self.folds is None else self._dealt.notes

    def _split_of(self, sequence: Any) -> str:
        """Where a sequence of train's files belongs."""
        if self.folds is not None and self._dealt.of(sequence) == self.fold:
            return "test"
        return "dev" if "dev" not in self.parts and self.alike.held_out(sequence, self.held_out) else "train"

    @cached_property
    def _dealt(self) -> Folds:
        assert self.folds is not None
        return Folds.deal(self.parts["train"].read(), self.folds, self.alike)


def given(parts: Mapping[str, Given | None], how: Reading, alike: Alike, held_out: float) -> Files:
    """Files of the user's: for each split one file, one file a class, or None.

    Raises:
        UsageError: the classes of a file cannot be known.
    """
    found = {}
    for split, what in parts.items():
        if what is None:
            continue
        files = [(path, label) for label, path in what.items()] if isinstance(what, Mapping) else [(what, None)]
        for path, label in files:
            how.check(path.name, label is not None)
        found[split] = Part(_checked(files, split), how)
    return Files(found, alike, held_out)


def _checked(files: Sequence[tuple[Path, str | None]], split: str) -> Callable[[], Sequence[tuple[Path, str | None]]]:
    def find() -> Sequence[tuple[Path, str | None]]:
        for path, _ in files:
            if not path.is_file():
                raise DataError(Problem(str(path), "there is no such file", f"`{split}` names it"))
        return files

    return find


def _listed() -> str:
    return f"{', '.join(SUFFIXES)} (or one of them and .gz)"


# Published data

_SPLICE_AT = (
    "https://raw.githubusercontent.com/drusk/splice-junction-gene-sequences/e862a929e3d82a881bb7abc8e0ffba3f68cf9a8c"
)
SPLICE = Dataset(
    "genome/splice_junction",
    (
        File(
            "splice.data",
            f"{_SPLICE_AT}/data/splice.data",
            "ebbae10c85d3c285e2a2489a37e42bc2ee8d91d15005e391a9962fa3389a114f",
            319_000,
        ),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="Molecular Biology (Splice-junction Gene Sequences) of UCI: 3,190 windows of 60 bases of primates, classes "
    "EI, IE and N (Towell, Noordewier and Shavlik 1991)",
)
_PROMOTERS_AT = (
    "https://raw.githubusercontent.com/farhan-137/dna-promoter-classifier/585478d4bcbeb8a6293f777d9d1abfae91c6db59"
)
PROMOTERS = Dataset(
    "genome/promoters",
    (
        File(
            "promoters.data",
            f"{_PROMOTERS_AT}/data/promoters.data",
            "9cba9e8661ab04760d69b857f62259233446f2dce5ec9b515efe0b23c315bb29",
            7_089,
        ),
    ),
    licence="CC BY 4.0 (UCI Machine Learning Repository)",
    about="Molecular Biology (Promoter Gene Sequences) of UCI: 106 windows of 57 bases of E. coli, promoter or not "
    "(Harley and Reynolds 1987, Towell et al. 1990)",
)
_ENHANCERS_AT = (
    "https://raw.githubusercontent.com/YangHuan639/iEnhancer-RD/809aeccdaeb05c7b69e0938d49cceec2ce4a97f0/dataset"
)
ENHANCERS = Dataset(
    "genome/enhancers",
    tuple(
        File(name, f"{_ENHANCERS_AT}/{name}", sha256, size)
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


def published(name: str, alike: Alike, held_out: float, gaps: Gaps) -> tuple[Files, Dataset]:
    """A public data set: its parts, and what it is."""
    if name in _ENHANCER_TASKS:
        # Headers of the test files repeat their first words.
        how = Reading("fasta", gaps=gaps, names="allow")
        parts = {split: Part(_enhancers(name, letter), how) for split, letter in (("train", "B"), ("test", "I"))}
        return Files(parts, alike, held_out), ENHANCERS
    dataset = SPLICE if name == "splice-junction" else PROMOTERS

    def find() -> list[tuple[Path, str | None]]:
        return [(fetch(dataset) / dataset.files[0].path, None)]

    return Files({"train": Part(find, Reading("uci"))}, alike, held_out), dataset


def _enhancers(name: str, letter: str) -> Callable[[], list[tuple[Path, str | None]]]:
    def find() -> list[tuple[Path, str | None]]:
        folder = fetch(ENHANCERS)
        return [(folder / f"{letter}_{kind}Enhancer.txt", label) for kind, label in _ENHANCER_TASKS[name].items()]

    return find
