"""Where pieces of music come from: Bach's chorales, the user's files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from seqkit import DataError, Dataset, Example, File, MissingFile, Problem, fetch
from seqkit.readers import FileNames, is_remote, numbered, shard_files
from seqkit.reading import report_left_out, report_split_rule
from seqkit_music.fields import KEYS, LOWEST, Steps, rows_of

CHORALES = Dataset(
    "generation/jsb_chorales",
    (
        File(
            "jsb-chorales-quarter.json.gz",
            None,
            "42fb6a11b1acd1ce6778cd4ba85ff2cccce534d570f85265577b604f644e022e",
            43_891,
        ),
    ),
    licence="the music is in the public domain; its encoding has no stated licence",
    about="chorales of J. S. Bach in quarter notes, in the split of Boulanger-Lewandowski et al. 2012",
    by_hand="jsb-chorales-quarter.json of github.com/czhuang/JSB-Chorales-dataset, compressed with gzip -n",
)
SUFFIXES = (".jsonl",)
_PARTS = {"train": "train", "dev": "valid", "test": "test"}


@final
@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Pieces in splits.

    Attributes:
        splits: those that there are.
        paths: the files of a split.
        read: gives the pieces of a split in its file, each with its id.
        facts: what the run folder says of the data.
    """

    splits: tuple[str, ...]
    paths: Callable[[str], list[Path]]
    read: Callable[[Path, str], Iterator[tuple[str, Steps]]]
    facts: Mapping[str, Any]

    def pieces(self, split: str) -> Iterator[tuple[str, Steps]]:
        report_split_rule("by file" if self.read is _read_lines else "as published")
        for path in self.paths(split):
            yield from self.read(path, split)

    def files(self, split: str) -> list[Path]:
        return self.paths(split)


def chorales() -> Pieces:
    """Bach's chorales."""
    facts = {"dataset": CHORALES.name, "licence": CHORALES.licence, "about": CHORALES.about}
    return Pieces(
        splits=tuple(_PARTS),
        paths=lambda split: [fetch(CHORALES) / CHORALES.files[0].path],
        read=_read_json,
        facts=facts,
    )


def own(folder: Path, names: Mapping[str, FileNames | None]) -> Pieces:
    """The user's files."""

    def paths(split: str) -> list[Path]:
        return shard_files(folder, names[split] or "", split, suffixes=SUFFIXES)

    splits = tuple(split for split, name in names.items() if name is not None)
    return Pieces(splits=splits, paths=paths, read=_read_lines, facts={"dataset": str(folder)})


def _read_json(path: Path, split: str) -> Iterator[tuple[str, Steps]]:
    pieces = json.loads(gzip.decompress(path.read_bytes()))[_PARTS[split]]
    for number, piece in enumerate(pieces, start=1):
        yield f"{_PARTS[split]}:{number}", _checked(piece, f"{path}: {_PARTS[split]} {number}")


def _read_lines(path: Path, split: str) -> Iterator[tuple[str, Steps]]:
    return read_pieces(path)


def read_pieces(path: Path) -> Iterator[tuple[str, Steps]]:
    """The pieces of JSON lines. One of a single step has nothing to go on from, and is left out.

    Raises:
        DataError: a line that is no list of steps, or a pitch that a piano does not have.
    """
    if not (is_remote(path) or path.is_file()):
        raise MissingFile(path, "file")
    for line in numbered(path):
        where = f"{path}:{line.number}"
        try:
            piece = json.loads(line.text)
        except ValueError as error:
            raise DataError(Problem(where, f"is not JSON: {error}")) from None
        steps = _checked(piece, where)
        if len(steps) < 2:
            report_left_out("piece of one step, after which nothing comes", f"{path.name}:{line.number}")
            continue
        yield f"{path.name}:{line.number}", steps


def _checked(piece: Any, where: str) -> Steps:
    try:
        if not len(rows_of(piece)):
            raise ValueError("has no steps")
    except ValueError as error:
        raise DataError(Problem(where, str(error))) from None
    return [sorted({*step}) for step in piece]


def transposed(steps: Steps, semitones: int) -> Steps | None:
    """The same piece higher or lower; None if a piano does not have its keys."""
    moved = [[pitch + semitones for pitch in step] for step in steps]
    pitches = [pitch for step in moved for pitch in step]
    if any(not LOWEST <= pitch < LOWEST + KEYS for pitch in pitches):
        return None
    return moved


def example_of(id: str, steps: Steps) -> Example:
    """The input is all steps but the last; the target is all of them, because the first one is predicted too."""
    return Example(steps[:-1], steps, id)
