"""Counting the inputs of other splits that are also inputs of train, by their hashes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from seqkit.data.store.encode import DIGEST

_QUERIES: Final = 1 << 20
"""Hashes of another split that are compared with train at a time."""

DIFFERENT_COUNTED: Final = 1000
"""Different inputs of a split are counted up to this number."""

_BLOCK: Final = 1 << 18
"""Hashes of train that are read at a time."""


class DuplicateCounter:
    """Collects the hashes of train's inputs, then counts how many of another split's are among them.

    Memory does not grow with the data: train's hashes are kept in the file (16 bytes an example), and those of the
    other split are compared a million at a time.

    Args:
        path: a file to write, removed in the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._train_is_complete = False
        self._queries = bytearray()
        self._count = 0
        self._different: set[bytes] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)

    def add_train(self, digests: bytes) -> None:
        """Add the hashes of some inputs of train."""
        self._count_different(digests)
        with self._path.open("ab") as file:
            file.write(digests)

    def finish_train(self) -> None:
        """Train is complete: from now on other splits can be compared with it."""
        self._train_is_complete = True

    def add(self, digests: bytes) -> None:
        """Add the hashes of some inputs of another split."""
        self._count_different(digests)
        if not self._train_is_complete:
            return
        self._queries += digests
        if len(self._queries) >= _QUERIES * DIGEST:
            self._compare()

    def take_count(self) -> int | None:
        """How many of the inputs added since the last call are in train; None if train is not complete."""
        if not self._train_is_complete:
            return None
        self._compare()
        count, self._count = self._count, 0
        return count

    def take_different(self) -> int | None:
        """How many different inputs were added since the last call; None: more than `DIFFERENT_COUNTED`."""
        count = len(self._different)
        self._different.clear()
        return count if count <= DIFFERENT_COUNTED else None

    def _count_different(self, digests: bytes) -> None:
        for start in range(0, len(digests), DIGEST):
            if len(self._different) > DIFFERENT_COUNTED:
                return
            self._different.add(digests[start : start + DIGEST])

    def _compare(self) -> None:
        """Count the collected hashes that are in the file.

        The first halves of the hashes are compared first, which few different inputs share, then the whole hashes of
        those that agree.
        """
        queries, self._queries = bytes(self._queries), bytearray()
        if not queries or not self._path.exists():
            return
        query_halves = np.sort(np.frombuffer(queries, dtype="<u8")[::2])
        candidates = np.zeros(0, dtype=f"S{DIGEST}")
        with self._path.open("rb") as file:
            while raw := file.read(_BLOCK * DIGEST):
                train_halves = np.frombuffer(raw, dtype="<u8")[::2]
                nearest = np.minimum(np.searchsorted(query_halves, train_halves), len(query_halves) - 1)
                agreeing = np.frombuffer(raw, dtype=candidates.dtype)[query_halves[nearest] == train_halves]
                if len(agreeing):
                    candidates = np.unique(np.concatenate([candidates, agreeing]))
        self._count += int(np.isin(np.frombuffer(queries, dtype=candidates.dtype), candidates).sum())
