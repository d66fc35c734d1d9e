"""How long will a machine still run? The remaining life at each cycle: the task `lifetime`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from seqkit import (
    GIVEN,
    Count,
    DataError,
    Dataset,
    Example,
    File,
    NonNegative,
    Prediction,
    Problem,
    Share,
    StepValues,
    Task,
    Vectors,
    fetch,
    only_with,
    readers,
)
from seqkit.readers import FileNames, FormatName, TableFormat
from seqkit.reading import report_split_rule
from seqkit_series import units

CMAPSS: Final = Dataset(
    "sensor/cmapss_fd001",
    tuple(
        File(f"{name}_FD001.txt.gz", None, sha256, size)
        for name, sha256, size in (
            ("train", "b8d22a290e7e9991ae17606e2ad4c64897607e368e8f0338256c7676c3b0811b", 791_512),
            ("test", "8e79f2467a681097ad08738832b13a7201961cee797620eedefaebd5ff2361d1", 487_924),
            ("RUL", "b1d9d9adeda5ee9649afe17ae1f3f1c7801aea62f1001ca8403175fc79b23524", 200),
        )
    ),
    licence="NASA Prognostics Data Repository, a work of the US government",
    about="simulated turbofan engines until they fail, FD001 (Saxena et al. 2008)",
    by_hand="the files of CMAPSSData.zip of NASA's Prognostics Data Repository, packed by gzip, without a header",
)
_COLUMNS: Final = 26
_DEV: Final = 5
"""Every so many of the engines that are run until they fail, one is dev."""
_CUTS: Final = 5
"""How often each engine of dev is cut, so that its end is as unknown as that of the engines of test."""


_SENSORS: Final = (2, 3, 4, 7, 8, 9, 11, 12, 13, 14, 15, 17, 20, 21)
"""Those of the 21 that are not constant."""


@only_with("sensors", folder=None)
@only_with(
    *("train", "dev", "test", "held_out", "held_out_test", "unit", "time", "remaining", "channels"),
    *("format", "separator", "encoding"),
    folder=GIVEN,
)
@only_with("held_out", dev=None)
@only_with("held_out_test", test=None)
def lifetime(
    *,
    folder: Path | None = None,
    train: FileNames = "train.csv",
    dev: FileNames | None = None,
    test: FileNames | None = None,
    held_out: Share = 0.2,
    held_out_test: Share = 0.0,
    unit: str = "unit",
    time: str | None = None,
    remaining: str | None = None,
    channels: tuple[str, ...] | None = None,
    format: FormatName | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    cap: Count = 125,
    sensors: Sequence[Count] = _SENSORS,
    noise: NonNegative = 0.0,
) -> Task:
    """How many cycles will each engine still run? Told at each cycle, from the sensors so far.

    Without folder, the engines are those of C-MAPSS FD001. Those of train run until they fail; every fifth of them is
    dev, cut at five random cycles; those of test are cut, and the truth is known. Own machines are read from tables.
    `rmse`, `mae` and NASA's `score` (the sum over engines; late is worse than early) are of the last cycle of each
    engine, `rmse.cycles` of all cycles.

    Args:
        folder: a folder of your own tables (.csv, .tsv, .jsonl), whose first line names the columns: a row for each
            step of each unit, those of a unit one after the other, in order of time. A unit of train runs until it
            fails, so that as many steps remain at a row as rows of it follow.
        train: file name of the training units; a pattern (`part-*.csv`) or a list of names reads several files.
        dev: file name of those that choose the checkpoint (null: a share of the units of train, `held_out`).
        test: file name of the test units (null: a share of the units of train, `held_out_test`). Units of dev and test
            that ran until they failed are cut at five random steps.
        held_out: with `dev: null`, the share of the units of train that is dev.
        held_out_test: with `test: null`, the share of the units of train that is test (0: there is no test).
        unit: the column that says which machine a row belongs to.
        time: the column of times (dates such as 2024-03-31 17:00, or numbers), in whose order the rows of a unit must
            be; it is not read as a sensor (null: rows are taken to be in order of time).
        remaining: the column with how many steps a unit still ran, for units that were stopped before they failed: in
            their last row, which counts, or in all rows (null: all units run until they fail).
        channels: the columns of the sensors (null: all others).
        format: of your tables: tsv, csv, jsonl or json (null: by the suffix).
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks (null:
            a tab in tsv, a comma in csv).
        encoding: of your tables.
        cap: a longer life counts as so many cycles: an engine that is as good as new shows nothing of its age.
        sensors: which of the 21 sensors of C-MAPSS are read; by default those that are not constant.
        noise: training adds Gaussian noise with this standard deviation to each number (standardised).
    """
    if folder is not None:
        layout = TableFormat(format=format, separator=separator, encoding=encoding)
        reader = units.UnitReader(unit=unit, time=time, remaining=remaining, channels=channels, cap=cap, layout=layout)
        data = units.own(folder, {"train": train, "dev": dev, "test": test}, (held_out, held_out_test), reader)
        return replace(
            _task(data.examples, Vectors(standardise=True, noise=noise), units.about(data, folder)),
            splits=data.files.splits,
            files=data.files.files,
            read_file=data.read_other,
            suffixes=units.SUFFIXES,
        )
    columns = [sensor + 2 for sensor in sensors]  # three settings come first

    def read(split: str) -> Iterator[Example]:
        report_split_rule(f"test as published; every {_DEV}th engine of train is dev, cut at {_CUTS} cycles")
        engines = _engines("test" if split == "test" else "train")
        if split == "test":
            left = [int(line.text) for line in readers.numbered(_path("RUL")) if line.text.strip()]
            for (number, rows), remaining in zip(engines, left, strict=True):
                yield _example(number, rows[:, columns], remaining, cap, "test")
            return
        for number, rows in engines:
            if number % _DEV:
                if split == "train":
                    yield _example(number, rows[:, columns], 0, cap, "train")
                continue
            dice = random.Random(f"engine {number}")
            for cut in sorted(dice.sample(range(30, len(rows)), _CUTS)) if split == "dev" else ():
                yield _example(number, rows[:cut, columns], len(rows) - cut, cap, "train")

    about = {"dataset": CMAPSS.name, "licence": CMAPSS.licence, "about": CMAPSS.about}
    return replace(
        _task(read, Vectors(len(columns), standardise=True, noise=noise), about),
        files=lambda split: [_path(name) for name in (("test", "RUL") if split == "test" else ("train",))],
    )


def _task(read: Callable[[str], Iterator[Example]], input: Vectors, about: Mapping[str, Any]) -> Task:
    """What the task is, whatever the data."""
    return Task(
        read=read,
        input=input,
        target=StepValues(),
        head="regress",
        metric=life_scores,
        best="rmse",
        about=about,
        scores=("rmse", "mae", "score", "rmse.cycles"),
    )


def life_scores(predictions: Sequence[Prediction], targets: Sequence[Any]) -> Mapping[str, float]:
    """Errors at the last cycle of each engine, and over all cycles: see `lifetime`."""
    last = np.array(
        [prediction.value[-1] - target[-1] for prediction, target in zip(predictions, targets, strict=True)]
    )
    every = np.concatenate([np.subtract(p.value, target) for p, target in zip(predictions, targets, strict=True)])
    penalties = np.where(last < 0.0, np.expm1(-last / 13.0), np.expm1(last / 10.0))
    return {
        "rmse": float(np.sqrt((last**2).mean())),
        "mae": float(np.abs(last).mean()),
        "score": float(penalties.sum()),
        "rmse.cycles": float(np.sqrt((every**2).mean())),
    }


def _example(number: int, rows: np.ndarray, remaining: int, cap: int, part: str) -> Example:
    life = np.minimum(cap, remaining + np.arange(len(rows))[::-1]).astype(np.float64)
    return Example(rows, life, f"{part}:{number}+{len(rows)}")


def _engines(part: str) -> list[tuple[int, np.ndarray]]:
    """The number of each engine, and its rows (cycles, 24): three settings and 21 sensors.

    Raises:
        DataError: a line has another number of columns, or a cycle is missing.
    """
    path = _path(part)
    by_engine: dict[int, list[list[float]]] = {}
    for line in readers.numbered(path):
        cells = line.text.split()
        if not cells:
            continue
        if len(cells) != _COLUMNS:
            raise DataError(Problem(f"{path}:{line.number}", f"has {len(cells)} columns, and {_COLUMNS} are expected"))
        rows = by_engine.setdefault(int(cells[0]), [])
        if int(cells[1]) != len(rows) + 1:
            raise DataError(Problem(f"{path}:{line.number}", f"is cycle {cells[1]}, after cycle {len(rows)}"))
        rows.append([float(cell) for cell in cells[2:]])
    return [(number, np.array(rows)) for number, rows in by_engine.items()]


def _path(name: str) -> Path:
    return fetch(CMAPSS) / f"{name}_FD001.txt.gz"
