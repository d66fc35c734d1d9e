"""Reading word vectors from a text file: a word and its numbers on each line, as GloVe, word2vec and fastText write.

The numbers are separated by single spaces; a first line of two whole numbers (number of words, width) is skipped. The
word is all that comes before the last D numbers, spaces included. If a word occurs twice, the first occurrence counts.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn, TypeAlias

from seqkit.errors import DataError, Problem
from seqkit.io.download import Dataset, File, fetch
from seqkit.regular_files import open_regular
from seqkit.types import WordVectors

WordKey: TypeAlias = Callable[[str], str]
"""Maps a word to the form under which it is looked up."""

_DIGITS_TO_ZERO = str.maketrans({chr(point): "0" for point in range(0x30, 0x3A)})

LONGEST_LINE = 1 << 20
"""Bytes. A longer line means that the file is not a file of vectors."""


def _glove(width: int, sha256: str, size: int) -> Dataset:
    return Dataset(
        f"vectors/glove_6b_{width}d",
        (File(f"glove.6B.{width}d.top100k.txt.gz", None, sha256, size),),
        licence="Public Domain Dedication and License 1.0",
        about=f"GloVe 6B (Pennington et al. 2014), {width} numbers for each of 100,000 words in lower case",
        by_hand=f"any file of vectors will do instead: glove.6B.{width}d.txt of glove.6B.zip at "
        "nlp.stanford.edu/projects/glove, named by its path",
    )


PUBLISHED = {
    "glove-6b-50d": _glove(50, "e45beec4a2bc49a1753b77adb80ceda769ac33865ae5de765cd6469de9d5d98c", 14_179_494),
    "glove-6b-100d": _glove(100, "a7a6c900124b26c8535301728377d0a4067fae2ff2e63ed626645c76787c85df", 26_790_010),
}
"""Files of vectors that have a name."""


def vector_file(vectors: WordVectors) -> Path:
    """The file of vectors that is named, or whose path this is.

    Raises:
        DataError: the file is missing, or a named one is not the pinned one.
    """
    if isinstance(vectors, Path):
        if not vectors.exists():
            hint = f"give the path of a file of vectors, or one of the names {', '.join(PUBLISHED)}"
            raise DataError(Problem(str(vectors), "there is no such file", hint))
        return vectors
    dataset = PUBLISHED[vectors]
    return fetch(dataset) / dataset.files[0].path


def normalise_word(word: str, *, lower: bool, digits: bool) -> str:
    """The word in lower case if `lower`, and with every digit replaced by 0 if `digits`."""
    word = word.lower() if lower else word
    return word.translate(_DIGITS_TO_ZERO) if digits else word


def text_rows(path: Path) -> Iterator[tuple[int, str, list[bytes]]]:
    """(line number, word, its D numbers as bytes) of each line.

    Raises:
        DataError: the file is missing or not UTF-8, or two lines have different numbers of numbers.
    """
    try:
        opened = open_regular(path)
    except OSError as error:
        fail(path, None, f"cannot be opened: {error.strerror}")
    width, line = 0, 0
    with opened, contextlib.closing(gzip.open(opened, "rb") if path.suffix == ".gz" else opened) as unpacked:
        file: Any = unpacked
        while raw := _read_line(path, file, line + 1):
            line += 1
            if len(raw) > LONGEST_LINE:
                fail(path, line, f"the line is longer than {LONGEST_LINE:,} bytes")
            items = raw.rstrip(b"\r\n").rstrip(b" ").split(b" ")
            if line == 1:
                if len(items) == 2 and all(item.isdigit() for item in items):
                    width = int(items[1])
                    continue
                width = width or len(items) - 1
            if width < 1:
                fail(path, line, "expected numbers after the word, got none")
            if len(items) <= width:
                fail(path, line, f"expected {width:,} numbers after the word, got {len(items) - 1:,}")
            try:
                word = b" ".join(items[:-width]).decode("utf-8")
            except UnicodeDecodeError:
                fail(path, line, "the word is not UTF-8")
            yield line, word, items[-width:]


def _read_line(path: Path, file: IO[bytes], line: int) -> bytes:
    try:
        return file.readline(LONGEST_LINE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(Problem(f"{path}:{line}", f"damaged gzip: {error}")) from None
    except OSError as error:
        raise DataError(Problem(f"{path}:{line}", f"cannot be read: {error.strerror or error}")) from None


def fail(path: Path, line: int | None, message: str) -> NoReturn:
    """Raise a DataError that says what is wrong with a file of vectors, or with a line of it."""
    location = str(path) if line is None else f"{path}:{line}"
    hint = "each line must be a word and its numbers, separated by single spaces"
    raise DataError(Problem(location, message, hint)) from None
