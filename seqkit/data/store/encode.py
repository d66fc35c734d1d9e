"""Examples to packs: the encoded rows of some consecutive examples as bytes, and all that was counted on the way.

The same code runs in the process that reads and in those that help it (`seqkit.data.store.parallel_encode`), so that
what is written does not depend on who encoded it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

import numpy as np

from seqkit.data.store.report import Counts, ReportBuilder
from seqkit.errors import DataError, Problem
from seqkit.types import Field, Limit

PROBLEMS_SHOWN: Final = 20
DIGEST: Final = 16
"""Bytes of the hash by which an input is known again."""

ArrayKind: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]
"""The type of an array's numbers, and the shape of one row."""

_BYTE: Final = (np.dtype(np.uint8), ())
_NUMBER: Final = (np.dtype(np.int64), ())


class Problems:
    """Everything that is wrong with the examples, counted; the first few are kept."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.count = 0

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.first) < PROBLEMS_SHOWN:
            self.first.append(Problem(where, what))

    def join(self, later: Problems) -> None:
        """Those of later examples, too."""
        self.first += later.first[: PROBLEMS_SHOWN - len(self.first)]
        self.count += later.count

    @contextmanager
    def at(self, where: str, side: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            self.add(where, f"{side}{error}")

    def stop(self) -> None:
        """Raises DataError if there are any."""
        more = [Problem("", f"and {self.count - len(self.first):,} more")] if self.count > len(self.first) else []
        if self.first:
            raise DataError(self.first + more)


@final
@dataclass(slots=True)
class Part:
    """What a pack has for one array.

    Attributes:
        kind: type and shape of a row.
        raw: the rows, one after the other.
        rows: how many rows each entry has; None: an entry is one row.
    """

    kind: ArrayKind
    raw: bytes
    rows: np.ndarray | None


@final
@dataclass(slots=True)
class EncodedChunk:
    """Some consecutive examples of a split, encoded.

    Attributes:
        parts: by the name of the array; the numbers of `origin` begin at 0.
        digests: 16 bytes for each example: its input, before any cut.
        counts: for the report.
        problems: what must not be; the examples from the first one on are in no part.
        left_out: inputs that cannot be encoded, where the task allows that.
        fault: a field gave another type or shape than before: what is to be said of it.
    """

    parts: dict[str, Part] = field(default_factory=dict)
    digests: bytes = b""
    counts: Counts = field(default_factory=Counts)
    problems: Problems = field(default_factory=Problems)
    left_out: Problems = field(default_factory=Problems)
    fault: str | None = None


class ChunkEncoder:
    """Encodes examples one by one and packs what comes of them.

    Args:
        input: the fitted input field.
        target: the fitted target field; None: there is none, or it follows from the input.
        limit: the most steps of an input, and what becomes of a longer one.
        quarantine: inputs that cannot be encoded are left out and are no error.
    """

    def __init__(self, input: Field, target: Field | None, limit: Limit | None, *, quarantine: bool) -> None:
        self._input, self._target, self._limit = input, target, limit
        self._ragged = {"x": input.ragged, "y": target.ragged if target else False}
        self._aligned = target is not None and target.aligned
        self._quarantine = quarantine
        self._begin()

    def _begin(self) -> None:
        self.size = 0
        """Bytes of the encoded inputs and targets so far."""
        self._pack = EncodedChunk()
        self._tally = ReportBuilder("", self._input, self._target, self._limit)
        self._kinds: dict[str, ArrayKind] = {}
        self._raw: dict[str, list[bytes]] = {"x": [], "y": [], "ids": []}
        self._rows: dict[str, list[int]] = {"x": [], "y": []}
        self._origin: list[int] = []
        self._digests: list[bytes] = []

    def add(self, input: Any, target: Any, id: str) -> None:
        """One more example."""
        pack = self._pack
        x, y = None, None
        try:
            x = encoded(self._input, input)
        except ValueError as error:
            (pack.left_out if self._quarantine else pack.problems).add(id, f"input {error}")
        if self._target is not None:
            try:
                y = encoded(self._target, target)
                if x is not None and self._aligned and len(x) != len(y):
                    raise ValueError(f"has {len(y):,} {self._target.unit} for {len(x):,} {self._input.unit}")
            except ValueError as error:
                pack.problems.add(id, f"target {error}")
        if x is None or (y is None and self._target is not None) or pack.problems.count or pack.fault:
            return
        whole = x.tobytes()
        self._digests.append(hashlib.blake2b(whole, digest_size=DIGEST).digest())
        parts = self._tally.parts(x, y)
        alone = self._tally.whole
        name = id.encode("utf-8", "surrogatepass")
        for part in parts:
            self._put("x", x if alone or not self._ragged["x"] else x[part], whole if alone else None)
            if y is not None:
                self._put("y", y if alone or not self._aligned else y[part], None)
            self._raw["ids"].append(name)
            self._origin.append(self._tally.examples - 1)

    def pack(self) -> EncodedChunk:
        """All since the last pack."""
        pack = self._pack
        if self._origin:
            for name, kind in self._kinds.items():
                rows = np.array(self._rows[name], dtype=np.int64) if self._ragged[name] else None
                pack.parts[name] = Part(kind, b"".join(self._raw[name]), rows)
            ids = self._raw["ids"]
            pack.parts["ids"] = Part(_BYTE, b"".join(ids), np.fromiter(map(len, ids), np.int64, len(ids)))
            pack.parts["origin"] = Part(_NUMBER, np.array(self._origin, dtype=np.int64).tobytes(), None)
        pack.digests = b"".join(self._digests)
        pack.counts = self._tally.counts
        if "x" in pack.parts and self._tally.deferred:
            kind, raw = self._kinds["x"], pack.parts["x"].raw
            pack.counts.unknown += self._input.count_unknown(np.frombuffer(raw, kind[0]).reshape(-1, *kind[1]))
        self._begin()
        return pack

    def _put(self, name: str, array: np.ndarray, raw: bytes | None) -> None:
        ragged = self._ragged[name]
        shape = array.shape
        kind = (array.dtype, shape[1:] if ragged else shape)
        if name not in self._kinds:
            self._kinds[name] = kind
        elif self._kinds[name] != kind:
            self._pack.fault = self._pack.fault or fault(name, kind, self._kinds[name])
            return
        if raw is None:
            raw = array.tobytes()
        self.size += len(raw)
        self._raw[name].append(raw)
        if ragged:
            self._rows[name].append(shape[0])


def fault(name: str, kind: ArrayKind, before: ArrayKind) -> str:
    """What to say to the author of a field whose arrays differ."""
    return f"a field gave {kind} for {name} after {before}: its type must be fixed"


def encoded(side: Field, value: Any) -> np.ndarray:
    """A value as its field encodes it. Raises ValueError for what it cannot encode, and for nothing at all."""
    array = np.asarray(side.encode(value))
    if side.ragged and len(array) == 0:
        raise ValueError("is empty")
    return array
