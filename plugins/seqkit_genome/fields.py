"""The input fields: sequences of bases, read as letters, as probabilities or as k-mers.

All of them store one byte a base. The input layer makes the steps of the model from it, because only bases can be
turned into those of the other strand: k-mers that are a stride apart cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from seqkit import JSON, Field, Flaw
from seqkit_genome import alphabet
from seqkit_genome.alphabet import ANY, LETTERS, PLAIN
from seqkit_genome.options import Scan, Spelling, Strands

if TYPE_CHECKING:
    from torch import nn


@final
@dataclass(frozen=True)
class Bases(Field):
    """A sequence of bases, (T,) uint8 (see `seqkit_genome.alphabet`). A value is a text of letters, or a `Flaw`.

    Args:
        spelling: how letters become bases.
        probabilities: True: a step is the probabilities of A, C, G and T (one-hot, unless the base is ambiguous).
            False: a step is one of A, C, G, T and N (any ambiguous base), each with a learned vector.
        strands: how the two strands are used.
        scan: motif scanners, or None.
        middle: how many positions on either side of the middle have a learned vector; 0: none.
    """

    unit = "bases"
    unknown = ANY

    spelling: Spelling = field(default=Spelling())
    probabilities: bool = field(default=True, kw_only=True)
    strands: Strands = field(default="given", kw_only=True)
    scan: Scan | None = field(default=None, kw_only=True)
    middle: int = field(default=0, kw_only=True)

    def encode(self, value: Any) -> np.ndarray:
        """Codes of the bases, (T,) uint8. Raises ValueError for a flaw, for no text, and for letters of no base."""
        return _encode(value, self.spelling)

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """A base is certain as soon as it has come. White space around a piece is left out."""
        return _feed(piece, self.spelling), None

    def decode(self, array: np.ndarray) -> str:
        return alphabet.decode(array)

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return alphabet.draw(generator, steps, keeps_case=self.spelling.case == "keep")

    def describe(self) -> dict[str, JSON]:
        return {"codes": alphabet.code_names()}

    def count_unknown(self, array: np.ndarray) -> int:
        """Number of ambiguous bases."""
        return int((PLAIN[array] < 0).sum())

    @property
    def size(self) -> int:
        """Numbers of a step: 4 probabilities, or 6 letters with padding; more if case is kept."""
        keeps_case = self.spelling.case == "keep"
        return 4 + keeps_case if self.probabilities else 6 + 5 * keeps_case

    def layer(self, dim: int) -> nn.Module:
        from seqkit_genome import layers

        vectors = layers.BaseProbabilities if self.probabilities else layers.LetterEmbedding
        return layers.SequenceLayer(vectors(self.size), dim, strands=self.strands, scan=self.scan, middle=self.middle)


@final
@dataclass(frozen=True)
class Kmers(Field):
    """A sequence of bases, read as k-mers. The vocabulary is the k-mers of the training data.

    The field stores the bases, (T,) uint8. The model's steps are the k-mers that begin at base 1, 1 + stride, ... and
    end within the sequence. A k-mer with an ambiguous base is unknown; a sequence shorter than k is one unknown k-mer.

    Args:
        spelling: how letters become bases.
        k: bases of a k-mer.
        stride: bases from one k-mer to the next.
        min_count: a k-mer seen less often in training is unknown.
        drop: share of the k-mers that training reads as unknown.
        strands: how the two strands are used.
        scan: motif scanners, or None.
    """

    unit = "bases"
    unknown = 1

    spelling: Spelling = field(default=Spelling())
    k: int = field(default=3, kw_only=True)
    stride: int = field(default=1, kw_only=True)
    min_count: int = field(default=1, kw_only=True)
    drop: float = field(default=0.0, kw_only=True)
    strands: Strands = field(default="given", kw_only=True)
    scan: Scan | None = field(default=None, kw_only=True)
    seen: tuple[int, ...] | None = field(default=None, kw_only=True, repr=False)
    """The numbers of the k-mers in the vocabulary, ascending; None: not fitted yet."""

    def fit(self, values: Iterable[Any]) -> Self:
        """Learns the vocabulary. Values that cannot be read are skipped here and reported when they are encoded.

        Raises:
            ValueError: no sequence has a k-mer that is frequent enough.
        """
        counts: Counter[int] = Counter()
        for value in values:
            try:
                codes = _encode(value, self.spelling)
            except ValueError:
                continue
            for strand in [codes] if self.strands == "given" else [codes, alphabet.reverse_complement(codes)]:
                numbers, frequencies = np.unique(self.numbers(strand), return_counts=True)
                counts.update(dict(zip(numbers.tolist(), frequencies.tolist(), strict=True)))
        known = sorted(number for number, count in counts.items() if number >= 0 and count >= self.min_count)
        if not known:
            raise ValueError(f"training has no {self.k}-mer at all")
        return replace(self, seen=tuple(known))

    def numbers(self, codes: np.ndarray) -> np.ndarray:
        """The number of each k-mer, (T,) -> (T',): its bases as digits to base 4; -1 if one is ambiguous."""
        if len(codes) < self.k:
            return np.array([-1])
        digits = np.lib.stride_tricks.sliding_window_view(PLAIN[codes], self.k)[:: self.stride]
        numbers = digits @ (4 ** np.arange(self.k)[::-1])
        return np.where((digits < 0).any(axis=1), -1, numbers)

    def encode(self, value: Any) -> np.ndarray:
        """Codes of the bases, (T,) uint8. Raises ValueError for a flaw, for no text, and for letters of no base."""
        return _encode(value, self.spelling)

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """A base is certain as soon as it has come. White space around a piece is left out."""
        return _feed(piece, self.spelling), None

    def decode(self, array: np.ndarray) -> str:
        return alphabet.decode(array)

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return alphabet.draw(generator, steps, keeps_case=self.spelling.case == "keep")

    def describe(self) -> dict[str, JSON]:
        return {"codes": alphabet.code_names()}

    def count_unknown(self, array: np.ndarray) -> int:
        """Number of unknown k-mers."""
        return int((~np.isin(self.numbers(array), np.array(self._known))).sum())

    @property
    def size(self) -> int:
        """K-mers in the vocabulary, with padding and the unknown one."""
        return 2 + len(self._known)

    @property
    def vocabulary(self) -> list[str]:
        """The k-mers in the order of their numbers."""
        return [self._spell(number) for number in self._known]

    def state(self) -> JSON:
        return None if self.seen is None else self.vocabulary

    def restore(self, state: JSON) -> Self:
        if state is None:
            return self
        numbers = [int(np.dot(PLAIN[alphabet.encode(kmer)], 4 ** np.arange(self.k)[::-1])) for kmer in state]
        return replace(self, seen=tuple(numbers))

    def layer(self, dim: int) -> nn.Module:
        from seqkit_genome import layers

        vectors = layers.KmerEmbedding(self._known, dim, k=self.k, stride=self.stride, drop=self.drop)
        return layers.SequenceLayer(vectors, dim, strands=self.strands, scan=self.scan)

    def _spell(self, number: int) -> str:
        return "".join(LETTERS[number >> 2 * (self.k - 1 - position) & 3] for position in range(self.k))

    @property
    def _known(self) -> tuple[int, ...]:
        if self.seen is None:
            raise RuntimeError("the field is not fitted yet")
        return self.seen


def _encode(value: Any, spelling: Spelling) -> np.ndarray:
    """Codes of the bases, (T,) uint8. Raises ValueError for a flaw, for no text, and for letters of no base."""
    if isinstance(value, Flaw):
        raise ValueError(value.what)
    if not isinstance(value, str):
        raise ValueError(f"should be text, but is {'missing' if value is None else repr(value)[:60]}")
    return alphabet.encode(value.strip(), spelling.case, spelling.gaps)


def _feed(piece: Any, spelling: Spelling) -> np.ndarray | None:
    """Codes of the bases of a piece, or None if it has none."""
    if isinstance(piece, str):
        letters = piece.strip()
        if spelling.gaps == "remove":
            letters = letters.translate(dict.fromkeys(map(ord, alphabet.GAPS)))
        return _encode(letters, spelling) if letters else None
    return None if piece is None else _encode(piece, spelling)
