"""Where texts with labels come from: the generator, published data, a folder of the user's."""

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
        read: the examples of a split.
        splits: which there are.
        files: the files behind a split; None: there are none.
        about: facts for the run folder.
    """

    read: Callable[[str], Iterable[Example]]
    splits: tuple[str, ...] = ("train", "dev", "test")
    files: Callable[[str], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def generated(sizes: tuple[int, int, int], seed: int) -> Source:
    """Reviews from the generator, as many as `sizes` says for train, dev and test."""
    counts = dict(zip(("train", "dev", "test"), sizes, strict=True))

    def read(split: str) -> Iterator[Example]:
        for number, (text, verdict) in enumerate(generator.reviews(split, counts[split], seed=seed), 1):
            yield Example(text, verdict, f"generated {split}:{number}")

    return Source(read, about={"dataset": "generated film reviews", "sizes": counts, "seed": seed})


_SST2_AT = (
    "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification"
    "/457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2"
)
SST2 = Dataset(
    "sentiment/sst2",
    (
        File(
            "train.tsv",
            f"{_SST2_AT}/train.tsv",
            "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
            720_259,
        ),
        File(
            "dev.tsv",
            f"{_SST2_AT}/dev.tsv",
            "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
            92_057,
        ),
        File(
            "test.tsv",
            f"{_SST2_AT}/test.tsv",
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
        return _named(readers.tsv(fetch(SST2) / f"{split}.tsv"), names)

    return Source(read, files=lambda split: [fetch(SST2) / f"{split}.tsv"], about=_facts(SST2))


_TWEETEVAL_AT = (
    "https://raw.githubusercontent.com/cardiffnlp/tweeteval/4fbd22cd78421f05b1ecdb4fc5725bc7a7bd8f66/datasets/emotion"
)
TWEETEVAL_EMOTION = Dataset(
    "sentiment/tweeteval_emotion",
    tuple(
        File(name, f"{_TWEETEVAL_AT}/{name}", sha256, size)
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
    """Tweets and labels from parallel files; `mapping.txt` says what the labels' numbers are called."""

    def files(split: str) -> list[Path]:
        folder, name = fetch(TWEETEVAL_EMOTION), "val" if split == "dev" else split
        return [folder / f"{name}_text.txt", folder / f"{name}_labels.txt", folder / "mapping.txt"]

    def read(split: str) -> Iterator[Example]:
        texts, labels, mapping = files(split)
        names = {str(row.input): str(row.target) for row in readers.tsv(mapping)}
        return _named(readers.parallel(texts, labels), names)

    return Source(read, files=files, about=_facts(TWEETEVAL_EMOTION))


@final
@dataclass(frozen=True)
class Columns:
    """Where a file of the user's has text and label; None: the reader's own default."""

    text: str | int | None = None
    label: str | int | None = None
    header: bool | None = None
    skip_blank: bool = False

    def read(self, path: Path) -> Iterator[Example]:
        """The examples of a file. Labels that JSON has as whole numbers become text."""
        given = {"input": self.text, "target": self.label}
        options = {name: column for name, column in given.items() if column is not None}
        kind = _suffix(path.name)
        if kind == ".jsonl":
            for example in readers.jsonl(path, skip_blank=self.skip_blank, **options):  # type: ignore[arg-type]
                whole = isinstance(example.target, int) and not isinstance(example.target, bool)
                yield replace(example, target=str(example.target)) if whole else example
        else:
            reader = readers.tsv if kind == ".tsv" else readers.csv
            yield from reader(path, header=self.header, skip_blank=self.skip_blank, **options)

    def check(self, name: str) -> None:
        """Raises UsageError if a file of this name cannot be read, or not with these columns."""
        kind = _suffix(name)
        if kind not in SUFFIXES:
            raise UsageError(f"'{name}' should end in {', '.join(SUFFIXES)} (or one of them and .gz)")
        if kind == ".jsonl" and self.header is not None:
            raise UsageError(f"header: JSON lines have keys, not a header; leave it out for '{name}'")
        for option, column in (("text", self.text), ("label", self.label)):
            if kind == ".jsonl" and isinstance(column, int):
                raise UsageError(f"{option}: {column}: JSON lines have keys, not columns; name the key for '{name}'")
            if isinstance(column, str) and self.header is False and kind != ".jsonl":
                raise UsageError(
                    f"{option}: '{column}' is a name, but header: false says that '{name}' names no columns"
                )


def folder(path: Path, names: Mapping[str, str | None], columns: Columns, held_out: float) -> Source:
    """A folder of the user's.

    Args:
        path: the folder.
        names: the file of each split; None: there is none. Without one for dev, part of train is dev.
        columns: where text and label are.
        held_out: the share of train that is dev where dev has no file.

    Raises:
        UsageError: a file name or a column cannot be meant like this.
    """
    for name in names.values():
        if name is not None:
            columns.check(name)
    has_dev, has_test = names["dev"] is not None, names["test"] is not None
    splits = ("train", *(("dev",) if has_dev or held_out > 0 else ()), *(("test",) if has_test else ()))

    def file(split: str) -> Path:
        found = path / str(names["train" if split == "dev" and not has_dev else split])
        if not found.is_file():
            raise DataError(Problem(str(found), "there is no such file", _advice(split)))
        return found

    def read(split: str) -> Iterator[Example]:
        examples = columns.read(file(split))
        if split == "test" or has_dev or held_out == 0:
            return examples
        return (example for example in examples if is_held_out(example.input, held_out) == (split == "dev"))

    about: dict[str, Any] = {"dataset": str(path), "files": dict(names)}
    if not has_dev and held_out > 0:
        about["dev"] = f"{held_out:.4g} of {names['train']}, chosen by a hash of the text"
    return Source(read, splits, lambda split: [file(split)], about)


def is_held_out(text: Any, share: float) -> bool:
    """Whether a text of train is dev: a fixed function of the text, so that repeats of it stay on one side."""
    words = text if isinstance(text, str) else " ".join(map(str, text)) if isinstance(text, list) else str(text)
    digest = hashlib.blake2b(words.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _named(examples: Iterable[Example], names: Mapping[str, str]) -> Iterator[Example]:
    for example in examples:
        if example.target not in names:
            what = f"the label {example.target!r} is none of {', '.join(names)}"
            raise DataError(Problem(example.id, what))
        yield replace(example, target=names[example.target])


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix


def _advice(split: str) -> str:
    if split == "train":
        return "`train` names the file"
    if split == "dev":
        return "`dev` names the file; null holds out a part of train instead"
    return "`test` names the file; null goes without"
