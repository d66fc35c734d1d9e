"""Columns of rows in memory-mapped files, and the splits that are made of them."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Final, final

import numpy as np

from seqkit.data.store.encode import ArrayKind, EncodedChunk, kind_error
from seqkit.data.store.report import SplitReport
from seqkit.data.store.shard_rows import Rows, ShardRows
from seqkit.fields import Label, Labels, StepValues, Tags, Text, Tokens, Values, Vectors
from seqkit.lazy_sequence import LazySequence
from seqkit.regular_files import open_regular
from seqkit.types import JSON, Field, Index

CHECKED_BYTES: Final = 64 << 20
"""Of larger files only the size is checked on opening, not the checksum of the content, nor the range of ids."""

DTYPES: Final = frozenset(
    {"|b1", "|i1", "|u1"}
    | {f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)}
    | {f"{order}{kind}" for order in "<>" for kind in ("f2", "f4", "f8", "c8", "c16")}
)
"""The types of numbers that are stored. `|O` would make addresses of the bytes of a file."""

_ARRAYS: Final = frozenset({"x", "x.offsets", "y", "y.offsets", "ids", "ids.offsets", "origin"})


@final
@dataclass(frozen=True)
class Column:
    """The inputs or the targets of a split.

    Attributes:
        data: (N, ...) the rows of all examples, one after the other, in one array or in shards.
        offsets: (n + 1,) int64: example i is `data[offsets[i]:offsets[i + 1]]`. None: one row an example.
        stops: (n,) int64, where examples are windows, which may overlap: example i is `data[offsets[i]:stops[i]]`, and
            there are n offsets. None: each example ends where the next begins.
        begins: (n,) int64, where examples are windows: the first row of the series that each is a window of.
    """

    data: Rows
    offsets: np.ndarray | None = None
    stops: np.ndarray | None = None
    begins: np.ndarray | None = None

    def __len__(self) -> int:
        if self.stops is not None:
            return len(self.stops)
        return len(self.data) if self.offsets is None else len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        """The rows of example i, (T, ...), or its one row. Raises IndexError if there is no example i."""
        count = len(self)
        if not -count <= i < count:
            raise IndexError(f"example {i} of {count}")
        i %= count
        if self.offsets is None:
            return np.asarray(self.data[i])
        stop = self.offsets[i + 1] if self.stops is None else self.stops[i]
        return np.asarray(self.data[int(self.offsets[i]) : int(stop)])

    @cached_property
    def lengths(self) -> Index:
        """(n,) int64 steps of each example; ones where every example has one row."""
        if self.offsets is None:
            return np.ones(len(self.data), dtype=np.int64)
        if self.stops is not None:
            return np.asarray(self.stops - self.offsets)
        return np.diff(self.offsets).astype(np.int64, copy=False)


@final
class Ids(LazySequence[str]):
    """The ids of examples, decoded one at a time from a column of UTF-8 bytes."""

    def __init__(self, column: Column) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def item(self, i: int) -> str:
        return self.column[i].tobytes().decode("utf-8", "surrogatepass")


@final
class SelectedIds(LazySequence[str]):
    """Some ids of many, decoded on access: the ids of most batches are never read."""

    def __init__(self, ids: Sequence[str], index: Index) -> None:
        self._ids = ids
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def item(self, i: int) -> str:
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
        shard_ends: (number of shards,) the row after the last of each shard; None: the split is stored as one.
    """

    name: str
    x: Column
    y: Column | None
    ids: Sequence[str]
    origin: Index
    report: SplitReport
    shard_ends: Index | None = None

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
            TypeError: an array of it has another type or shape of a row than before, or one that is not stored.
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
        if kind[0].str not in DTYPES or 0 in kind[1]:
            raise TypeError(f"a field gave {kind[0]} numbers of shape {kind[1]} for {name}; these cannot be stored")
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


def open_split(
    folder: int, split: str, arrays: Mapping[str, JSON], report: SplitReport, fields: tuple[Field, Field]
) -> Split:
    """A stored split with its arrays mapped read-only. Nothing of the manifest is believed before it is checked.

    Args:
        folder: the descriptor of its open folder.
        split: its name.
        arrays: what the manifest says of each array.
        report: of the split.
        fields: the fitted input and target field.

    Raises:
        ValueError, TypeError, KeyError, OSError: it is damaged.
    """
    if not set(arrays) <= _ARRAYS:
        raise ValueError(f"{split} has an array of an unknown name")
    opened = {name: map_array(path_of(Path(), split, name), facts, folder) for name, facts in arrays.items()}
    columns = {name: Column(array, opened.get(f"{name}.offsets")) for name, array in opened.items() if "." not in name}
    return checked_split(split, columns, report, fields)


