"""Splits where the data has none: by a hash, and in folds for cross-validation.

A split belongs to a sequence, not to an example: repeats of a sequence are in one split, and by default so is its
reverse complement.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seqkit import DataError, Example, Problem
from seqkit_genome import alphabet

_CONFLICTS_SHOWN = 5


@dataclass(frozen=True)
class SequenceIdentity:
    """When two sequences count as the same one.

    Attributes:
        seed: of the hash; another seed gives other folds.
        strands: whether a sequence and its reverse complement are the same.
    """

    seed: int = 1
    strands: bool = True

    def digest(self, sequence: Any, purpose: str = "") -> bytes:
        """A hash of eight bytes, which depends on sequence, seed and purpose. Case, and U or T, make no difference."""
        try:
            codes = alphabet.encode(str(sequence).strip(), gaps="unknown")
            text = codes.tobytes()
            if self.strands:
                text = min(text, alphabet.reverse_complement(codes).tobytes())
        except ValueError:
            text = str(sequence).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=8, key=f"{self.seed} {purpose}".encode()).digest()

    def is_held_out(self, sequence: Any, share: float) -> bool:
        """Whether a sequence of train belongs to dev, which gets this share."""
        return int.from_bytes(self.digest(sequence, "dev"), "big") < share * 2**64


@dataclass(frozen=True)
class Folds:
    """Folds of the examples, each with its share of every class.

    Attributes:
        fold_of: the fold of each different sequence, by its digest.
        notes: remarks about repeats, and about sequences with two labels.
        identity: when two sequences are the same.
    """

    fold_of: dict[bytes, int]
    notes: tuple[str, ...]
    identity: SequenceIdentity

    @classmethod
    def deal(cls, examples: Iterable[Example], count: int, identity: SequenceIdentity) -> Folds:
        """Deal the examples out to `count` folds.

        Raises:
            DataError: there are fewer different sequences than folds.
        """
        first: dict[bytes, tuple[str, str]] = {}  # label and id of the first example of each sequence
        conflicts: list[str] = []
        repeats = 0
        for example in examples:
            digest, label = identity.digest(example.input), str(example.target)
            first_label, first_id = first.setdefault(digest, (label, example.id))
            repeats += first_id != example.id
            if label != first_label:
                conflicts.append(f"{first_id} says {first_label}, {example.id} says {label}")
        if len(first) < count:
            reason = f"there are {len(first):,} different sequences, too few for {count:,} folds"
            raise DataError(Problem("folds", reason, f"set folds to {len(first):,} or less"))
        order = sorted(first, key=lambda digest: (first[digest][0], digest))
        fold_of = {digest: position % count for position, digest in enumerate(order)}
        return cls(fold_of, tuple(_notes(repeats, conflicts)), identity)

    def of(self, sequence: Any) -> int:
        """The fold of a sequence."""
        return self.fold_of[self.identity.digest(sequence)]


def _notes(repeats: int, conflicts: list[str]) -> Iterator[str]:
    if repeats:
        yield f"{repeats:,} examples repeat the sequence of another; they stay in its fold"
    if conflicts:
        shown = "; ".join(conflicts[:_CONFLICTS_SHOWN])
        more = f"; and {len(conflicts) - _CONFLICTS_SHOWN:,} more" if len(conflicts) > _CONFLICTS_SHOWN else ""
        some = "1 example has" if len(conflicts) == 1 else f"{len(conflicts):,} examples have"
        yield f"{some} another label than an earlier one of the same sequence: {shown}{more}"
