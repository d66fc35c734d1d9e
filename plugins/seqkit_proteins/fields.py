"""The target of the task `protein-structure`: a letter for each residue, where it is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from seqkit import JSON, Field

UNKNOWN: Final = "-"
"""The letter of residues whose structure is not known, or does not count."""
NOT_COUNTED: Final = -1
"""Its number."""


@final
@dataclass(frozen=True)
class Structure(Field):
    """Text with a letter for each residue, as (T,) int16; -1 where it is not known.

    Attributes:
        letters: those of the training data, in the order of their numbers.
    """

    aligned: ClassVar[bool] = True
    unit = "residues"
    class_unit = "residues"

    letters: str = ""

    def fit(self, values: Iterable[Any]) -> Self:
        """Raises ValueError if no structure is known at all."""
        letters = "".join(sorted({letter for value in values for letter in _text(value)} - {UNKNOWN}))
        if not letters:
            raise ValueError("training has no known structure at all")
        return replace(self, letters=letters)

    def encode(self, value: Any) -> np.ndarray:
        """Raises ValueError for letters that training does not have."""
        numbers = []
        for place, letter in enumerate(_text(value), start=1):
            number = NOT_COUNTED if letter == UNKNOWN else self.letters.find(letter)
            if number < 0 and letter != UNKNOWN:
                raise ValueError(
                    f"residue {place}: the structure {letter!r} is not one of {self.letters}, or {UNKNOWN}"
                )
            numbers.append(number)
        return np.array(numbers, dtype=np.int16)

    def decode(self, array: np.ndarray) -> str:
        return "".join(UNKNOWN if number < 0 else self.letters[number] for number in np.asarray(array).tolist())

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        """How many residues have each structure."""
        numbers = np.concatenate([np.zeros(0, np.int16), *arrays])
        counts = np.bincount(numbers[numbers >= 0], minlength=self.size)
        return {letter: int(count) for letter, count in zip(self.letters, counts, strict=True)}

    @property
    def size(self) -> int:
        """How many letters there are."""
        return len(self.letters)

    def state(self) -> JSON:
        return self.letters

    def restore(self, state: JSON) -> Self:
        return replace(self, letters=state)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("should be text with a letter for each residue")
    return value
