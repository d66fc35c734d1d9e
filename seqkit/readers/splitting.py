"""Splits: files of their own, or one file divided by share, with the same labels in each split, or by groups."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np

from seqkit.errors import DataError, Problem
from seqkit.readers.class_folders import list_files
from seqkit.readers.shards import (
    FileNames,
    as_shards,
    missing_split_file,
    named_example,
    plain_names,
    shard_files,
    shard_names,
)
from seqkit.reading import collect_reports, report_split_rule
from seqkit.remote_files import is_remote
from seqkit.types import SPLITS, Example, NamedVectors, Shard

SplitBy: TypeAlias = Literal["input", "label", "group"]
"""What decides to which split an example belongs."""


def _text_of(value: Any) -> str:
    """An input as the text that is hashed: of an array, shape and bytes, because `str` leaves most of it out."""
    value = value.rows if isinstance(value, NamedVectors) else value
    if isinstance(value, np.ndarray):
        return f"{value.shape} {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    return str(value)


@final
@dataclass(frozen=True, kw_only=True)
class ShareSplit:
    """Which share of the examples of train is dev and test instead. It depends on nothing but the examples.

    Attributes:
        dev: the share of dev; 0: dev is not divided off.
        test: the share of test, likewise.
        by: input, each example by a hash of its input, so that repeats are in one split and shares are about right;
            label, so within each label, and shares are as exact as they can be; group, whole groups (speakers,
            documents), at least one in each split.
        key: an input as the text that is hashed; if not given, its `str`, and of an array its shape and numbers.
        advice: what messages about too few groups advise.
    """

    dev: float = 0.0
    test: float = 0.0
    by: SplitBy = "input"
    key: Callable[[Any], str] = _text_of
    advice: str = "name another column as `group`, or split by label"

    @property
    def names(self) -> tuple[str, ...]:
        """The splits that are divided off."""
        return tuple(name for name, share in self.shares.items() if share > 0)

    @property
    def shares(self) -> Mapping[str, float]:
        """{split: its share}."""
        return {"dev": self.dev, "test": self.test}

    def rule(self) -> str:
        """The rule in words."""
        shares = " and ".join(f"{self.shares[name]:.4g} of train is {name}" for name in self.names)
        rules = {
            "input": "chosen by a hash of the input",
            "label": "of each label, chosen by a hash of the input",
            "group": "whole groups, chosen by a hash of their names",
        }
        return f"{shares}, {rules[self.by]}"

    def divide(self, read: Callable[[], Iterable[tuple[Example, str]]], split: str) -> Iterator[Example]:
        """The examples of a split.

        Args:
            read: gives all examples, each with the name of its group (any text unless `by` is group). It is called
                twice if the rule depends on all examples.
            split: one of `names`, or "train".

        Raises:
            DataError: there are fewer groups than splits.
        """
        report_split_rule(self.rule())
        if self.by == "input":
            for example, _ in read():
                if self._by_hash(hash_of(self.key(example.input))) == split:
                    yield example
            return
        with collect_reports():  # what is passed over is reported when the examples are read
            split_of = self._assign(Counter(self._place(example, group) for example, group in read()))
        for example, group in read():
            if split_of[self._place(example, group)] == split:
                yield example

    def _by_hash(self, value: int) -> str:
        if value < self.dev * 2**64:
            return "dev"
        return "test" if value < (self.dev + self.test) * 2**64 else "train"

    def _place(self, example: Example, group: str) -> tuple[str, int, str]:
        """Stratum, hash and key of an example; those of one key are in one split."""
        if self.by == "group":
            return "", hash_of(group), group
        key = self.key(example.input)
        return str(example.target), hash_of(key), key

    def _assign(self, counts: Mapping[tuple[str, int, str], int]) -> dict[tuple[str, int, str], str]:
        """The split of each key: in each stratum, keys in the order of their hashes fill dev, then test."""
        strata: dict[str, list[tuple[str, int, str]]] = {}
        for place in sorted(counts):
            strata.setdefault(place[0], []).append(place)
        split_of: dict[tuple[str, int, str], str] = {}
        for places in strata.values():
            if self.by == "group" and len(places) <= len(self.names):
                message = f"there are {len(places)} groups, too few for {len(self.names) + 1} splits"
                raise DataError(Problem("the data", message, self.advice))
            size, position = sum(counts[place] for place in places), 0
            for name in self.names:
                wanted, taken = round(self.shares[name] * size), 0
                fewest = 1 if self.by == "group" else 0
                while position < len(places) and (taken < wanted or fewest > 0):
                    place = places[position]
                    is_too_much = taken + counts[place] - wanted > wanted - taken
                    if fewest <= 0 and is_too_much:
                        break
                    split_of[place] = name
                    taken, position, fewest = taken + counts[place], position + 1, fewest - 1
            if self.by == "group" and position >= len(places):
                raise DataError(Problem("the data", "no group is left for train", "give smaller shares"))
            split_of |= dict.fromkeys(places[position:], "train")
        return split_of


@final
@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """A file for each split; where there is none, a share of the file of train. For tasks that read files.

    Attributes:
        folder: where the files are, or a function that finds it (`lambda: fetch(DATASET)`), called when they are read.
        names: {split: its file or files, relative to the folder, as `shard_files` reads them}; None: it has none.
        read: gives the examples of a file, each with the name of its group (any text unless the shares are by group).
        shares: which shares of train are dev and test, where these have no file.
        paths: the files of which a named one consists, if it is more than itself: `images|labels` is two.
        suffixes: a folder that is named stands for its files with these suffixes, if it has no folders; none: it is
            left to `read`.
    """

    folder: Path | Callable[[], Path]
    names: Mapping[str, FileNames | None]
    read: Callable[[Path], Iterable[tuple[Example, str]]]
    shares: ShareSplit
    paths: Callable[[Path], Iterable[Path]] = lambda path: [path]
    suffixes: tuple[str, ...] = ()

    @property
    def division(self) -> ShareSplit:
        """How the file of train is divided, if it is."""
        return replace(
            self.shares,
            dev=self.shares.dev if self.names.get("dev") is None else 0.0,
            test=self.shares.test if self.names.get("test") is None else 0.0,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are: for `Task.splits`."""
        divided = self.division.names
        return tuple(name for name in SPLITS if self.names.get(name) is not None or name in divided)

    def shards(self, split: str) -> list[Path]:
        """The files that a split is read from, as they are named: parallel ones are one, `images|labels`.

        Raises:
            DataError: one of them is not there.
        """
        folder = self.folder() if callable(self.folder) else self.folder
        names = self.names.get(split)
        return shard_files(folder, self.names["train"] or () if names is None else names, split, suffixes=self.suffixes)

    def files(self, split: str) -> list[Path]:
        """All files that a split is read from: for `Task.files`.

        Raises:
            DataError: one of them is not there.
        """
        return [path for shard in self.shards(split) for path in self._files_of(shard, split)]

    def _files_of(self, shard: Path, split: str) -> list[Path]:
        listed: list[Path] = []
        for path in self.paths(shard):
            if not is_remote(path) and not path.exists():
                raise missing_split_file(path, split)
            listed += list_files(path) if path.is_dir() else [path]
        return listed

    def parts(self, split: str) -> list[Shard]:
        """The files of a split, each with its examples: for `Task.shards`.

        There are none where the split is one file, or where all examples decide together which of them are in it.

        Raises:
            DataError: a file is not there.
        """
        shards, division = self.shards(split), self.division
        is_divided = bool(division.names) and (split == "train" or split in division.names)
        if len(shards) < 2 or (is_divided and division.by != "input"):
            return []

        return as_shards(
            shards, lambda paths, names: self._of(paths, names, split), lambda path: self._files_of(path, split)
        )

    def examples(self, split: str) -> Iterator[Example]:
        """The examples of a split: for `Task.read`."""
        shards = self.shards(split)
        return self._of(shards, shard_names(shards), split)

    def _of(self, shards: Sequence[Path], names: Sequence[str], split: str) -> Iterator[Example]:
        """The examples of a split that are in these files, which have these names."""
        division = self.division
        if division.names and (split == "train" or split in division.names):
            yield from division.divide(lambda: self._grouped(shards, names), split)
            return
        report_split_rule("by file")
        for example, _ in self._grouped(shards, names):
            yield example

    def _grouped(self, shards: Sequence[Path], names: Sequence[str]) -> Iterator[tuple[Example, str]]:
        """The examples of these files with their groups, one file after the other."""
        for path, name in zip(shards, names, strict=True):
            for example, group in self.read(path):
                yield named_example(example, path, name), group

    def about(self) -> dict[str, Any]:
        """Which files are read, and how train is divided: for `Task.about`."""
        facts: dict[str, Any] = {"files": plain_names(self.names)}
        return facts | ({"splits": self.division.rule()} if self.division.names else {})


def hash_of(text: str) -> int:
    """A number from 0 to 2**64 that depends on the text alone."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
