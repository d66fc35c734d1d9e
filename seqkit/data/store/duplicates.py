"""Inputs of other splits that are inputs of train, too: counted by their hashes, which lie in a file meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from seqkit.data.store.encode import DIGEST

# Hashes that are compared at once: of another split, and of train.
_OWN: Final = 1 << 20
_BLOCK: Final = 1 << 18


class Repeats:
    """Hashes of train's inputs, then how many of another split's are among them.

    Memory does not grow with the data: train's hashes are written to the file (16 bytes an example), and those of the
    other split are compared a million at a time.

    Args:
        path: a file that is made, and gone in the end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = False
        self._own = bytearray()
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)

    def learn(self, digests: bytes) -> None:
        """These are inputs of train."""
        with self._path.open("ab") as file:
            file.write(digests)

    def learned(self) -> None:
        """That was all of train; from now on others can be compared with it."""
        self._known = True

    def look(self, digests: bytes) -> None:
        """These are inputs of another split."""
        if not self._known:
            return
        self._own += digests
        if len(self._own) >= _OWN * DIGEST:
            self._compare()

    def seen(self) -> int | None:
        """How many of those that were looked at since the last time are in train; None before train is known."""
        if not self._known:
            return None
        self._compare()
        count, self._count = self._count, 0
        return count

    def _compare(self) -> None:
        """By the first half of a hash, which few others share; then those alone by all of it."""
        own, self._own = bytes(self._own), bytearray()
        if not own or not self._path.exists():
            return
        halves = np.sort(np.frombuffer(own, dtype="<u8")[::2])
        found = np.zeros(0, dtype=f"S{DIGEST}")
        with self._path.open("rb") as file:
            while raw := file.read(_BLOCK * DIGEST):
                known = np.frombuffer(raw, dtype="<u8")[::2]
                at = np.minimum(np.searchsorted(halves, known), len(halves) - 1)
                alike = np.frombuffer(raw, dtype=found.dtype)[halves[at] == known]
                if len(alike):
                    found = np.unique(np.concatenate([found, alike]))
        self._count += int(np.isin(np.frombuffer(own, dtype=found.dtype), found).sum())
