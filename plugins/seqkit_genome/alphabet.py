"""Bases as numbers: four bits that say which of A, C, G and T a letter can stand for, and one for its case.

The letters are those of IUPAC (Cornish-Bowden 1985, doi:10.1093/nar/13.9.3021): R is A or G, N is any. As bits, a
letter's probabilities are its bits over their number, and its complement is its bits read backwards. U is read as T.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np

Case: TypeAlias = Literal["fold", "keep", "mask"]
Gaps: TypeAlias = Literal["refuse", "remove", "unknown"]

BASES: Final = "ACGT"
LETTERS: Final = "ACGTRYSWKMBDHVN"
"""The fifteen codes."""
GAPS: Final = "-."
LOWER: Final = 16
"""The bit of a lower-case letter, where case is kept."""
ANY: Final = 15
CODES: Final = 32
"""How many different numbers there are; 0 is no base, but padding."""

_MEANING: Final = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
_BITS: Final = {letter: sum(1 << BASES.index(base) for base in bases) for letter, bases in _MEANING.items()}
_BAD: Final = 255


def _numbers() -> np.ndarray:
    table = np.full(256, _BAD, dtype=np.uint8)
    for letter, bits in _BITS.items():
        table[ord(letter)] = bits
        table[ord(letter.lower())] = bits | LOWER
    return table


def _texts() -> np.ndarray:
    table = np.full(256, ord("?"), dtype=np.uint8)
    for letter in LETTERS:
        table[_BITS[letter]] = ord(letter)
        table[_BITS[letter] | LOWER] = ord(letter.lower())
    return table


_NUMBERS: Final = _numbers()
_TEXTS: Final = _texts()

COMPLEMENT: Final = np.array(
    [int(f"{code & ANY:04b}"[::-1], 2) | code & LOWER for code in range(CODES)], dtype=np.uint8
)
"""(32,) the code of the complement of each code."""
PROBABILITIES: Final = (
    np.array([[code >> base & 1 for base in range(4)] for code in range(CODES)], dtype=np.float32)
    / np.array([max(1, (code & ANY).bit_count()) for code in range(CODES)], dtype=np.float32)[:, None]
)
"""(32, 4) how likely each of A, C, G and T is, of each code; zeros for padding."""
PLAIN: Final = np.array([{1: 0, 2: 1, 4: 2, 8: 3}.get(code & ANY, -1) for code in range(CODES)], dtype=np.int64)
"""(32,) 0 to 3 for A, C, G and T of either case, -1 for all else."""


def encode(text: str, case: Case = "fold", gaps: Gaps = "refuse") -> np.ndarray:
    """(T,) uint8, the code of each letter.

    Args:
        text: letters, nothing else.
        case: fold, upper and lower case are the same; keep, a bit says it; mask, a lower-case letter is N.
        gaps: what `-` and `.` are: an error, nothing, or N.

    Raises:
        ValueError: the text is empty, or has a letter that stands for no base; the sentence says where.
    """
    if text.isascii():
        codes = _NUMBERS[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
        wrong = np.flatnonzero(codes == _BAD)
    else:
        codes, wrong = np.zeros(0, dtype=np.uint8), np.array([next(i for i, c in enumerate(text) if not c.isascii())])
    if len(wrong) and (gaps == "refuse" or any(text[i] not in GAPS for i in wrong)):
        first = next(int(i) for i in wrong if gaps == "refuse" or text[i] not in GAPS)
        raise ValueError(f"base {first + 1:,} is {fault(text[first])}")
    if len(wrong) and gaps == "remove":
        codes = np.delete(codes, wrong)
    else:
        codes[wrong] = ANY
    if not len(codes):
        raise ValueError("is empty" if not text else "has gaps and no base")
    if case == "mask":
        codes[codes >= LOWER] = ANY
    return codes if case == "keep" else codes & np.uint8(ANY)


def decode(codes: np.ndarray) -> str:
    """The letters again, as far as the codes keep them; padding is left out."""
    codes = np.asarray(codes).astype(np.uint8)
    return bytes(_TEXTS[codes[codes != 0]]).decode("ascii")


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """(T,) the other strand, from its own start to its own end."""
    return np.asarray(COMPLEMENT[codes][::-1])


def fault(letter: str) -> str:
    """Why a letter is no base, in words."""
    if letter in GAPS:
        return f"'{letter}', a gap; set `gaps` to remove them or to read them as N"
    if letter == "*":
        return "'*', the end of a protein; this reads DNA and RNA"
    if letter.isascii() and letter.isalpha():
        return f"'{letter}', which stands for no base; is it a protein?"
    return f"{letter!r}, which stands for no base"
