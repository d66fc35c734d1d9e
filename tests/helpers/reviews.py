"""A small task over rows in memory, and what tests of the store ask about its cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqkit.errors import DataError
from seqkit.fields import Label, Tokens
from seqkit.types import Example, Task

REVIEWS = {
    "train": [("a good film", "1"), ("a bad film", "0"), ("not good , not bad", "1")],
    "dev": [("a good film", "1"), ("a dull film", "0")],
    "test": [("bad , bad , bad", "0")],
}


def task(rows: Any = None, **changes: Any) -> Task:
    """A task over rows given as they are: {split: [(input, target), ...]}."""
    rows = REVIEWS if rows is None else rows

    def read(split: str) -> Iterator[Example]:
        for number, (x, y) in enumerate(rows[split], 1):
            yield Example(x, y, f"{split}.tsv:{number}")

    options: dict[str, Any] = {"input": Tokens(), "target": Label(), "head": "classify", "best": "accuracy"}
    return Task(read=read, **(options | {"splits": tuple(rows)} | changes))


def problems(work: Callable[[], Any]) -> list[str]:
    with pytest.raises(DataError) as caught:
        work()
    return [str(problem) for problem in caught.value.problems]


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "store").glob("*"))
