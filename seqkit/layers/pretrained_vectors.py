"""Word vectors from a text file: one word a line and its numbers, as GloVe, word2vec and fastText write them.

The numbers are separated by single spaces; a first line of two whole numbers (how many words, how wide) is skipped.
What stands before the last D numbers is the word, spaces and all. Of a word that stands there twice the first counts.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

import numpy as np

from seqkit.errors import DataError, Problem

Key: TypeAlias = Callable[[str], str]

_DIGITS = str.maketrans({chr(point): "0" for point in range(0x30, 0x3A)})

LONGEST_LINE = 1 << 20
"""Bytes; a longer line is none of such a file."""


def normalised(word: str, *, lower: bool, digits: bool) -> str:
    """What a word is known by: in lower case and with every digit read as 0, where that is asked for."""
    word = word.lower() if lower else word
    return word.translate(_DIGITS) if digits else word


def words_of(path: Path) -> tuple[list[str], int]:
    """The words of a file in its order (commonest first, as such files are written), each once; and D.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or a line has another count of numbers than the first.
    """
    found: dict[str, None] = {}
    width = 0
    for _, word, numbers in _rows(path):
        width = len(numbers)
        found[word] = None
    if not found:
        _fail(path, None, "has no vectors")
    return list(found), width


def vectors_of(path: Path, wanted: Collection[str], key: Key = str) -> dict[str, np.ndarray]:
    """(D,) float32 of each wanted word that the file has, a word of the file being what `key` makes of it.

    A word that stands there as its key does goes before one that only becomes it (`paris` before `Paris`).

    Raises:
        DataError: as `words_of`, or a number of a wanted word is none, or not finite.
    """
    found: dict[str, np.ndarray] = {}
    exact: set[str] = set()
    for line, word, numbers in _rows(path):
        name = key(word)
        if name not in wanted or name in exact or (name in found and name != word):
            continue
        if name == word:
            exact.add(name)
        try:
            with np.errstate(over="ignore"):
                vector = np.array([float(number) for number in numbers]).astype(np.float32)
        except ValueError as error:
            _fail(path, line, f"the vector of {word!r} has something that is no number: {error}")
        if not np.isfinite(vector).all():
            _fail(path, line, f"the vector of {word!r} has a number that is not finite")
        found[name] = vector
    return found


def _rows(path: Path) -> Iterator[tuple[int, str, list[bytes]]]:
    """(line, word, numbers as bytes) of each line."""
    try:
        file: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # noqa: SIM115
    except OSError as error:
        _fail(path, None, f"cannot be opened: {error.strerror}")
    width, line = 0, 0
    with file:
        while raw := _next(path, file, line + 1):
            line += 1
            if len(raw) > LONGEST_LINE:
                _fail(path, line, "is too long for a word and its vector")
            parts = raw.rstrip(b"\r\n").rstrip(b" ").split(b" ")
            if line == 1:
                if len(parts) == 2 and all(part.isdigit() for part in parts):
                    width = int(parts[1])
                    continue
                width = width or len(parts) - 1
            if len(parts) <= width or width < 1:
                what = f"has {len(parts) - 1:,} numbers after its word, not {width:,}" if width else "has no numbers"
                _fail(path, line, what)
            try:
                word = b" ".join(parts[:-width]).decode("utf-8")
            except UnicodeDecodeError:
                _fail(path, line, "the word is not UTF-8")
            yield line, word, parts[-width:]


def _next(path: Path, file: IO[bytes], line: int) -> bytes:
    try:
        return file.readline(LONGEST_LINE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(Problem(f"{path}:{line}", f"damaged gzip: {error}")) from None
    except OSError as error:
        raise DataError(Problem(f"{path}:{line}", f"cannot be read: {error.strerror or error}")) from None


def _fail(path: Path, line: int | None, what: str) -> NoReturn:
    where = str(path) if line is None else f"{path}:{line}"
    raise DataError(Problem(where, what, "a line is a word and its numbers, separated by single spaces")) from None
