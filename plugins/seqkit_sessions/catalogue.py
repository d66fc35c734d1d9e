"""The items of the training data and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

import numpy as np

UNKNOWN: Final = 0
"""The number of every item that is not in the training data; those that are have 1, 2, ..., the commonest first."""


@final
@dataclass(frozen=True)
class Catalogue:
    """The items of the training data, the commonest first, with their counts.

    Attributes:
        items: the items; item k has the number k + 1.
        counts: how often each is in the training data.
    """

    items: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, sessions: Iterable[Sequence[str]]) -> Catalogue:
        """Raises ValueError if there are no items."""
        counted = Counter(item for session in sessions for item in session)
        if not counted:
            raise ValueError("has no items: no session of train has two of them")
        ordered = sorted(counted, key=lambda item: (-counted[item], item))
        return cls(tuple(ordered), tuple(counted[item] for item in ordered))

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """{item: its number}."""
        return {item: number for number, item in enumerate(self.items, start=1)}

    def encode(self, items: Sequence[str]) -> np.ndarray:
        """(T,) int32."""
        return np.array([self.numbers.get(item, UNKNOWN) for item in items], dtype=np.int32)

    def decode(self, numbers: Iterable[int]) -> list[str]:
        return ["<unknown>" if number == UNKNOWN else self.items[number - 1] for number in numbers]
