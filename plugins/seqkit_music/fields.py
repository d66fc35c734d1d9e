"""Notes that sound together, as an input and as what comes next: the fields of the task `music`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, final

import numpy as np

from seqkit import JSON, Field

if TYPE_CHECKING:
    from torch import nn

Steps: TypeAlias = list[list[int]]
"""A piece: at each step, the MIDI pitches that sound."""

LOWEST: Final = 21
KEYS: Final = 88
"""A piano has the MIDI pitches from 21 to 108."""
START: Final = KEYS
"""The column of the row before the first step."""


def parse_steps(line: str) -> Steps:
    """`60,64,67 - 62,65`: steps with blanks between them, pitches with commas; `-` is silence.

    Raises ValueError for anything else.
    """
    steps: Steps = []
    for place, word in enumerate(line.split(), start=1):
        try:
            steps.append([] if word == "-" else [int(pitch) for pitch in word.split(",")])
        except ValueError:
            raise ValueError(f"step {place}: {word!r} should be pitches with commas between them, or -") from None
    return steps


def rows_of(value: Any) -> np.ndarray:
    """(T, 88) uint8 of a piece, 1 where a key sounds. Raises ValueError for anything but steps of pitches."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError("should be a list of steps, each a list of MIDI pitches")
    rows = np.zeros((len(value), KEYS), dtype=np.uint8)
    for place, step in enumerate(value, start=1):
        if not isinstance(step, Sequence) or not all(type(pitch) is int for pitch in step):
            raise ValueError(f"step {place}: should be a list of MIDI pitches")
        for pitch in step:
            if not LOWEST <= pitch < LOWEST + KEYS:
                raise ValueError(f"step {place}: pitch {pitch} is not one of a piano, {LOWEST} to {LOWEST + KEYS - 1}")
            rows[place - 1, pitch - LOWEST] = 1
    return rows


def steps_of(rows: np.ndarray) -> Steps:
    return [[LOWEST + int(key) for key in np.flatnonzero(row[:KEYS])] for row in np.asarray(rows)]


@final
@dataclass(frozen=True)
class Chords(Field):
    """The steps of a piece as input, (1 + T, 89) uint8: a row that says that it begins, then 88 keys a step."""

    def encode(self, value: Any) -> np.ndarray:
        rows = rows_of(value)
        if not len(rows):
            raise ValueError("is empty")
        return self._begun(rows)

    def _begun(self, rows: np.ndarray) -> np.ndarray:
        encoded = np.zeros((len(rows) + 1, self.size), dtype=np.uint8)
        encoded[0, START] = 1
        encoded[1:, :KEYS] = rows
        return encoded

    def decode(self, array: np.ndarray) -> Steps:
        return steps_of(np.asarray(array)[1:])

    def feed(self, piece: Any, kept: JSON = None, *, end: bool = False) -> tuple[np.ndarray | None, JSON]:
        """Pieces are lists of whole steps."""
        value = [] if piece is None else parse_steps(piece) if isinstance(piece, str) else piece
        encoded = self._begun(rows_of(value))[0 if kept is None else 1 :]
        return (encoded if len(encoded) else None), True

    @property
    def size(self) -> int:
        """The columns of a row."""
        return KEYS + 1

    def sample(self, generator: np.random.Generator, steps: int) -> np.ndarray:
        return (generator.random((steps, self.size)) < 0.05).astype(np.uint8)

    def layer(self, dim: int) -> nn.Module:
        from seqkit_music.layers import Keys

        return Keys(self.size, dim)


@final
@dataclass(frozen=True)
class NextChords(Field):
    """What sounds after each row of the input, (T, 88) uint8."""

    aligned: ClassVar[bool] = True

    def encode(self, value: Any) -> np.ndarray:
        rows = rows_of(value)
        if not len(rows):
            raise ValueError("is empty")
        return rows

    def decode(self, array: np.ndarray) -> Steps:
        return steps_of(array)

    @property
    def size(self) -> int:
        """The keys of a piano."""
        return KEYS
