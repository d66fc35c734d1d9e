"""Examples to chunks: the encoded rows of some consecutive examples as bytes, and all that was counted on the way.

The process that reads and its worker processes (`seqkit.data.store.parallel_encode`) run the same code, so that what is
written does not depend on which of them encoded it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

import numpy as np

from seqkit.data.store.report import Counts, ReportBuilder
from seqkit.errors import DataError, Problem, ValueProblem
from seqkit.fields.vocabulary import UnseenLabel
from seqkit.reading import report_changed
from seqkit.types import JSON, Example, Field, Flaw, Limit

PROBLEMS_SHOWN: Final = 20
"""How many problems are kept and shown; the others are only counted."""

DIGEST: Final = 16
"""Bytes of the hash by which equal inputs are recognised."""

_RECOMPOSED: Final = "text with letters in several code points that have one of their own (read as that: NFC)"

ArrayKind: TypeAlias = tuple[np.dtype[Any], tuple[int, ...]]
"""The type of an array's numbers, and the shape of one row."""

_ID_KIND: Final = (np.dtype(np.uint8), ())
_ORIGIN_KIND: Final = (np.dtype(np.int64), ())


class Problems:
    """Everything that is wrong with the examples: all problems are counted, and the first few are kept.

    Attributes:
        first: the first problems, at most `PROBLEMS_SHOWN`.
        count: how many there are.
        has_unseen_labels: whether a target is a label that training lacks.
    """

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.count = 0
        self.has_unseen_labels = False

    def add(self, where: str, side: str, error: ValueError) -> None:
        """Count what a field said of a value; `side` is "input" or "target". The same of a header is said once."""
        problem = problem_of(where, side, error)
        if isinstance(error, ValueProblem) and problem in self.first:
            return
        self.count += 1
        self.has_unseen_labels |= isinstance(error, UnseenLabel)
        if len(self.first) < PROBLEMS_SHOWN:
            self.first.append(problem)

    def join(self, later: Problems) -> None:
        """Add the problems of later examples."""
        first = [problem for problem in later.first if problem not in self.first]
        self.count += later.count - (len(later.first) - len(first))
        self.first += first[: PROBLEMS_SHOWN - len(self.first)]
        self.has_unseen_labels |= later.has_unseen_labels

    def facts(self) -> JSON:
        """Everything, as JSON."""
        return {"first": [dataclasses.asdict(problem) for problem in self.first], "count": self.count}

    @classmethod
    def restore(cls, facts: JSON) -> Problems:
        """The problems whose `facts` these are."""
        problems = cls()
        problems.first, problems.count = [Problem(**fields) for fields in facts["first"]], facts["count"]
        return problems

    @contextmanager
    def catch(self, where: str, side: str) -> Iterator[None]:
        """Within this block a ValueError becomes a problem of `side` ("input" or "target") at `where`."""
        try:
            yield
        except ValueError as error:
            self.add(where, side, error)

    def listed(self) -> list[Problem]:
        """The first problems, and the number of the others."""
        more = [Problem("", f"and {self.count - len(self.first):,} more")] if self.count > len(self.first) else []
        return self.first + more

    def raise_if_any(self) -> None:
        """Raise one DataError with the first problems and the number of the others, unless there are none."""
        if self.first:
            raise DataError(self.listed())


@final
@dataclass(slots=True)
class ArrayChunk:
    """What a chunk adds to one array.

    Attributes:
        kind: type and shape of a row.
        raw: the rows as bytes, one after the other.
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
        arrays: by name: `x`, `y`, `ids`, `origin`. The numbers of `origin` start at 0 in each chunk.
        digests: `DIGEST` bytes for each example: the hash of its encoded input, before any cut.
        pair_digests: likewise of input and target, where the target is a sequence of its own and not a class.
        counts: for the report.
        problems: what is wrong; from the first example with a problem on, nothing is added to the arrays.
        left_out: inputs that cannot be encoded and were left out, which the task allows.
        kind_error: the message, if a field gave an array of another type or shape than before.
    """

    arrays: dict[str, ArrayChunk] = field(default_factory=dict)
    digests: bytes = b""
    pair_digests: bytes = b""
    counts: Counts = field(default_factory=Counts)
    problems: Problems = field(default_factory=Problems)
    left_out: Problems = field(default_factory=Problems)
    kind_error: str | None = None


