"""How many cycles an engine will still run, at each cycle: a plugin in 40 lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqkit import Count, Example, Prediction, StepValues, Task, Vectors, readers


def last_cycle(predictions: Sequence[Prediction], targets: Sequence[Any]) -> dict[str, float]:
    """The root mean squared error at the last cycle of each engine."""
    errors = [p.value[-1] - target[-1] for p, target in zip(predictions, targets, strict=True)]
    return {"rmse": float(np.sqrt(np.square(errors).mean()))}


def remaining(*, folder: Path, cap: Count = 125) -> Task:
    """How long will this engine still run? Every fifth engine of train is dev.

    Args:
        folder: where train, test and RUL_FD001.txt.gz are.
        cap: a longer life counts as so many cycles."""

    def table(name: str) -> np.ndarray:
        lines = readers.numbered(folder / f"{name}_FD001.txt.gz")
        return np.array([[float(cell) for cell in line.text.split()] for line in lines if line.text.strip()])

    def read(split: str) -> Iterator[Example]:
        rows, left = table("test" if split == "test" else "train"), table("RUL")[:, 0]
        for number in np.unique(rows[:, 0]).astype(int):
            if split == "test" or (number % 5 == 0) == (split == "dev"):
                engine, end = rows[rows[:, 0] == number, 2:], left[number - 1] if split == "test" else 0.0
                yield Example(engine, np.minimum(cap, end + np.arange(len(engine))[::-1]), f"{split}:{number}")

    return Task(
        read=read, input=Vectors(standardise=True), target=StepValues(), head="regress", metric=last_cycle, best="rmse"
    )
