"""Where series come from: generated ones, public data, the user's file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from seqkit import DataError, Dataset, File, Problem, fetch, readers

_ETT: Final = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small"
ETTH1: Final = Dataset(
    "forecasting/etth1",
    (
        File(
            "ETTh1.csv",
            f"{_ETT}/ETTh1.csv",
            "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            2_589_657,
        ),
    ),
    licence="CC BY-ND 4.0",
    about="oil temperature and loads of an electricity transformer, hourly, two years (Zhou et al. 2021, Informer)",
)


@final
@dataclass(frozen=True)
class Series:
    """A series, and where its parts end.

    Attributes:
        id: its name.
        values: (T, C), NaN where a value is missing.
        dev: the first step that belongs to dev; all before it is for training.
        test: the first step that belongs to test.
        end: the step after the last one that is used.
    """

    id: str
    values: np.ndarray
    dev: int
    test: int
    end: int

    def past(self, split: str) -> np.ndarray:
        """(T, C) all that is known before the forecasts of a split."""
        return self.values[: {"train": self.dev, "dev": self.dev, "test": self.test}[split]]

    def part(self, split: str, history: int) -> tuple[int, np.ndarray]:
        """(first step, rows) of a split: the steps that are predicted, after `history` steps of the past."""
        if split == "train":
            return 0, self.values[: self.dev]
        start, stop = (self.dev, self.test) if split == "dev" else (self.test, self.end)
        first = max(0, start - history)
        return first, self.values[first:stop]


@final
@dataclass(frozen=True)
class Source:
    """Some series of one kind.

    Attributes:
        horizon: the steps that are predicted, unless the recipe says otherwise.
        season: the steps of a season, likewise.
        load: the series, each with all channels that are measured together, given the horizon.
        files: what they are read from; None: they are generated.
        about: facts for the run folder.
    """

    horizon: int
    season: int
    load: Callable[[int], list[Series]]
    files: Callable[[], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def _about(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _paths(dataset: Dataset) -> list[Path]:
    folder = fetch(dataset)
    return [folder / file.path for file in dataset.files]


def etth1(horizon: int) -> list[Series]:
    """The transformer's seven channels; 12, 4 and 4 months of 30 days are train, dev and test, as in the papers."""
    (path,) = _paths(ETTH1)
    rows = list(readers.records(path))
    names = rows[0].fields[1:]
    values = np.array([[float(cell) for cell in row.fields[1:]] for row in rows[1:]])
    month = 30 * 24
    return [Series(",".join(names), values, 12 * month, 16 * month, 20 * month)]


def generated(horizon: int, *, count: int = 40, steps: int = 240, season: int = 12, seed: int = 1) -> list[Series]:
    """Series with a trend, a season and noise, of very different sizes; see `last_horizons` for their parts."""
    dice = random.Random(f"series {seed}")
    series = []
    for number in range(count):
        size = 10.0 ** (1 + 2 * dice.random())
        slope, phase, noise = dice.uniform(-0.2, 0.4), dice.uniform(0, 2 * math.pi), 0.02 + 0.06 * dice.random()
        rows = []
        for step in range(steps - 20 * (number % 3)):
            wave = math.sin(2 * math.pi * step / season + phase) + 0.4 * math.sin(4 * math.pi * step / season)
            rows.append([size * (1.0 + slope * step / steps + 0.3 * wave + noise * dice.gauss(0.0, 1.0))])
        series.append(last_horizons(f"S{number + 1}", np.array(rows), horizon))
    return series


def last_horizons(id: str, values: np.ndarray, horizon: int) -> Series:
    """A series whose last `horizon` steps are test, and those before them dev.

    Raises:
        DataError: it is too short for that.
    """
    length = len(values)
    if length < 3 * horizon + 1:
        hint = f"it needs {3 * horizon + 1}: some to learn from, and {horizon} each for train, dev and test"
        raise DataError(Problem(id, f"has {length} steps", hint))
    return Series(id, values, length - 2 * horizon, length - horizon, length)


SOURCES: Final[Mapping[str, Source]] = {
    "generated": Source(12, 12, generated, about={"dataset": "generated series"}),
    "etth1": Source(24, 24, etth1, lambda: _paths(ETTH1), _about(ETTH1)),
}