class ChunkEncoder:
    """Encodes examples one by one and collects them in chunks.

    Args:
        input: the fitted input field.
        target: the fitted target field; None: there is none, or it follows from the input.
        limit: the most steps of an input, and what happens to a longer one.
        quarantine: inputs that cannot be encoded are left out instead of being an error.

    Attributes:
        size: bytes of encoded inputs and targets in the chunk so far.
    """

    def __init__(self, input: Field, target: Field | None, limit: Limit | None, *, quarantine: bool) -> None:
        self._input, self._target, self._limit = input, target, limit
        self._ragged = {"x": input.ragged, "y": target.ragged if target else False}
        self._aligned = target is not None and target.aligned
        self._quarantine = quarantine
        self._hashes_pairs = target is not None and target.ragged and not target.aligned
        self._start_chunk()

    def _start_chunk(self) -> None:
        self.size = 0
        self._chunk = EncodedChunk()
        self._report = ReportBuilder("", self._input, self._target, self._limit)
        self._kinds: dict[str, ArrayKind] = {}
        self._raw: dict[str, list[bytes]] = {"x": [], "y": [], "ids": []}
        self._rows: dict[str, list[int]] = {"x": [], "y": []}
        self._origin: list[int] = []
        self._digests: list[bytes] = []
        self._pair_digests: list[bytes] = []

    def add(self, input: Any, target: Any, id: str) -> None:
        """Encode one more example."""
        chunk = self._chunk
        x, y = None, None
        try:
            x = encode_value(self._input, input)
        except ValueError as error:
            (chunk.left_out if self._quarantine else chunk.problems).add(id, "input", error)
        if self._target is not None:
            try:
                y = encode_value(self._target, target)
                if x is not None and self._aligned and len(x) != len(y):
                    raise ValueError(f"has {len(y):,} {self._target.unit} for {len(x):,} {self._input.unit}")
            except ValueError as error:
                chunk.problems.add(id, "target", error)
        if x is None or (y is None and self._target is not None) or chunk.problems.count or chunk.kind_error:
            return
        raw = x.tobytes()
        digest = hashlib.blake2b(raw, digest_size=DIGEST).digest()
        self._digests.append(digest)
        if self._hashes_pairs and y is not None:
            self._pair_digests.append(hashlib.blake2b(digest + y.tobytes(), digest_size=DIGEST).digest())
        selections = self._report.add(x, y)
        is_uncut = self._report.is_uncut
        id_bytes = id.encode("utf-8", "surrogatepass")
        for selection in selections:
            self._append("x", x if is_uncut or not self._ragged["x"] else x[selection], raw if is_uncut else None)
            if y is not None:
                self._append("y", y if is_uncut or not self._aligned else y[selection], None)
            self._raw["ids"].append(id_bytes)
            self._origin.append(self._report.examples - 1)

    def finish_chunk(self) -> EncodedChunk:
        """Everything since the last chunk. The next example starts a new one."""
        chunk = self._chunk
        if self._origin:
            for name, kind in self._kinds.items():
                rows = np.array(self._rows[name], dtype=np.int64) if self._ragged[name] else None
                chunk.arrays[name] = ArrayChunk(kind, b"".join(self._raw[name]), rows)
            ids = self._raw["ids"]
            chunk.arrays["ids"] = ArrayChunk(_ID_KIND, b"".join(ids), np.fromiter(map(len, ids), np.int64, len(ids)))
            origin = np.array(self._origin, dtype=np.int64)
            chunk.arrays["origin"] = ArrayChunk(_ORIGIN_KIND, origin.tobytes(), None)
        chunk.digests, chunk.pair_digests = b"".join(self._digests), b"".join(self._pair_digests)
        self._report.count_targets()
        chunk.counts = self._report.counts
        if "x" in chunk.arrays and self._report.counts_unknown_at_once:
            (dtype, shape), raw = chunk.arrays["x"].kind, chunk.arrays["x"].raw
            chunk.counts.unknown += self._input.count_unknown(np.frombuffer(raw, dtype).reshape(-1, *shape))
        self._start_chunk()
        return chunk

    def _append(self, name: str, array: np.ndarray, raw: bytes | None) -> None:
        """Add one entry to an array; `raw` are its bytes, if they are known."""
        ragged = self._ragged[name]
        shape = array.shape
        kind = (array.dtype, shape[1:] if ragged else shape)
        if name not in self._kinds:
            self._kinds[name] = kind
        elif self._kinds[name] != kind:
            self._chunk.kind_error = self._chunk.kind_error or kind_error(name, kind, self._kinds[name])
            return
        if raw is None:
            raw = array.tobytes()
        self.size += len(raw)
        self._raw[name].append(raw)
        if ragged:
            self._rows[name].append(shape[0])


def kind_error(name: str, kind: ArrayKind, before: ArrayKind) -> str:
    """The message for the author of a field whose arrays differ in type or shape."""
    return (
        f"a field gave {_kind_text(kind)} for {name}, but {_kind_text(before)} before; "
        "the type and the shape of a row must be the same for all values"
    )


def _kind_text(kind: ArrayKind) -> str:
    dtype, shape = kind
    return f"{dtype} numbers" if not shape else f"{dtype} rows of shape {shape}"


def report_recomposed(example: Example, fields: tuple[Field, Field]) -> None:
    """Report an example whose text is read in another Unicode form than it has."""
    for side, value in zip(fields, (example.input, example.target), strict=True):
        if side.canonical(value) is not value:
            report_changed(_RECOMPOSED, example.id)


def problem_of(where: str, side: str, error: ValueError) -> Problem:
    """What a field said of a value of the example `where`; `side` is "input" or "target"."""
    if isinstance(error, ValueProblem) and error.problem.where:
        return error.problem
    return Problem(where, f"{side} {error}")


def encode_value(side: Field, value: Any) -> np.ndarray:
    """A value as its field encodes it. Raises ValueError if the field cannot encode it, or if it has no steps."""
    if isinstance(value, Flaw):
        raise ValueError(value.what)
    array = np.asarray(side.encode(value))
    if side.ragged and len(array) == 0:
        raise ValueError("is empty")
    return array
