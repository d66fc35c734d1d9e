"""Where series come from: generated ones, public data, the user's file."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from seqkit import DataError, Dataset, File, Problem, fetch
from seqkit_series.files import TableSeries, read_series
from seqkit_series.form import Form

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

_M4: Final = "not stated; open data of the competition"
_M4_HINT: Final = "the files of the repository M4-methods, folder Dataset, packed by gzip"


def _file(path: str, sha256: str, size: int, url: str | None = None) -> File:
    return File(path, url, sha256, size)


M4_HOURLY: Final = Dataset(
    "forecasting/m4_hourly",
    (
        _file("Hourly-train.csv.gz", "ec441240485a611b7d26630f207b5afacc0a256ba7ef4c64ddc5216a4222b9d9", 517_738),
        _file("Hourly-test.csv.gz", "d1c30a575419529c8150deb1a3c97b568feaec3bae4ce2caf5e12ea1f888a9cb", 35_347),
    ),
    licence=_M4,
    about="414 hourly series of the M4 competition (Makridakis et al. 2020)",
    by_hand=_M4_HINT,
)
M4_WEEKLY: Final = Dataset(
    "forecasting/m4_weekly",
    (
        _file("Weekly-train.csv.gz", "3151f2409cac3f8cc3d54c37b3d5a9f95c8083c275fd6933f8ff08516f9384f2", 1_229_908),
        _file("Weekly-test.csv.gz", "bd0739e3dbbe4087624e5086931e9e63d2daeaf1a0f99aa8331a8f3f5d03e16d", 16_935),
    ),
    licence=_M4,
    about="359 weekly series of the M4 competition (Makridakis et al. 2020)",
    by_hand=_M4_HINT,
)
TOURISM: Final = Dataset(
    "forecasting/tourism",
    (_file("tourism_monthly.tsf.gz", "d52503b6c98a1561b3f0e1370eeadfaadbf91da65f1dab13472c3868f8bf0bcf", 208_212),),
    licence="GPL-3 (R package Tcomp); data of the competition",
    about="366 monthly series of the tourism competition (Athanasopoulos et al. 2011)",
    by_hand="tourism.rda of the R package Tcomp 1.0.1, written as .tsf",
)
HOSPITAL: Final = Dataset(
    "forecasting/hospital",
    (_file("hospital.csv.gz", "8c1f0c610029fdb8c24d2ac1af716d9e63b96b6aa5f847fc6bdebf92565b6db4", 86_445),),
    licence="GPL (at least 2; R package expsmooth)",
    about="767 monthly counts of patients (Hyndman et al. 2008)",
    by_hand="hospital.rda of the R package expsmooth 2.3, written as a table with a column for each series",
)
EXCHANGE: Final = Dataset(
    "forecasting/exchange_rate",
    (
        _file(
            "exchange_rate.txt.gz",
            "6a4fbb561dcdee43f071a83badbeec9223a335552278348656738b556f1c2e9d",
            177_142,
            "https://raw.githubusercontent.com/laiguokun/multivariate-time-series-data/"
            "7f402f185cc2435b5e66aed13a3b560ed142e023/exchange_rate/exchange_rate.txt.gz",
        ),
    ),
    licence="not stated",
    about="exchange rates of eight countries, daily, 1990 to 2016 (Lai et al. 2018)",
)
_ETTH1_FORM: Final = Form(time="date")
_HOSPITAL_FORM: Final = Form(time="month")
_EXCHANGE_FORM: Final = Form(header=False)
_ROWS: Final = Form("rows")


@final
@dataclass(frozen=True)
class Series:
    """A series, and where its parts end.

    Attributes:
        id: its name.
        rows: (T, C + K), the values, NaN where one is missing, and the covariates.
        dev: the first step that belongs to dev; all before it is for training.
        test: the first step that belongs to test.
        end: the step after the last one that is used.
        covariates: K.
        channels: the names of its C channels; empty if it has one.
    """

    id: str
    rows: np.ndarray
    dev: int
    test: int
    end: int
    covariates: int = 0
    channels: tuple[str, ...] = ()

    @property
    def values(self) -> np.ndarray:
        """(T, C)."""
        return self.rows[:, : self.rows.shape[1] - self.covariates]

    def past(self, split: str) -> np.ndarray:
        """(T, C) all that is known before the forecasts of a split."""
        return self.values[: {"train": self.dev, "dev": self.dev, "test": self.test}[split]]

    def part(self, split: str, history: int) -> tuple[int, np.ndarray]:
        """(first step, rows) of a split: the steps that are predicted, after `history` steps of the past."""
        if split == "train":
            return 0, self.rows[: self.dev]
        start, stop = (self.dev, self.test) if split == "dev" else (self.test, self.end)
        first = max(0, start - history)
        return first, self.rows[first:stop]


@final
@dataclass(frozen=True)
class Source:
    """Some series of one kind.

    Attributes:
        horizon: the steps that are predicted, unless the recipe says otherwise.
        season: the steps of a season, likewise.
        load: the series, each with all channels that are measured together, given the horizon and the form.
        files: what they are read from; None: they are generated.
        about: facts for the run folder.
        form: what its tables look like, and others that are predicted for.
        rule: by which its steps are divided into splits.
        apart: its channels are series of their own, whatever the recipe says: they have nothing to do with each other.
    """

    horizon: int
    season: int
    load: Callable[[int, Form], list[Series]]
    files: Callable[[], Sequence[Path]] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    form: Form = field(default_factory=Form)
    rule: str = "the last horizon of each series is test, that before it dev"
    apart: bool = False


def _about(dataset: Dataset) -> dict[str, Any]:
    return {"dataset": dataset.name, "licence": dataset.licence, "about": dataset.about}


def _paths(dataset: Dataset) -> list[Path]:
    folder = fetch(dataset)
    return [folder / file.path for file in dataset.files]


def etth1(horizon: int, form: Form) -> list[Series]:
    """The transformer's seven channels; 12, 4 and 4 months of 30 days are train, dev and test, as in the papers."""
    (one,) = read_series(_paths(ETTH1)[0], form)
    month = 30 * 24
    return [Series(one.id, one.rows, 12 * month, 16 * month, 20 * month, form.covariates, one.channels)]


