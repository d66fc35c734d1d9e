"""Small files of text, and what a reader makes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from seqkit.errors import DataError
from seqkit.types import Example


def write(folder: Path, raw: bytes, name: str = "train.txt") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def inputs(examples: Iterable[Example]) -> list[str]:
    return [example.input for example in examples]


def refusal(read: Callable[[], Iterable[Example]]) -> str:
    with pytest.raises(DataError) as caught:
        list(read())
    (problem,) = caught.value.problems
    return str(problem)


def read_bytes(read: Callable[[Path], Iterable[Example]], raw: bytes) -> list[tuple[str, str]]:
    """(input, target) of each example that a reader makes of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), raw)
        return [(example.input, example.target) for example in read(path)]
