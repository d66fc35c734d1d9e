"""Which examples are train, dev and test where nobody has said it: by hash, and in folds.

What is decided is decided for a sequence, not for an example: repeats stay on one side, and so does the other strand.
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
class Alike:
    """When two sequences are the same one.

    Attributes:
        seed: of the hash: another seed gives other folds.
        strands: whether a sequence and its reverse complement are the same.
    """

    seed: int = 1
    strands: bool = True

    def digest(self, sequence: Any, purpose: str = "") -> bytes:
        """Eight bytes: a fixed function of the sequence (case and U or T do not count), the seed and the purpose."""
        try:
            codes = alphabet.encode(str(sequence).strip(), gaps="unknown")
            text = codes.tobytes()
            if self.strands:
                text = min(text, alphabet.reverse_complement(codes).tobytes())
        except ValueError:
            text = str(sequence).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=8, key=f"{self.seed} {purpose}".encode()).digest()

    def held_out(self, sequence: Any, share: float) -> bool:
        """Whether a sequence of train is dev."""
        return int.from_bytes(self.digest(sequence, "dev"), "big") < share * 2**64


@dataclass(frozen=True)
class Folds:
    """All examples dealt out to folds, class by class, so that each fold has its share of every class.

    Attributes:
        fold_of: the fold of each different sequence.
        notes: what there is to know: repeats, and sequences with two labels.
    """

    fold_of: dict[bytes, int]
    notes: tuple[str, ...]
    alike: Alike

    @classmethod
    def deal(cls, examples: Iterable[Example], count: int, alike: Alike) -> Folds:
        """Deal them out.

        Raises:
            DataError: there are fewer different sequences than folds.
        """
        seen: dict[bytes, tuple[str, str]] = {}
        conflicts: list[str] = []
        repeats = 0
        for example in examples:
            digest, label = alike.digest(example.input), str(example.target)
            known, where = seen.setdefault(digest, (label, example.id))
            repeats += where != example.id
            if label != known:
                conflicts.append(f"{where} says {known}, {example.id} says {label}")
        if len(seen) < count:
            what = f"there are {len(seen):,} different sequences, too few for {count:,} folds"
            raise DataError(Problem("folds", what))
        order = sorted(seen, key=lambda digest: (seen[digest][0], digest))
        fold_of = {digest: place % count for place, digest in enumerate(order)}
        return cls(fold_of, tuple(_notes(repeats, conflicts)), alike)

    def of(self, sequence: Any) -> int:
        """The fold of a sequence."""
        return self.fold_of[self.alike.digest(sequence)]


def _notes(repeats: int, conflicts: list[str]) -> Iterator[str]:
    if repeats:
        yield f"{repeats:,} examples repeat the sequence of another; they stay in its fold"
    if conflicts:
        shown = "; ".join(conflicts[:_CONFLICTS_SHOWN])
        more = f"; and {len(conflicts) - _CONFLICTS_SHOWN:,} more" if len(conflicts) > _CONFLICTS_SHOWN else ""
        yield f"{len(conflicts):,} examples have another label than the same sequence before: {shown}{more}"
