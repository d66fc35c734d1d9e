"""Where texts with labels come from: the generator, published data, the user's files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, Problem, UsageError, fetch, readers
from seqkit_sentiment import generator

SUFFIXES = (".tsv", ".csv", ".jsonl")


@final
@dataclass(frozen=True)
class Source:
    """Examples of text and label.

    Attributes:
        read: gives the examples of a split.
        splits: the splits of this source.
        files: gives the files that a split is read from; None: there are none.
        about: facts for the run folder.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Reviews from the generator; `sizes` are the numbers of reviews of train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
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
        texts, labels, mapping = files(split)
        names = {str(row.input): str(row.target) for row in readers.tsv(mapping)}
        return _rename_labels(readers.parallel(texts, labels), names)

    return Source(read, files=files, about=_facts(TWEETEVAL_EMOTION))


@final
@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the user's files of texts and labels; a column that is None is the reader's default."""

    text: str | int | None = None
    label: str | int | None = None
    header: bool | None = None
    skip_blank: bool = False

    def read(self, path: Path, *, labelled: bool = True) -> Iterator[Example]:
        """The examples of a file. Labels that are integers in JSON become text.

        Args:
            path: the file.
            labelled: False: labels are not read, and a row that cannot be read is a `Flaw`.
        """
        columns = {"input": self.text, "target": self.label if labelled else None}
        options: dict[str, Any] = {name: column for name, column in columns.items() if column is not None}
        options["skip_blank"] = self.skip_blank
        if not labelled:
            options |= {"target": None, "flaws": True}
        suffix = _suffix(path.name)
        if suffix == ".jsonl":
            for example in readers.jsonl(path, **options):
                is_integer = isinstance(example.target, int) and not isinstance(example.target, bool)
                yield replace(example, target=str(example.target)) if is_integer else example
        else:
            reader = readers.tsv if suffix == ".tsv" else readers.csv
            has_names = isinstance(self.text, str) or isinstance(self.label, str)
            yield from reader(path, header=has_names if self.header is None else self.header, **options)

    def check(self, name: str) -> None:
        """Raises UsageError if files of this name are not supported, or do not have such columns."""
        suffix = _suffix(name)
        if suffix not in SUFFIXES:
            raise UsageError(f"'{name}' should end in {', '.join(SUFFIXES)} (or one of them and .gz)")
        if suffix == ".jsonl" and self.header is not None:
            raise UsageError(f"header: JSON lines have keys, not a header; leave it out for '{name}'")
        for option, column in (("text", self.text), ("label", self.label)):
            if suffix == ".jsonl" and isinstance(column, int):
                raise UsageError(f"{option}: {column}: JSON lines have keys, not columns; name the key for '{name}'")
            if isinstance(column, str) and self.header is False and suffix != ".jsonl":
                raise UsageError(f"{option}: '{column}' is a name, but header: false means that columns have none")


def folder(path: Path, names: Mapping[str, str | None], reader: TableReader, held_out: float) -> Source:
    """A folder of the user's files.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        reader: reads the files.
        held_out: the share of train that is dev where dev has no file.

    Raises:
        UsageError: a file's name or a column that the reader does not support.
    """
    for name in names.values():
        if name is not None:
            reader.check(name)
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def file(split: str) -> Path:
        file_path = path / str(names["train" if split == "dev" and not has_dev else split])
        if not file_path.is_file():
            raise DataError(Problem(str(file_path), "there is no such file", _missing_file_hint(split)))
        return file_path

    def read(split: str) -> Iterator[Example]:
        examples = reader.read(file(split))
        if split == "test" or has_dev or held_out == 0:
            return examples
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": dict(names)}
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {names['train']}, chosen by a hash of the text"
    return Source(read, splits, lambda split: [file(split)], about)


def read_other(
    path: Path,
    split: str | None,
    labelled: bool,
    names: Mapping[str, str | None],
    reader: TableReader,
    held_out: float,
) -> Iterable[Example]:
    """The examples of a file, or of a split (test, if the user did not say) of another folder with such files.

    Raises:
        DataError: there is no such file.
        UsageError: the file is not of a kind that the reader supports, or the folder has no such split.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(Problem(str(path), "there is no such file or folder"))
        reader.check(path.name)
        return reader.read(path, labelled=labelled)
    source = folder(path, names, reader, held_out)
    if (split or "test") not in source.splits:
        raise UsageError(f"{path}: the recipe names no file for {split or 'test'}; give the file itself")
    return source.read(split or "test")


def is_held_out(text: Any, share: float) -> bool:
    """Whether a text of train is dev. It depends on the text alone, so repeats of a text are in one split."""
    words = text if isinstance(text, str) else " ".join(map(str, text)) if isinstance(text, list) else str(text)
    digest = hashlib.blake2b(words.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _rename_labels(examples: Iterable[Example], names: Mapping[str, str]) -> Iterator[Example]:
    for example in examples:
        if example.target not in names:
            reason = f"the label {example.target!r} is none of {', '.join(names)}"
            raise DataError(Problem(example.id, reason))
        yield replace(example, target=names[example.target])


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _missing_file_hint(split: str) -> str:
    if split == "train":
        return "`train` names the file"
    if split == "dev":
        return "`dev` names the file; with null, a share of train is held out instead"
    return "`test` names the file; with null, there is no test split"