def checked_split(
    split: str,
    columns: Mapping[str, Column],
    report: SplitReport,
    fields: tuple[Field, Field],
    shard_ends: Index | None = None,
) -> Split:
    """A split of these columns (x, y, ids, origin), if they fit together and to the fields.

    Raises:
        ValueError, KeyError: they do not.
    """
    x, y, ids, origin = columns["x"], columns.get("y"), columns["ids"], columns["origin"]
    for name, column in columns.items():
        _check_offsets(f"{split}.{name}", column)
        if len(column) != len(x):
            raise ValueError(f"{split} has {len(x)} inputs, but {len(column)} of {name}")
    _check_fields(split, x, y, fields)
    _check_ids(split, ids)
    numbers = np.asarray(origin.data)
    if numbers.dtype != np.int64 or numbers.ndim != 1 or origin.offsets is not None:
        raise ValueError(f"{split}.origin is not a list of numbers")
    if len(numbers) and (numbers[0] < 0 or numbers[-1] >= report.examples or (np.diff(numbers) < 0).any()):
        raise ValueError(f"{split}.origin names examples that do not exist")
    if report.rows != len(x) or report.examples < 1:
        raise ValueError(f"{split} does not have the rows that its report counts")
    return Split(split, x, y, Ids(ids), numbers, report, shard_ends)


def _check_offsets(name: str, column: Column) -> None:
    offsets = column.offsets
    if offsets is None:
        return
    if offsets.dtype != np.int64 or offsets.ndim != 1 or not len(offsets):
        raise ValueError(f"{name}.offsets is not a list of places")
    if offsets[0] != 0 or offsets[-1] != len(column.data) or (np.diff(offsets) < 0).any():
        raise ValueError(f"{name}.offsets does not fit its array")


def _check_fields(split: str, x: Column, y: Column | None, fields: tuple[Field, Field]) -> None:
    """What the fields that come with seqkit say of their arrays: shape, and the range of the ids of symbols."""
    input, target = fields
    if (y is None) != target.derived:
        raise ValueError(f"{split} has targets though it needs none, or lacks them")
    for name, column, field in (("x", x, input), *((("y", y, target),) if y is not None else ())):
        if (column.offsets is not None) != field.ragged:
            raise ValueError(f"{split}.{name} has offsets though its field has one row for each value, or lacks them")
        # A row of no steps cannot be stored: `encode_value` refuses it.
        if column.offsets is not None and (np.diff(column.offsets) < 1).any():
            raise ValueError(f"{split}.{name} has an example without steps")
        data = column.data
        if isinstance(field, Label | Tags | Text | Tokens):
            if data.dtype.kind not in "iu" or data.ndim != 1:
                raise ValueError(f"{split}.{name} does not hold the ids of symbols")
            if isinstance(data, ShardRows):  # each shard is checked when it is opened
                continue
            is_small = data.nbytes <= CHECKED_BYTES
            if is_small and len(data) and not 0 <= int(data.min()) <= int(data.max()) < field.size:
                raise ValueError(f"{split}.{name} has ids of symbols that do not exist")
        elif isinstance(field, Labels | StepValues | Values | Vectors) and (
            data.dtype != np.float32 or data.shape[1:] != (field.size,)
        ):
            raise ValueError(f"{split}.{name} does not hold rows of {field.size} numbers")
    if y is not None and target.aligned and not np.array_equal(x.lengths, y.lengths):
        raise ValueError(f"{split} has targets that are not as long as their inputs")


def _check_ids(split: str, ids: Column) -> None:
    """That ids are UTF-8, each of them: no id begins in the middle of a character."""
    data = ids.data
    if data.dtype != np.uint8 or data.ndim != 1 or ids.offsets is None:
        raise ValueError(f"{split}.ids is not text")
    if isinstance(data, ShardRows):  # likewise
        return
    starts = ids.offsets[:-1]
    if (data[starts[starts < len(data)]] & 0xC0 == 0x80).any():
        raise ValueError(f"{split}.ids is cut within a character")
    if data.nbytes <= CHECKED_BYTES:
        data.tobytes().decode("utf-8", "surrogatepass")


def map_array(path: Path, facts: JSON, folder: int) -> np.ndarray:
    """An array that a manifest describes, mapped read-only; `folder` is the descriptor of its open folder."""
    dtype, shape = _kind(path, facts)
    with open_regular(path, folder=folder, follow=False) as file:
        size = os.fstat(file.fileno()).st_size
        if size != facts["bytes"] or (size <= CHECKED_BYTES and _checksum(file) != facts["crc32"]):
            raise ValueError(f"{path} is damaged")
        if size % (dtype.itemsize * math.prod(shape)):
            raise ValueError(f"{path} does not hold whole rows")
        if size == 0:
            return np.zeros((0, *shape), dtype)
        # A plain array over the map: slicing a `memmap` itself takes ten times as long.
        return np.memmap(file, dtype, mode="r").reshape(-1, *shape).view(np.ndarray)


def _kind(path: Path, facts: JSON) -> ArrayKind:
    """The type and the shape of a row that a manifest gives an array. Of types, only numbers are known."""
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "bytes", "crc32"}:
        raise ValueError(f"{path}: the manifest does not describe it")
    dtype, shape = facts["dtype"], facts["shape"]
    if dtype not in DTYPES:
        raise ValueError(f"{path}: a type of numbers that is not stored")
    sizes = [facts["bytes"], facts["crc32"], *shape] if isinstance(shape, list) and len(shape) <= 8 else [None]
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in sizes) or 0 in shape:
        raise ValueError(f"{path}: a shape or a size that an array cannot have")
    return np.dtype(dtype), tuple(shape)


def checksum(path: Path) -> int:
    """CRC-32 of a file: it finds damage, not tampering."""
    with path.open("rb") as file:
        return _checksum(file)


def _checksum(file: IO[bytes]) -> int:
    crc = 0
    while block := file.read(1 << 20):
        crc = zlib.crc32(block, crc)
    return crc
