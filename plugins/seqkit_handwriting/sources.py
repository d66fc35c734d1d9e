"""Where drawings come from: published data, the user's files."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, Flaw, MissingFile, Problem, UsageError, fetch
from seqkit.readers import FileNames, is_remote, numbered, shard_files
from seqkit.reading import report_left_out, report_split_rule
from seqkit_handwriting.fields import Steps, array_of, steps_of_strokes

KANJI = Dataset(
    "handwriting/kanji",
    (
        File("train.jsonl.gz", None, "cbbf6c4562a977518142f8e81ce35d1200d06e714e4f4cc5f5763001576fd125", 1_242_871),
        File("valid.jsonl.gz", None, "f717d95277f10921a7b7a29582d4daec9886c0de3cf68d1e0795db914352e5a2", 78_569),
        File("test.jsonl.gz", None, "c5cb82c5086a2de33a0824a7aa3eeb7ea2518071cf71f4faba96eb1fbd9413e7", 64_603),
    ),
    licence="CC BY-SA 3.0 (KanjiVG, U. Apel)",
    about="Japanese characters as pen movements, in the form of D. Ha (sketch-rnn-datasets)",
    by_hand="kanji/short_kanji.npz of github.com/hardmaru/sketch-rnn-datasets, each drawing a line of [dx, dy, lifted]",
)
WORDS = Dataset(
    "handwriting/cursive_words",
    (
        File(
            "bigbank_3500.json.gz",
            None,
            "de0230aabd816841e6f0d88f349d19a14a6b8473741aaaf68eed363027a98355",
            2_853_230,
        ),
    ),
    licence="not stated",
    about="3,500 words of one writer (Greydanus and Wimpee 2025, arXiv:2504.00051)",
    by_hand="data/bigbank_3500.json.zip of github.com/greydanus/cursivetransformer, unpacked and compressed with gzip",
)
KIND = "drawing"
"""The only input of drawings without a text."""


@final
@dataclass(frozen=True, kw_only=True)
class Drawings:
    """Drawings in splits.

    Attributes:
        splits: those that there are.
        paths: the files of a split.
        read: gives the drawings of a split in its file: id, text and steps.
        has_text: whether drawings have a text.
        text: the key of the text in JSON lines.
        grid, stretch: see `Movements`.
        rule: by which drawings are divided into splits.
        facts: what the run folder says of the data.
    """

    splits: tuple[str, ...]
    paths: Callable[[str], list[Path]]
    read: Callable[[Path, str], Iterator[tuple[str, str, Steps]]]
    has_text: bool
    text: str | None = None
    grid: tuple[float, float] = (0.0, 0.0)
    stretch: float = 1.0
    rule: str = "by file"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def files(self, split: str) -> list[Path]:
        return self.paths(split)

    def examples(self, split: str, max_length: int | None) -> Iterator[Example]:
        """The drawings of a split, those that are too long left out."""
        report_split_rule(self.rule)
        for path in self.paths(split):
            for id, text, steps in self.read(path, split):
                if max_length is not None and len(steps) > max_length:
                    report_left_out(f"drawing of more than {max_length:,} steps", id)
                    continue
                yield Example(text if self.has_text else [KIND], steps, id)


def parse_nothing(line: str) -> list[str]:
    """The input of drawings without a text. Raises ValueError if there is one."""
    if line.strip() not in ("", KIND):
        raise ValueError("is a text, and these drawings have none: leave it empty")
    return [KIND]


def kanji() -> Drawings:
    """Japanese characters, official split."""
    names = {"train": KANJI.files[0].path, "dev": KANJI.files[1].path, "test": KANJI.files[2].path}

    def read(path: Path, split: str) -> Iterator[tuple[str, str, Steps]]:
        for line in numbered(path):
            yield f"{path.name}:{line.number}", KIND, json.loads(line.text)

    return Drawings(
        splits=tuple(names),
        paths=lambda split: [fetch(KANJI) / names[split]],
        read=read,
        has_text=False,
        grid=(1.0, 1.0),
        rule="as published",
        facts=_facts(KANJI),
    )


def cursive_words() -> Drawings:
    """Words of one writer: of every ten, the last is test and the one before it dev."""
    parts = {8: "dev", 9: "test"}

    def read(path: Path, split: str) -> Iterator[tuple[str, str, Steps]]:
        for number, word in enumerate(json.loads(gzip.decompress(path.read_bytes()))):
            if parts.get(number % 10, "train") == split:
                yield f"{path.name}:{number + 1}", word["metadata"]["asciiSequence"], _steps_of_points(word["points"])

    return Drawings(
        splits=("train", "dev", "test"),
        paths=lambda split: [fetch(WORDS) / WORDS.files[0].path],
        read=read,
        has_text=True,
        grid=(1 / 1200, 1 / 400),
        stretch=6.0,  # "aspectRatio" of all its words
        rule="of every ten words the tenth is test and the ninth dev",
        facts=_facts(WORDS),
    )


def _steps_of_points(points: list[list[float]]) -> Steps:
    """Movements between points [x, y, on paper]."""
    return [[x - u, y - v, 1.0 - on_paper] for (u, v, _), (x, y, on_paper) in itertools.pairwise(points)]


def own(
    folder: Path,
    names: Mapping[str, FileNames | None],
    text: str | None,
    grid: tuple[float, float],
    stretch: float,
) -> Drawings:
    """The user's files."""

    def read(path: Path, split: str) -> Iterator[tuple[str, str, Steps]]:
        for example in read_lines(path, text, labelled=True):
            yield example.id, example.input, example.target

    return Drawings(
        splits=tuple(split for split, name in names.items() if name is not None),
        paths=lambda split: shard_files(folder, names[split] or "", split, suffixes=(".jsonl",)),
        read=read,
        has_text=text is not None,
        text=text,
        grid=grid,
        stretch=stretch,
        facts={"dataset": str(folder)},
    )


