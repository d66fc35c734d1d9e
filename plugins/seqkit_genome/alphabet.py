"""Bases as numbers: four bits for the bases (A, C, G, T) that a letter can mean, and one bit for lower case.

The letters are those of IUPAC (Cornish-Bowden 1985, doi:10.1093/nar/13.9.3021): R is A or G, N is any base. The
probabilities of a letter are its bits divided by their number, and its complement is its bits in reverse order. U is
read as T.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from seqkit_genome.options import Case, Gaps

BASES: Final = "ACGT"
LETTERS: Final = "ACGTRYSWKMBDHVN"
"""The fifteen letters of IUPAC."""
GAPS: Final = "-."
LOWER: Final = 16
"""The bit of a lower-case letter, if case is kept."""
ANY: Final = 15
CODE_COUNT: Final = 32
"""Number of codes; 0 is padding."""

_MEANING: Final = {
    "A": "A", "C": "C", "G": "G", "T": "T", "U": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
_BITS: Final = {letter: sum(1 << BASES.index(base) for base in bases) for letter, bases in _MEANING.items()}
_NOT_A_BASE: Final = 255


def _code_table() -> np.ndarray:
    """(256,) the code of each ASCII character."""
    table = np.full(256, _NOT_A_BASE, dtype=np.uint8)
    for letter, bits in _BITS.items():
        table[ord(letter)] = bits
        table[ord(letter.lower())] = bits | LOWER
    return table


def _letter_table() -> np.ndarray:
    """(256,) the ASCII character of each code."""
    table = np.full(256, ord("?"), dtype=np.uint8)
    for letter in LETTERS:
        table[_BITS[letter]] = ord(letter)
        table[_BITS[letter] | LOWER] = ord(letter.lower())
    return table


_CODES: Final = _code_table()
_LETTERS: Final = _letter_table()

COMPLEMENT: Final = np.array(
    [int(f"{code & ANY:04b}"[::-1], 2) | code & LOWER for code in range(CODE_COUNT)], dtype=np.uint8
)
"""(32,) the code of the complement of each code."""
PROBABILITIES: Final = (
    np.array([[code >> base & 1 for base in range(4)] for code in range(CODE_COUNT)], dtype=np.float32)
    / np.array([max(1, (code & ANY).bit_count()) for code in range(CODE_COUNT)], dtype=np.float32)[:, None]
)
"""(32, 4) the probabilities of A, C, G and T of each code; zeros for padding."""
PLAIN: Final = np.array([{1: 0, 2: 1, 4: 2, 8: 3}.get(code & ANY, -1) for code in range(CODE_COUNT)], dtype=np.int64)
"""(32,) 0 to 3 for A, C, G and T of either case, -1 for padding and ambiguous bases."""


def encode(text: str, case: Case = "fold", gaps: Gaps = "refuse") -> np.ndarray:
    """Codes of the letters, (T,) uint8.

    Args:
        text: letters, nothing else.
        case: fold, upper and lower case are the same; keep, lower case has a bit; mask, a lower-case letter is N.
        gaps: refuse, `-` and `.` are an error; remove, they are left out; unknown, they are N.

    Raises:
        ValueError: the text is empty, or has a letter that is not a base; the message says where.
    """
    if text.isascii():
        codes = _CODES[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
        wrong = np.flatnonzero(codes == _NOT_A_BASE)
    else:
        codes, wrong = np.zeros(0, dtype=np.uint8), np.array([next(i for i, c in enumerate(text) if not c.isascii())])
    if len(wrong) and (gaps == "refuse" or any(text[i] not in GAPS for i in wrong)):
        first = next(int(i) for i in wrong if gaps == "refuse" or text[i] not in GAPS)
        raise ValueError(f"letter {first + 1:,} is {describe_invalid(text[first])}")
    if len(wrong) and gaps == "remove":
        codes = np.delete(codes, wrong)
    else:
        codes[wrong] = ANY
    if not len(codes):
        raise ValueError("is empty" if not text else "has only gaps and no base")
    if case == "mask":
        codes[codes >= LOWER] = ANY
    return codes if case == "keep" else codes & np.uint8(ANY)


def decode(codes: np.ndarray) -> str:
    """The letters of codes, without padding. Gaps that were removed and case that was folded do not come back."""
    codes = np.asarray(codes).astype(np.uint8)
    return bytes(_LETTERS[codes[codes != 0]]).decode("ascii")


def code_names() -> dict[str, int]:
    """The code of each letter, of upper and lower case."""
    return {chr(character): int(code) for character, code in enumerate(_CODES) if code != _NOT_A_BASE}


def draw(generator: np.random.Generator, steps: int, *, keeps_case: bool) -> np.ndarray:
    """Codes of random letters, (T,) uint8: A, C, G and T for the most part, then any of IUPAC."""
    bases = 1 << generator.integers(0, 4, steps)
    codes = np.where(generator.random(steps) < 0.9, bases, generator.integers(1, ANY + 1, steps))
    if keeps_case:
        codes |= np.where(generator.random(steps) < 0.5, LOWER, 0)
    return codes.astype(np.uint8)


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """(T,) the codes of the other strand, in its own reading direction."""
    return np.asarray(COMPLEMENT[codes][::-1])


def describe_invalid(letter: str) -> str:
    """The letter and why it is not a base, for a message."""
    if letter in GAPS:
        return f"'{letter}', a gap; set gaps: remove to leave gaps out, or gaps: unknown to read them as N"
    if letter == "*":
        return "'*', the end of a protein, but DNA or RNA is expected"
    if letter.isascii() and letter.isalpha():
        return f"'{letter}', which is not a base; is this a protein?"
    return f"{letter!r}, which is not a base"
