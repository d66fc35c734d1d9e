"""Where texts with labels come from: the generator, published data, the user's files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, Shard, UsageError, fetch, readers
from seqkit.reading import collect_reports, report_columns, report_split_rule
from seqkit_sentiment import generator

SUFFIXES = (*readers.TABLE_SUFFIXES, ".zip", "")

_PUBLISHED = "by file, as published"


@final
@dataclass(frozen=True)
class Source:
    """Examples of text and label.

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


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Reviews from the generator; `sizes` are the numbers of reviews of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        report_split_rule("by a hash of the generated text: no text is in two splits")
        for number, (text, verdict) in enumerate(generator.reviews(split, counts[split], seed=seed), 1):
            yield Example(text, verdict, f"generated {split}:{number}")

    return Source(read, about={"dataset": "generated film reviews", "sizes": counts, "seed": seed})


_SST2_URL = (
    "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification"
    "/457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2"
)
SST2 = Dataset(
    "sentiment/sst2",
    (
        File(
            "train.tsv",
            f"{_SST2_URL}/train.tsv",
            "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
            720_259,
        ),
        File(
            "dev.tsv",
            f"{_SST2_URL}/dev.tsv",
            "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
            92_057,
        ),
        File(
            "test.tsv",
            f"{_SST2_URL}/test.tsv",
            "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
            188_749,
        ),
    ),
    licence="not stated by its authors; used widely for research",
    about="Stanford Sentiment Treebank, sentences, two classes (Socher et al., EMNLP 2013)",
)


def sst2() -> Source:
    """SST-2, whole sentences only; its labels 0 and 1 are called negative and positive."""
    names = {"0": "negative", "1": "positive"}

    def read(split: str) -> Iterator[Example]:
        report_split_rule(_PUBLISHED)
        return _rename_labels(readers.tsv(fetch(SST2) / f"{split}.tsv"), names)

    return Source(read, files=lambda split: [fetch(SST2) / f"{split}.tsv"], about=_facts(SST2))


_TWEETEVAL_URL = (
    "https://raw.githubusercontent.com/cardiffnlp/tweeteval/4fbd22cd78421f05b1ecdb4fc5725bc7a7bd8f66/datasets/emotion"
)
TWEETEVAL_EMOTION = Dataset(
    "sentiment/tweeteval_emotion",
    tuple(
        File(name, f"{_TWEETEVAL_URL}/{name}", sha256, size)
        for name, size, sha256 in (
            ("mapping.txt", 34, "656dea85d149716af96206ca19bec0d94e9dc6de3f5079f5c7c2a241ec76cadb"),
            ("train_text.txt", 306_630, "2c62f67aeb3eac1aea0e5a9c3d0f4bc337992581f3f858061786a1fb4d79d95e"),
            ("train_labels.txt", 6_514, "987e767d8679e18abdf7de37a6d2bcd0a40a296ddd704e8d515cf0e3033c8d9c"),
            ("val_text.txt", 34_556, "e2e30c86b8cbb97944d6543aedc06eace3bb275cb2f381aba787b838b4f23ca5"),
            ("val_labels.txt", 748, "313730630160b7e0a6b4235b800c76683f4aeeb72d094eb69646630cd5cfe338"),
            ("test_text.txt", 132_523, "7e1070f5d3e3fcece5bc73680bff9981e90d8f7b2f1009bfe7a01d059d1c6091"),
            ("test_labels.txt", 2_842, "245072348c711961785be6d395997f97cf7fcda3effeae7805664171dc75f913"),
        )
    ),
    licence="TweetEval is released without restrictions of its own; Twitter's terms apply to the tweets",
    about="emotion of tweets, four classes (SemEval-2018 task 1, in the form of TweetEval, Barbieri et al. 2020)",
)


def tweeteval_emotion() -> Source:
    """Tweets and labels from parallel files; `mapping.txt` has the names of the labels' numbers."""

    def files(split: str) -> list[Path]:
        folder, name = fetch(TWEETEVAL_EMOTION), "val" if split == "dev" else split
        return [folder / f"{name}_text.txt", folder / f"{name}_labels.txt", folder / "mapping.txt"]

    def read(split: str) -> Iterator[Example]:
        report_split_rule(_PUBLISHED)
        texts, labels, mapping = files(split)
        names = {str(row.input): str(row.target) for row in readers.tsv(mapping)}
        return _rename_labels(readers.parallel(texts, labels), names)

    return Source(read, files=files, about=_facts(TWEETEVAL_EMOTION))


