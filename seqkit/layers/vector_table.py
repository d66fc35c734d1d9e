"""Word vectors in binary form: a text file of vectors is read once, and its copy in the cache is memory-mapped.

A copy is one file, `vectors/SHA256.bin` in the cache folder: the length of a header, the header in JSON, the words, one
to a line, and after zeros up to a multiple of 64 bytes the vectors (N, D) as little-endian float32. Its name is the
SHA-256 of the text file, so that a text file that is changed has another copy.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Final, final

import numpy as np

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.io.cache import cache_folder, sha256_of
from seqkit.layers.pretrained_vectors import WordKey, fail, text_rows
from seqkit.regular_files import is_protected, open_regular

FORMAT: Final = 1
_ALIGNMENT: Final = 64
_MOST_HEADER_BYTES: Final = 1 << 26
_NUMBER = np.dtype("<f4")
_BLOCK: Final = 4096
"""Vectors that are written at once."""


@final
@dataclass(frozen=True)
class VectorTable:
    """The vectors of a file, on disk until they are looked up.

    Attributes:
        path: the text file, for messages.
        words: each once, in the order of the file (usually the most frequent first).
        vectors: (N, D) float32, memory-mapped; zeros for a word of `faults`.
        faults: rows that are no vector, with the line of the text file and what is wrong there.
    """

    path: Path
    words: Sequence[str]
    vectors: np.ndarray
    faults: Mapping[int, tuple[int, str]]

    @property
    def width(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    def look_up(self, names: Collection[str], key: WordKey = str) -> dict[str, np.ndarray]:
        """(D,) float32 for each of these words that the file has.

        Words of the file are looked up by `key`. Where several have the same key, the one that equals its key wins
        (`paris` over `Paris`), otherwise the first one.

        Raises:
            DataError: the vector of one of them has a value that is not a finite number.
        """
        rows: dict[str, int] = {}
        for row, word in enumerate(self.words):
            name = key(word)
            if name in names and (name not in rows or name == word):
                rows[name] = row
        for row in rows.values():
            if row in self.faults:
                line, reason = self.faults[row]
                fail(self.path, line, f"the vector of {self.words[row]!r} has {reason}")
        return dict(zip(rows, np.array(self.vectors[list(rows.values())]), strict=True))


def open_table(path: Path) -> VectorTable:
    """The vectors of a text file, from its copy in the cache, which is made if there is none or it is damaged.

    Raises:
        DataError: the file is missing, empty or not UTF-8, or two lines have different numbers of numbers.
        RunError: the cache cannot be written.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        fail(path, None, f"cannot be opened: {error.strerror}")
    copy = cache_folder() / "vectors" / f"{digest}.bin"
    table = _open_copy(copy, path)
    if table is None:
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _write_copy(copy, path)
        except OSError as error:
            reason = error.strerror or str(error)
            hint = "name another folder in SEQKIT_CACHE"
            raise RunError(f"cannot write the cache {copy.parent}: {reason}; {hint}") from error
        table = _open_copy(copy, path)
    if table is None:
        raise RunError(f"{copy}: cannot be read after it was written; name another folder in SEQKIT_CACHE")
    return table


def _open_copy(copy: Path, path: Path) -> VectorTable | None:
    """A copy in the cache; None if there is none, if it is damaged, or if other users could have changed it."""
    try:
        with open_regular(copy, follow=False) as file:
            status = os.fstat(file.fileno())
            if not is_protected(status):
                return None
            header = _read_header(file)
            text = file.read(header["words_bytes"])
            count, width, start = header["count"], header["width"], _aligned(file.tell())
            if zlib.crc32(text) != header["words_crc32"] or status.st_size != start + count * width * _NUMBER.itemsize:
                return None
            words = text.decode("utf-8").split("\n")
            vectors = np.memmap(file, dtype=_NUMBER, mode="r", offset=start, shape=(count, width))
        if len(words) != count:
            return None
        faults = {int(row): (int(line), str(reason)) for row, line, reason in header["faults"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return VectorTable(path, words, vectors, faults)


def _read_header(file: BufferedReader) -> Any:
    length, crc32 = (int(number) for number in np.frombuffer(file.read(16), dtype="<u8"))
    if length > _MOST_HEADER_BYTES:
        raise ValueError("the header is too long")
    text = file.read(length)
    if zlib.crc32(text) != crc32:
        raise ValueError("the header is damaged")
    header = json.loads(text)
    if header["format"] != FORMAT:
        raise ValueError("another format")
    return header


def _write_copy(copy: Path, path: Path) -> None:
    """Read the text file and write its copy, in one step for whoever opens that meanwhile."""
    unfinished, numbers = atomic.temporary(copy), atomic.temporary(copy)
    try:
        with numbers.open("x+b") as rows:
            header, text = _read_text(path, rows)
            rows.seek(0)
            packed = json.dumps(header).encode()
            with unfinished.open("xb") as file:
                file.write(np.array([len(packed), zlib.crc32(packed)], dtype="<u8").tobytes())
                file.write(packed)
                file.write(text)
                file.write(bytes(_aligned(file.tell()) - file.tell()))
                while block := rows.read(1 << 24):
                    file.write(block)
        # Only this user can write to it, whatever the umask is.
        unfinished.chmod(0o644)
        atomic.sync(unfinished)
        os.replace(unfinished, copy)
        atomic.sync_folder(copy.parent)
    finally:
        numbers.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)


def _read_text(path: Path, rows: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The header and the words of a text file, whose vectors are written to `rows`."""
    words: dict[str, None] = {}
    faults: list[tuple[int, int, str]] = []
    block: list[np.ndarray] = []
    width = 0
    for line, word, numbers in text_rows(path):
        if word in words:
            continue
        vector, fault = _to_vector(numbers)
        if fault is not None:
            faults.append((len(words), line, fault))
        words[word] = None
        width = len(numbers)
        block.append(vector)
        if len(block) == _BLOCK:
            rows.write(np.stack(block).tobytes())
            block.clear()
    if not words:
        fail(path, None, "has no vectors")
    if block:
        rows.write(np.stack(block).tobytes())
    text = "\n".join(words).encode()
    header = {
        "format": FORMAT,
        "count": len(words),
        "width": width,
        "words_bytes": len(text),
        "words_crc32": zlib.crc32(text),
        "faults": faults,
    }
    if len(json.dumps(header)) > _MOST_HEADER_BYTES:
        raise OSError(errno.EINVAL, f"{path} has too many values that are not finite numbers")
    return header, text


def _to_vector(numbers: Sequence[bytes]) -> tuple[np.ndarray, str | None]:
    """(D,) float32, and what is wrong with the numbers, if something is."""
    try:
        with np.errstate(over="ignore"):
            vector = np.array([float(number) for number in numbers]).astype(_NUMBER)
    except ValueError as error:
        return np.zeros(len(numbers), dtype=_NUMBER), f"a value that is not a number: {error}"
    if not np.isfinite(vector).all():
        return np.zeros(len(numbers), dtype=_NUMBER), "a number that is not finite"
    return vector, None


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
