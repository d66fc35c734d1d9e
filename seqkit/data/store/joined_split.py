"""A split that is stored in shards: put together from their entries, and opened again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from seqkit.data.store.cache_entry import OpenShards
from seqkit.data.store.columns import Column, Split, checked_split, checksum, map_array, path_of
from seqkit.data.store.duplicates import DuplicateCounter
from seqkit.data.store.encode import ArrayKind, Problems, kind_error
from seqkit.data.store.report import ReportBuilder, SplitReport
from seqkit.data.store.shard_entries import BadShard, ShardEntry, ShardStore, SplitShards, join_digests
from seqkit.data.store.shard_rows import ShardRows
from seqkit.reading import Reading
from seqkit.types import JSON, Field


class Joined(NamedTuple):
    """What the shards of a split come to.

    Attributes:
        builder: has counted their examples.
        problems: of examples that cannot be encoded.
        left_out: inputs that were left out, which the task allows.
        reading: what readers used and passed over.
        facts: what the manifest says of the split, beside its report.
    """

    builder: ReportBuilder
    problems: Problems
    left_out: Problems
    reading: Reading
    facts: JSON


def join_shards(
    folder: Path, split: str, shards: SplitShards, builder: ReportBuilder, counters: Sequence[DuplicateCounter]
) -> Joined:
    """Make the shards of a split that are missing, and write what is read of it without them.

    Args:
        folder: of the entry of the task.
        split: its name.
        shards: of the split.
        builder: counts its examples.
        counters: of inputs, and of inputs with targets.
    """
    problems, left_out, reading, listed = Problems(), Problems(), Reading(), list[JSON]()
    shards.make_missing()
    with _Places(folder, split) as places:
        for number, key in enumerate(shards.keys):
            try:
                entry = shards.entry(number)
            except BadShard as bad:
                problems.join(bad.problems)
                left_out.join(bad.left_out)
                reading.join(bad.reading)
                listed.append({"key": key, "rows": 0, "lengths": {}})
                continue
            left_out.join(entry.left_out)
            reading.join(entry.reading)
            listed.append({"key": key, "rows": len(entry.split), "lengths": places.add(entry, builder.examples)})
            builder.counts.join(entry.counts)
            for path, counter in zip(entry.digests, counters, strict=True):
                join_digests(path, counter.add_train if split == "train" else counter.add)
    kinds = {name: [dtype.str, list(shape)] for name, (dtype, shape) in places.kinds.items()}
    return Joined(builder, problems, left_out, reading, {"shards": listed, "kinds": kinds, "arrays": places.arrays})


def open_joined(store: ShardStore) -> OpenShards:
    """What opens a split that is stored in these shards; see `open_entry`."""

    def open_shards(handle: int, name: str, facts: JSON, report: SplitReport, fields: tuple[Field, Field]) -> Split:
        shards = store.of_split(name, fields)
        if shards is None or [shard["key"] for shard in facts["shards"]] != shards.keys:
            raise ValueError(f"{name} was stored in other shards")
        shards.expected = [shard["rows"] for shard in facts["shards"]]
        arrays = {array: map_array(path_of(Path(), name, array), of, handle) for array, of in facts["arrays"].items()}
        columns = {"origin": Column(arrays["origin"])}
        for column, (dtype, shape) in facts["kinds"].items():
            counts = [shard["lengths"].get(column, 0) for shard in facts["shards"]]
            rows = ShardRows(counts, np.dtype(dtype), tuple(shape), _reader(shards, column))
            columns[column] = Column(rows, arrays.get(f"{column}.offsets"))
        ends = np.cumsum([shard["rows"] for shard in facts["shards"]], dtype=np.int64)
        return checked_split(name, columns, report, fields, ends)

    return open_shards


def _reader(shards: SplitShards, column: str) -> Any:
    return lambda number: _columns_of(shards.entry(number).split)[column].data


def _columns_of(split: Split) -> dict[str, Column]:
    columns = {"x": split.x, "ids": split.ids.column}  # type: ignore[attr-defined]
    return columns if split.y is None else {**columns, "y": split.y}


class _Places:
    """Writes where each row of a split starts, and which example it is of, while shards are added.

    Attributes:
        kinds: type and shape of a row of each column.
        arrays: once it is closed, what the manifest says of each array.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._files: dict[str, IO[bytes]] = {}
        self._rows: dict[str, int] = {}
        self.kinds: dict[str, ArrayKind] = {}
        self.arrays: dict[str, JSON] = {}

    def __enter__(self) -> _Places:
        return self

    def add(self, entry: ShardEntry, examples: int) -> dict[str, int]:
        """Add a shard that comes after so many examples. Returns how many rows each of its columns has.

        Raises:
            TypeError: a field gave arrays of another type or shape for it.
        """
        lengths = {}
        for name, column in _columns_of(entry.split).items():
            kind = (column.data.dtype, tuple(column.data.shape[1:]))
            if self.kinds.setdefault(name, kind) != kind:
                raise TypeError(kind_error(name, kind, self.kinds[name]))
            lengths[name] = len(column.data)
            before = self._rows.get(name, 0)
            if column.offsets is not None:
                self._file(f"{name}.offsets", bytes(8)).write((column.offsets[1:] + before).astype("<i8").tobytes())
            self._rows[name] = before + lengths[name]
        self._file("origin").write((entry.split.origin + examples).astype("<i8").tobytes())
        return lengths

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            path = path_of(self._folder, self._split, name)
            facts: JSON = {"dtype": "<i8", "shape": [], "bytes": path.stat().st_size, "crc32": checksum(path)}
            self.arrays[name] = facts

    def _file(self, name: str, beginning: bytes = b"") -> IO[bytes]:
        if name not in self._files:
            self._files[name] = path_of(self._folder, self._split, name).open("xb")
            self._files[name].write(beginning)
        return self._files[name]