@final
@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the user's files of texts and labels; a column that is None is the reader's default.

    Attributes:
        text: the column or key of the text.
        label: that of the label.
        group: that of the group, by which the data are split; None: there is none.
        header: whether the first line of a table names the columns.
        skip_blank: leave out blank lines.
        layout: the format of the files.
        label_separator: between several labels of one text; None: a text has one label.
        label_folder: which folder names the class, in a folder of files; see `readers.folder_per_class`.
    """

    text: str | int | None = None
    label: str | int | None = None
    group: str | int | None = None
    header: bool | None = None
    skip_blank: bool = False
    layout: readers.TableFormat = field(default_factory=readers.TableFormat)
    label_separator: str | None = None
    label_folder: int = 1

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[Example]:
        """The examples of a file, or of a folder with a folder for each class. Labels that are integers become text.

        Args:
            path: the file or folder; `texts|labels` are two parallel files.
            labelled: False: labels are not read, and a row that cannot be read is a `Flaw`.
        """
        if is_class_folder(path):
            examples = readers.folder_per_class(path, level=self.label_folder, encoding=self.layout.encoding)
        elif len(paths := files_of(path)) == 2:
            examples = readers.parallel(*paths)
        else:
            examples = self._table(path, self.label, labelled=labelled)
        for example in examples:
            target = example.target
            if isinstance(target, int) and not isinstance(target, bool):
                example = replace(example, target=str(target))
            if self.label_separator is not None:
                example = _with_list(readers.split_cell(example, self.label_separator))
            yield example

    def groups(self, path: Path) -> list[str]:
        """The group of each example of a file, in the same order. Of what is reported, only the column is kept."""
        if len(files_of(path)) == 2:
            raise UsageError("split_by: group: parallel files have no column that could be the group")
        with collect_reports() as reading:
            if is_class_folder(path):
                return [PurePosixPath(example.id).parent.name for example in self.read(path)]
            groups = [str(example.target) for example in self._table(path, self.group)]
        for name, table in reading.tables.items():
            others = [*table.unused, *(column for side, column in table.used.items() if side != "target")]
            report_columns(name, {"group": table.used["target"]}, others, header=table.header)
        return groups

    def _table(self, path: Path, target: str | int | None, *, labelled: bool = True) -> Iterator[Example]:
        header = self.header
        if header is None and any(isinstance(column, str) for column in (self.text, self.label, self.group)):
            header = True if self.layout.of(path) in ("tsv", "csv") else None
        return readers.table(
            path,
            input=self.text,
            target=target,
            labelled=labelled,
            header=header,
            skip_blank=self.skip_blank and labelled,
            flaws=not labelled,
            layout=self.layout,
        )

    def check(self, name: str) -> None:
        """Raises UsageError if files of this name do not have such columns."""
        form = self.layout.of_name(name)
        if form in ("jsonl", "json") and self.header is not None:
            raise UsageError(f"header: JSON lines have keys, not a header; leave it out for '{name}'")
        for option, column in (("text", self.text), ("label", self.label), ("group", self.group)):
            if form in ("jsonl", "json") and isinstance(column, int):
                raise UsageError(f"{option}: {column}: JSON lines have keys, not columns; name the key for '{name}'")
            if isinstance(column, str) and self.header is False and form not in ("jsonl", "json", "parquet"):
                raise UsageError(f"{option}: '{column}' is a name, but header: false means that columns have none")


def files_of(path: Path) -> list[Path]:
    """A file, or the two parallel files of a name such as `seq.in|label`."""
    first, sign, second = path.name.partition("|")
    if not sign:
        return [path]
    return [path.parent / first, path.parent / second]


def _with_list(example: Example) -> Example:
    """An example whose target is a list of labels; one label alone, as fastText has it, is a list of one."""
    return replace(example, target=[example.target]) if isinstance(example.target, str) else example


def folder(
    path: Path, names: Mapping[str, readers.FileNames | None], reader: TableReader, share_split: readers.ShareSplit
) -> Source:
    """A folder of the user's files.

    Args:
        path: the folder.
        names: the file (or folder of classes) of each split; None: there is none. Then part of train is that split.
        reader: reads the files.
        share_split: which shares of train are dev and test, where they have no file of their own.

    Raises:
        UsageError: a column that the files cannot have.
    """
    for name in itertools.chain.from_iterable(map(readers.each_name, names.values())):
        reader.check(name)
    named = {split for split, name in names.items() if name is not None}
    division = replace(
        share_split,
        dev=0.0 if "dev" in named else share_split.dev,
        test=0.0 if "test" in named else share_split.test,
    )
    splits = tuple(split for split in ("train", "dev", "test") if split in named or split in division.names)

    def shards(split: str) -> list[Path]:
        own_names = names[split if split in named else "train"] or ""
        return readers.shard_files(path, own_names, split, suffixes=readers.TABLE_SUFFIXES)

    def grouped(paths: Sequence[Path], names: Sequence[str] | None) -> Iterator[tuple[Example, str]]:
        examples = readers.read_shards(paths, reader.read, names)
        if division.by != "group":
            return ((example, "") for example in examples)
        return zip(examples, (group for file_path in paths for group in reader.groups(file_path)), strict=True)

    def is_divided(split: str) -> bool:
        return bool(division.names) and (split not in named or split == "train")

    def read(split: str, paths: Sequence[Path] | None = None, names: Sequence[str] | None = None) -> Iterator[Example]:
        paths = shards(split) if paths is None else paths
        if not is_divided(split):
            report_split_rule("by file")
            return readers.read_shards(paths, reader.read, names)
        return division.divide(lambda: grouped(paths, names), split)

    def files_of_shard(shard: Path) -> list[Path]:
        return readers.list_files(shard) if shard.is_dir() else files_of(shard)

    def files(split: str) -> list[Path]:
        return [file for shard in shards(split) for file in files_of_shard(shard)]

    def parts(split: str) -> list[Shard]:
        if is_divided(split) and division.by != "input":
            return []  # all examples decide together which of them are in a split
        return readers.as_shards(shards(split), lambda paths, names: read(split, paths, names), files_of_shard)

    about: dict[str, Any] = {"dataset": str(path), "files": readers.plain_names(names)}
    if division.names == ("dev",) and division.by == "input":
        about["dev"] = f"{division.dev:.4g} of {readers.shown_names(names['train'])}, chosen by a hash of the text"
    elif division.names:
        about["splits"] = division.rule()
    return Source(read, splits, files, about, parts)


def _is_there(folder: Path, names: readers.FileNames | None) -> bool:
    """Whether a folder has a file of one of these names, or one that matches one of these patterns."""
    return any(any(folder.glob(side)) for name in readers.each_name(names) for side in name.split("|"))


def is_class_folder(path: Path) -> bool:
    """Whether this is a folder of files of text, or a zip archive of it."""
    return path.is_dir() or path.suffix.lower() == ".zip"


def read_other(
    path: Path,
    split: str | None,
    labelled: bool,
    names: Mapping[str, readers.FileNames | None],
    reader: TableReader,
    share_split: readers.ShareSplit,
) -> Iterable[Example]:
    """The examples of a file, of a folder of classes, or of a split (test, if the user did not say) of another folder
    with such files.

    Raises:
        DataError: there is no such file.
        UsageError: the folder has no such split, the file cannot have the columns, or a split is asked for of a file.
    """
    if not path.is_dir() or not any(_is_there(path, name) for name in names.values()):
        if not all(item.exists() for item in files_of(path)):
            raise MissingFile(path)
        if split is not None:
            raise UsageError(f"--split: {path} is no folder with a file for each split; all of it is scored")
        reader.check(path.name)
        return reader.read(path, labelled=labelled)
    source = folder(path, names, reader, share_split)
    if (split or "test") not in source.splits:
        raise UsageError(f"{path}: the recipe names no file for {split or 'test'}; give the file itself")
    return source.read(split or "test")


def text_of(text: Any) -> str:
    """A text, or a list of words, as the text by which it is assigned to a split."""
    words = text if isinstance(text, str) else " ".join(map(str, text)) if isinstance(text, list) else str(text)
    return words.strip()


def _rename_labels(examples: Iterable[Example], names: Mapping[str, str]) -> Iterator[Example]:
    for example in examples:
        if example.target not in names:
            reason = f"the label {example.target!r} is none of {', '.join(names)}"
            raise DataError(Problem(example.id, reason))
        yield replace(example, target=names[example.target])


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