def read_lines(path: Path, text: str | None, *, labelled: bool) -> Iterator[Example]:
    """The drawings of JSON lines: their text (`drawing` if there is none), and their steps.

    Raises:
        DataError: a line that is not a drawing, or has no text. Without `labelled`, it is an example with a `Flaw`.
    """
    if not (is_remote(path) or path.is_file()):
        raise MissingFile(path, "file")
    for line in numbered(path):
        id = f"{path.name}:{line.number}"
        try:
            yield Example(*_text_and_steps(line.text, text, labelled=labelled), id)
        except ValueError as error:
            if labelled:
                raise DataError(Problem(f"{path}:{line.number}", str(error))) from None
            yield Example(Flaw(str(error)), None, id)


def _text_and_steps(line: str, text: str | None, *, labelled: bool) -> tuple[str, Steps | None]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("should be an object with the key strokes")
    if text is not None and (not isinstance(value.get(text), str) or not value[text]):
        raise ValueError(f"should have a text with the key {text}")
    if not labelled:
        return (KIND if text is None else value[text]), None
    if "strokes" not in value:
        raise ValueError("has no key strokes")
    steps = steps_of_strokes(value["strokes"])
    array_of(steps)
    return (KIND if text is None else value[text]), steps


def read_other(path: Path, split: str | None, labelled: bool, data: Drawings) -> Iterator[Example]:
    """The drawings of a file that is not part of the recipe, in JSON lines.

    Raises:
        UsageError: a split is asked for.
    """
    if split is not None:
        raise UsageError(f"--split: all drawings of {path} are read")
    key = (data.text or "text") if data.has_text else None
    for example in read_lines(path, key, labelled=labelled):
        has_flaw = isinstance(example.input, Flaw)
        yield example if has_flaw or data.has_text else Example([KIND], example.target, example.id)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}
