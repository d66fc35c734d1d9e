"""Columns of rows in memory-mapped files, and the splits that are made of them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final, final, overload

import numpy as np

from seqkit.data.store.encode import ArrayKind, EncodedChunk, kind_error
from seqkit.data.store.report import SplitReport
from seqkit.types import JSON, Index

CHECKED_BYTES: Final = 64 << 20
"""Of larger files only the size is checked on opening, not the checksum of the content."""


@final
@dataclass(frozen=True)
class Column:
    """The inputs or the targets of a split.

    Attributes:
        data: (N, ...) the rows of all examples, one after the other.
        offsets: (n + 1,) int64: example i is `data[offsets[i]:offsets[i + 1]]`. None: one row an example.
    """

    data: np.ndarray
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """The rows of example i, (T, ...), or its one row. Raises IndexError if there is no example i."""
        count = len(self)
        if not -count <= i < count:
            raise IndexError(f"example {i} of {count}")
        i %= count
        if self.offsets is None:
            return np.asarray(self.data[i])
        return np.asarray(self.data[int(self.offsets[i]) : int(self.offsets[i + 1])])

    @cached_property
    def lengths(self) -> Index:
        """(n,) int64 steps of each example; ones where every example has one row."""
        if self.offsets is None:
            return np.ones(len(self.data), dtype=np.int64)
        return np.diff(self.offsets).astype(np.int64, copy=False)


@final
class Ids(Sequence[str]):
    """The ids of examples, decoded one at a time from a column of UTF-8 bytes."""

    def __init__(self, column: Column) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        return self._column[i].tobytes().decode("utf-8", "surrogatepass")


@final
class SelectedIds(Sequence[str]):
    """Some ids of many, decoded on access: the ids of most batches are never read."""

    def __init__(self, ids: Sequence[str], index: Index) -> None:
        self._ids = ids
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self._ids[int(j)] for j in self._index[i]]
        return self._ids[int(self._index[i])]


@final
@dataclass(frozen=True)
class Split:
    """The stored rows of a split. A row is an example, or a window of one.

    Attributes:
        name: train, dev or test.
        x: the inputs.
        y: the targets; None for a target that follows from the input.
        ids: where a human finds the example of each row (`train.tsv:17`).
        origin: (n,) int64 number of the example that each row comes from.
        report: what was stored and what was not.
    """

    name: str
    x: Column
    y: Column | None
    ids: Sequence[str]
    origin: Index
    report: SplitReport

    def __len__(self) -> int:
        return len(self.x)


class Writer:
    """Appends the chunks of one split to its files.

    Attributes:
        arrays: once the writer is closed, type, shape, size and checksum of each array, by which it is opened.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder = folder
        self._split = split
        self._files: dict[str, IO[bytes]] = {}
        self._rows: dict[str, int] = {}
        self._kinds: dict[str, ArrayKind] = {}
        self._examples = 0
        self.arrays: dict[str, JSON] = {}

    def __enter__(self) -> Writer:
        return self

    def add(self, chunk: EncodedChunk) -> None:
        """Append a chunk.

        Raises:
            TypeError: an array of it has another type or shape of a row than before.
        """
        for name, array in chunk.arrays.items():
            if self._kinds.get(name, array.kind) != array.kind:
                raise TypeError(kind_error(name, array.kind, self._kinds[name]))
        if chunk.kind_error:
            raise TypeError(chunk.kind_error)
        for name, array in chunk.arrays.items():
            if name not in self._kinds:
                self._start(name, array.kind, ragged=array.rows is not None)
            raw = array.raw
            if name == "origin":
                raw = (np.frombuffer(raw, dtype=np.int64) + self._examples).tobytes()
            self._files[name].write(raw)
            if array.rows is not None:
                ends = self._rows[name] + np.cumsum(array.rows)
                self._rows[name] = int(ends[-1])
                self._files[f"{name}.offsets"].write(ends.astype("<i8", copy=False).tobytes())
        self._examples += chunk.counts.examples

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for file in self._files.values():
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()
        if kind is None:
            self.arrays = {name: self._facts(name) for name in self._files}

    def _start(self, name: str, kind: ArrayKind, *, ragged: bool) -> None:
        self._kinds[name] = kind
        self._files[name] = self._open(name)
        if ragged:
            self._rows[name] = 0
            self._files[f"{name}.offsets"] = self._open(f"{name}.offsets")
            self._files[f"{name}.offsets"].write(bytes(8))

    def _open(self, name: str) -> IO[bytes]:
        return path_of(self._folder, self._split, name).open("xb", buffering=1 << 18)

    def _facts(self, name: str) -> JSON:
        dtype, shape = self._kinds.get(name, (np.dtype("<i8"), ()))
        path = path_of(self._folder, self._split, name)
        return {"dtype": dtype.str, "shape": list(shape), "bytes": path.stat().st_size, "crc32": checksum(path)}


def path_of(folder: Path, split: str, name: str) -> Path:
    """The file of an array."""
    return folder / (f"{split}.{name}" if name.endswith(".offsets") else f"{split}.{name}.bin")


def open_split(folder: Path, split: str, arrays: Mapping[str, JSON], report: SplitReport) -> Split:
    """A stored split with its arrays mapped read-only. Raises ValueError, OSError or KeyError if it is damaged."""
    opened = {name: _map(path_of(folder, split, name), facts) for name, facts in arrays.items()}
    columns = {name: Column(array, opened.get(f"{name}.offsets")) for name, array in opened.items() if "." not in name}
    return Split(split, columns["x"], columns.get("y"), Ids(columns["ids"]), np.asarray(columns["origin"].data), report)


def _map(path: Path, facts: JSON) -> np.ndarray:
    dtype, shape = np.dtype(facts["dtype"]), tuple(facts["shape"])
    size = path.stat().st_size
    if size != facts["bytes"] or (size <= CHECKED_BYTES and checksum(path) != facts["crc32"]):
        raise ValueError(f"{path} is damaged")
    if size == 0:
        return np.zeros((0, *shape), dtype)
    # A plain array over the map: slicing a `memmap` itself takes ten times as long.
    return np.memmap(path, dtype, mode="r").reshape(-1, *shape).view(np.ndarray)


def checksum(path: Path) -> int:
    """CRC-32 of a file: it finds damage, not tampering."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
