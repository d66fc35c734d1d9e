"""The input fields: sequences of bases, as letters, as probabilities, or as k-mers.

All of them store one byte a base. What a step of the model is, is made of it by the input layer, because only whole
bases can be turned to the other strand: k-mers that are a stride apart cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, final

import numpy as np

from seqkit import JSON, Field
from seqkit_genome import alphabet
from seqkit_genome.alphabet import ANY, LETTERS, PLAIN, Case, Gaps
from seqkit_genome.reading import Flaw

if TYPE_CHECKING:
    from torch import nn

Strands: TypeAlias = Literal["given", "augment", "average", "both"]


@final
@dataclass(frozen=True)
class Spelling:
    """What a sequence may be written with; see `seqkit_genome.genome`."""

    case: Case = "fold"
    gaps: Gaps = "refuse"

    def encode(self, value: Any) -> np.ndarray:
        """(T,) uint8. Raises ValueError for a flaw, for what is no text, and for what is no base."""
        if isinstance(value, Flaw):
            raise ValueError(value.what)
        if not isinstance(value, str):
            raise ValueError(f"should be text, but is {'missing' if value is None else repr(value)[:60]}")
        return alphabet.encode(value.strip(), self.case, self.gaps)


@final
@dataclass(frozen=True)
class Scan:
    """Motif scanners in front of the recurrence: see `seqkit_genome.front.Scanners`.

    Attributes:
        width: bases that a scanner looks at.
        filters: how many scanners; None: as many as the encoder's input is wide.
        pool: steps of which the strongest answer is kept.
        dropout: share of the answers dropped.
    """

    width: int
    filters: int | None = None
    pool: int = 1
    dropout: float = 0.0


@final
@dataclass(frozen=True)
class Bases(Field):
    """A sequence of bases, (T,) uint8 (see `seqkit_genome.alphabet`). A value is a text of letters, or a `Flaw`.

    Args:
        spelling: what it may be written with.
        probabilities: True: a step is the probabilities of A, C, G and T (one-hot, where there is no doubt). False: a
            step is one of A, C, G, T and N (for all that is in doubt), each with a vector that is learned.
        strands: how the two strands are used.
        scan: motif scanners, or None.
        middle: how many places on either side of the middle have a vector of their own; 0: none.
    """

    unit = "bases"
    unknown = ANY

    spelling: Spelling = Spelling()
    probabilities: bool = field(default=True, kw_only=True)
    strands: Strands = field(default="given", kw_only=True)
    scan: Scan | None = field(default=None, kw_only=True)
    middle: int = field(default=0, kw_only=True)

    def encode(self, value: Any) -> np.ndarray:
        """(T,) uint8. Raises ValueError for a letter that is no base, and where there is none."""
        return self.spelling.encode(value)

    def decode(self, array: np.ndarray) -> str:
        return alphabet.decode(array)

    def count_unknown(self, array: np.ndarray) -> int:
        """How many bases could be one or another."""
        return int((PLAIN[array] < 0).sum())

    @property
    def size(self) -> int:
        """Numbers a step: 4, or the letters with padding; case comes on top."""
        kept = self.spelling.case == "keep"
        return 4 + kept if self.probabilities else 6 + 5 * kept

    def layer(self, dim: int) -> nn.Module:
        from seqkit_genome import front

        steps = front.Probabilities if self.probabilities else front.Letters
        return front.Front(steps(self.size), dim, strands=self.strands, scan=self.scan, middle=self.middle)


@final
@dataclass(frozen=True)
class Kmers(Field):
    """A sequence of bases, read as k-mers with a vocabulary of its own: those seen in training.

    Stored are the bases, (T,) uint8. The model's steps are the k-mers that begin at base 1, 1 + stride, ... and end
    within the sequence; a sequence shorter than k is one unknown k-mer, and so is a k-mer with an ambiguous base.

    Args:
        spelling: what a sequence may be written with.
        k: bases of a k-mer.
        stride: bases from one k-mer to the next.
        min_count: a k-mer seen less often in training is unknown.
        drop: share of the k-mers that training reads as unknown.
        strands: how the two strands are used.
        scan: motif scanners, or None.
    """

    unit = "bases"
    unknown = 1

    spelling: Spelling = Spelling()
    k: int = field(default=3, kw_only=True)
    stride: int = field(default=1, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    drop: float = field(default=0.0, kw_only=True)
    strands: Strands = field(default="given", kw_only=True)
    scan: Scan | None = field(default=None, kw_only=True)
    seen: tuple[int, ...] | None = field(default=None, kw_only=True, repr=False)
    """The numbers of the k-mers in the vocabulary, ascending; None: not fitted yet."""

    def fit(self, values: Iterable[Any]) -> Self:
        counts: Counter[int] = Counter()
        for value in values:
            try:
                codes = self.spelling.encode(value)
            except ValueError:
                continue  # told, or left out, when it is encoded
            both = [codes] if self.strands == "given" else [codes, alphabet.reverse_complement(codes)]
            for strand in both:
                numbers, times = np.unique(self.numbers(strand), return_counts=True)
                counts.update(dict(zip(numbers.tolist(), times.tolist(), strict=True)))
        known = sorted(number for number, times in counts.items() if number >= 0 and times >= self.min_count)
        if not known:
            raise ValueError(f"training has no {self.k}-mer at all")
        return replace(self, seen=tuple(known))

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """(T,) codes -> (T',) the number of each k-mer, its bases as digits to base 4; -1 where one is ambiguous."""
        if len(codes) < self.k:
            return np.array([-1])
        digits = np.lib.stride_tricks.sliding_window_view(PLAIN[codes], self.k)[:: self.stride]
        numbers = digits @ (4 ** np.arange(self.k)[::-1])
        return np.where((digits < 0).any(axis=1), -1, numbers)

    def encode(self, value: Any) -> np.ndarray:
        """(T,) uint8. Raises ValueError for a letter that is no base, and where there is none."""
        return self.spelling.encode(value)

    def decode(self, array: np.ndarray) -> str:
        return alphabet.decode(array)

    def count_unknown(self, array: np.ndarray) -> int:
        """How many k-mers are unknown."""
        return int((~np.isin(self.numbers(array), np.array(self._known))).sum())

    @property
    def size(self) -> int:
        """K-mers in the vocabulary, with padding and the unknown one."""
        return 2 + len(self._known)

    @property
    def vocabulary(self) -> list[str]:
        """The k-mers in the order of their numbers."""
        return [self._spelt(number) for number in self._known]

    def state(self) -> JSON:
        return None if self.seen is None else self.vocabulary

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        numbers = [int(np.dot(PLAIN[alphabet.encode(kmer)], 4 ** np.arange(self.k)[::-1])) for kmer in state]
        return replace(self, seen=tuple(numbers))

    def layer(self, dim: int) -> nn.Module:
        from seqkit_genome import front

        steps = front.KmerSteps(self._known, self.k, self.stride, dim, drop=self.drop)
        return front.Front(steps, dim, strands=self.strands, scan=self.scan)

    def _spelt(self, number: int) -> str:
        return "".join(LETTERS[number >> 2 * (self.k - 1 - place) & 3] for place in range(self.k))

    @property
    def _known(self) -> tuple[int, ...]:
        if self.seen is None:
            raise RuntimeError("the field is not fitted yet")
        return self.seen