def exchange(horizon: int, form: Form) -> list[Series]:
    """Eight exchange rates; 60, 20 and 20 % of the days are train, dev and test."""
    (one,) = read_series(_paths(EXCHANGE)[0], form)
    days = len(one.rows)
    return [Series(one.id, one.rows, int(days * 0.6), int(days * 0.8), days, channels=one.channels)]


def _last_horizons_of(dataset: Dataset, horizon: int, form: Form) -> list[Series]:
    """The series of a file; the last horizon is test, that before it dev."""
    path = _paths(dataset)[0]
    return [last_horizons(one, horizon, form.covariates, path=path) for one in read_series(path, form)]


def _m4(dataset: Dataset, horizon: int, form: Form) -> list[Series]:
    """The series of the competition, train and test one after the other; the last horizon of train is dev."""
    train, test = ({one.id: one for one in read_series(path, form)} for path in _paths(dataset))
    every = [replace(one, rows=np.concatenate([one.rows, test[one.id].rows[:horizon]])) for one in train.values()]
    return [last_horizons(one, horizon) for one in every]


def generated(
    horizon: int, form: Form | None = None, *, count: int = 40, steps: int = 240, season: int = 12, seed: int = 1
) -> list[Series]:
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
        series.append(last_horizons(TableSeries(f"S{number + 1}", np.array(rows)), horizon))
    return series


def apart(series: Series) -> list[Series]:
    """A series for each channel, each with all covariates."""
    names = series.channels or (series.id,)
    rest = list(range(series.values.shape[1], series.rows.shape[1]))
    return [
        replace(series, id=name, rows=series.rows[:, [number, *rest]], channels=()) for number, name in enumerate(names)
    ]


def last_horizons(series: TableSeries, horizon: int, covariates: int = 0, *, path: Path | None = None) -> Series:
    """A series whose last `horizon` steps are test, and those before them dev.

    Raises:
        DataError: it is too short for that.
    """
    length = len(series.rows)
    if length < 3 * horizon + 1:
        hint = f"it needs {3 * horizon + 1}: some to learn from, and {horizon} each for train, dev and test"
        whose = "" if len(series.channels) > 1 else f"the series '{series.id}' "
        raise DataError(Problem("" if path is None else str(path), f"{whose}has {length} steps", hint))
    ends = (length - 2 * horizon, length - horizon, length)
    return Series(series.id, series.rows, *ends, covariates, series.channels)


def of_file(path: Path, form: Form, horizon: int, shares: tuple[float, float] | None) -> list[Series]:
    """The series of the user's file.

    Args:
        path: the file.
        form: what it looks like.
        horizon: the steps that are predicted.
        shares: of each series, from its end, which are dev and test; None: a horizon each.

    Raises:
        DataError: a series is too short.
    """
    series = read_series(path, form)
    if shares is None:
        return [last_horizons(one, horizon, form.covariates, path=path) for one in series]
    dev, test = shares
    parts = []
    for one in series:
        steps = len(one.rows)
        ends = (int(steps * (1.0 - dev - test)), int(steps * (1.0 - test)), steps)
        parts.append(Series(one.id, one.rows, *ends, form.covariates, one.channels))
    return parts


def own(path: Path, form: Form, shares: tuple[float, float] | None) -> Source:
    """The user's file as a source."""
    about = {"dataset": str(path)}
    rule = None if shares is None else f"the last {shares[1]:.0%} of each series are test, {shares[0]:.0%} before dev"
    return Source(
        24, 1, lambda steps, form: of_file(path, form, steps, shares), lambda: [path], about, form, rule or Source.rule
    )


SOURCES: Final[Mapping[str, Source]] = {
    "generated": Source(12, 12, generated, about={"dataset": "generated series"}),
    "etth1": Source(
        24, 24, etth1, lambda: _paths(ETTH1), _about(ETTH1), _ETTH1_FORM, "12, 4 and 4 months in order of time"
    ),
    "m4-hourly": Source(48, 24, partial(_m4, M4_HOURLY), lambda: _paths(M4_HOURLY), _about(M4_HOURLY), _ROWS),
    "m4-weekly": Source(13, 1, partial(_m4, M4_WEEKLY), lambda: _paths(M4_WEEKLY), _about(M4_WEEKLY), _ROWS),
    "tourism": Source(24, 12, partial(_last_horizons_of, TOURISM), lambda: _paths(TOURISM), _about(TOURISM)),
    "hospital": Source(
        12,
        12,
        partial(_last_horizons_of, HOSPITAL),
        lambda: _paths(HOSPITAL),
        _about(HOSPITAL),
        _HOSPITAL_FORM,
        apart=True,
    ),
    "exchange": Source(
        24, 1, exchange, lambda: _paths(EXCHANGE), _about(EXCHANGE), _EXCHANGE_FORM, "60, 20 and 20 % in order of time"
    ),
}
