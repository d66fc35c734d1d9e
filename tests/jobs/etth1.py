"""The next day of an electricity transformer, all channels, hour by hour: a plugin in 40 lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seqkit import Count, Example, NextValues, Scaling, Task, Vectors, readers
from seqkit.forecasts import forecast_scores


def transformer(*, file: Path, hours: tuple[Count, Count, Count] = (8640, 2880, 2880), history: Count = 96) -> Task:
    """What are the next 24 hours of each channel? Scores are in units of the deviations in training.

    Args:
        file: a table with a row for each hour, its time first.
        hours: how many are train, dev and test, in this order.
        history: hours that a forecast sees.
    """
    ends = np.cumsum(hours)

    def rows() -> np.ndarray:
        _, *table = readers.records(file)
        return np.array([[float(cell) for cell in record.fields[1:]] for record in table])

    def read(split: str) -> Iterator[Example]:
        number = ("train", "dev", "test").index(split)
        first = 0 if split == "train" else int(ends[number - 1]) - history
        yield Example(rows()[first : int(ends[number])], None, split)

    return Task(
        read=read,
        input=Vectors(scaling=Scaling("last", "deviation")),
        target=NextValues(24, history=history),
        head="regress",
        metric=forecast_scores(season=24, unit_of=lambda id: rows()[: hours[0]].std(axis=0)),
        best="min:mse",
    )
