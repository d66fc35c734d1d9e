"""What is known of the steps of a series beside their values: columns of the table, properties of the series, dates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn, final

import numpy as np

from seqkit import DataError, Problem
from seqkit.forecasts import calendar_features, next_times, parse_time, regular_times
from seqkit_series.form import Form


@final
@dataclass(frozen=True)
class Step:
    """A step of a series, as a row of a table has it.

    Attributes:
        line: of the row.
        values: NaN where one is missing.
        covariates: first those that are known ahead, then those of the series.
        time: what the column of times says; empty if there is none.
        cells: the text of each value.
    """

    line: int
    values: list[float]
    covariates: list[float]
    time: str
    cells: list[str]


def rows_of(path: Path, steps: Sequence[Step], form: Form) -> np.ndarray:
    """(T, C + K) the rows of a series; without covariates (T, C), its values.

    The steps at its end that have no value are those that are to be predicted, if there are covariates.

    Raises:
        DataError: a covariate is missing, one of the series changes, or a time is no date.
    """
    values = np.array([step.values for step in steps])
    if not form.covariates:
        return values
    past = count_past(values)
    if form.reach is None:
        steps, values = steps[:past], values[:past]
    numbers = [step.covariates for step in steps]
    times = [_time(path, step) for step in steps] if form.calendar else []
    if form.reach is not None and past == len(steps) and not form.known:
        # What is to be predicted is known without the file: it goes on in the same steps.
        values = np.concatenate([values, np.full((form.reach, values.shape[1]), math.nan)])
        numbers = numbers + [numbers[-1]] * form.reach
        times += _next_times(path, steps[-1], times, form.reach) if times else []
    _check(path, steps, form)
    table = np.array(numbers).reshape(len(values), len(form.known) + len(form.static))
    calendar = [calendar_features(times, form.calendar)[: len(values)]] if form.calendar else []
    return np.concatenate([values, table, *calendar], axis=1)


def count_past(values: np.ndarray) -> int:
    """How many steps there are up to the last one with a value."""
    has_value = ~np.isnan(values).all(axis=1)
    return int(np.flatnonzero(has_value)[-1]) + 1 if has_value.any() else 0


def _check(path: Path, steps: Sequence[Step], form: Form) -> None:
    names = (*form.known, *form.static)
    for step in steps:
        for number, name in enumerate(names):
            value, first = step.covariates[number], steps[0].covariates[number]
            if math.isnan(value):
                _fail(
                    path, step, f"{name} is missing", "a covariate is known at each step, also those that are predicted"
                )
            if name in form.static and value != first:
                hint = f"name it in known, if it changes; line {steps[0].line} has {first:g}"
                _fail(path, step, f"{name} is {value:g}, but it is a property of the series", hint)


def _time(path: Path, step: Step) -> datetime:
    try:
        return parse_time(step.time)
    except ValueError as error:
        _fail(path, step, str(error), "calendar needs dates; leave it out, or write the times so")


def _next_times(path: Path, last: Step, times: Sequence[datetime], count: int) -> list[datetime]:
    coming = regular_times(times, count)
    if coming is not None:
        return coming
    try:
        return next_times(times, count)
    except ValueError as error:
        _fail(path, last, str(error), "sort the rows by time")


def _fail(path: Path, step: Step, message: str, hint: str) -> NoReturn:
    raise DataError(Problem(f"{path}:{step.line}", message, hint))
