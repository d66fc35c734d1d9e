"""Tasks over a few short texts, read as characters, and columns of random rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.fields import Next, Tokens
from seqkit.types import Example, Task

TEXTS = ["abc", "abcdefg", "a", "bb", "ccccc", "dcba"]


def reader(rows: list[tuple[str, Any]]) -> Any:
    """A `read` that gives the same rows for every split."""

    def read(split: str) -> Iterator[Example]:
        for number, (value, target) in enumerate(rows, start=1):
            yield Example(value, target, f"{split}.tsv:{number}")

    return read


def prepare(task: Task, folder: Path, name: str = "task") -> TaskData:
    prepared = store.prepare(task, key={"test": name}, cache=folder)
    return TaskData(name, task, prepared.input, prepared.target, prepared.splits)


def next_characters(folder: Path, window: int | None = None, texts: list[str] = TEXTS) -> TaskData:
    """A task that predicts the next character of each text."""
    read = reader([(text, None) for text in texts])
    task = Task(read=read, input=Tokens("characters"), target=Next(), head="language", best="nats", window=window)
    return prepare(task, folder, f"language-{window}-{len(texts)}")


def random_column(dtype: str, shape: tuple[int, ...], *, ragged: bool = True, examples: int = 12) -> store.Column:
    dice = np.random.default_rng(1)
    lengths = dice.integers(1, 9, examples)
    total = int(lengths.sum()) if ragged else examples
    data = (dice.standard_normal((total, *shape)) * 50).astype(dtype)
    return store.Column(data, np.concatenate([[0], np.cumsum(lengths)]) if ragged else None)


def bits(array: np.ndarray) -> bytes:
    """Type, shape and bytes of an array, so that 0.0 and -0.0 differ."""
    return f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()
