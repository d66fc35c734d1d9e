"""Splits: files of their own, or one file divided by share, with the same labels in each split, or by groups."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from seqkit.errors import DataError, MissingFile, Problem
from seqkit.reading import collect_reports, report_split_rule
from seqkit.types import Example

SplitBy: TypeAlias = Literal["input", "label", "group"]
"""What decides to which split an example belongs."""


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
        key: an input as the text that is hashed.
    """

    dev: float = 0.0
    test: float = 0.0
    by: SplitBy = "input"
    key: Callable[[Any], str] = str

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
                raise DataError(Problem("the data", message, "name another column as `group`, or split by label"))
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


def hash_of(text: str) -> int:
    """A number from 0 to 2**64 that depends on the text alone."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def missing_split_file(path: Path, split: str) -> DataError:
    """The error to raise where a split has no file: for tasks whose options `train`, `dev` and `test` name files.

    Args:
        path: where the file should be.
        split: train, dev or test.
    """
    hints = {
        "train": "`train` names the file",
        "dev": "`dev` names the file; with null, a share of train is held out instead",
        "test": "`test` names the file; with null, there is no test split",
    }
    if not path.exists():
        return MissingFile(path, "file", hints[split])
    return DataError(Problem(str(path), "is not a regular file, but a folder, a pipe or a device", hints[split]))
