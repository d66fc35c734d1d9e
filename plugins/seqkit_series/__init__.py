"""What comes next in a series of numbers (loads, sales, counts, rates): the task `series`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Lt

from seqkit import (
    GIVEN,
    Count,
    DataError,
    Example,
    Flaw,
    NextValues,
    Problem,
    Scaling,
    Share,
    Task,
    UsageError,
    Vectors,
    only_with,
)
from seqkit.forecasts import Calendar, forecast_scores
from seqkit.readers import TableFormat
from seqkit.reading import report_split_rule
from seqkit_series import sources
from seqkit_series.engines import lifetime
from seqkit_series.files import SUFFIXES, read_flawed, read_series, report_short
from seqkit_series.form import Form, Layout

__all__ = ["lifetime", "series"]

SPLITS = ("train", "dev", "test")


@only_with("layout", "header", "separator", "encoding", "held_out", file=GIVEN)
@only_with("smoothing", subtract="smoothed")
@only_with("id", "value", file=GIVEN, layout="long")
def series(
    *,
    source: Literal["generated", "etth1", "m4-hourly", "m4-weekly", "tourism", "hospital", "exchange"] = "generated",
    file: Path | None = None,
    layout: Layout = "columns",
    header: bool = True,
    time: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8",
    id: str = "id",
    value: str = "value",
    held_out: tuple[Share, Share] | None = None,
    horizon: Count | None = None,
    history: Count = 48,
    shortest: Count | None = None,
    stride: Count = 1,
    season: Count | None = None,
    channels: Literal["together", "apart"] | None = None,
    subtract: Literal["nothing", "mean", "last", "smoothed"] = "last",
    smoothing: Annotated[float, Gt(0.0), Lt(1.0)] = 0.2,
    divide_by: Literal["nothing", "mean", "deviation"] = "deviation",
    deseasonalise: Sequence[Count] = (),
    patch: Count = 1,
    missing: bool = False,
    log: Literal["none", "log", "log1p"] = "none",
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    calendar: Sequence[Calendar] = (),
    lags: Sequence[Count] = (),
    best: Literal["mase", "mse", "smape", "loss"] = "mase",
) -> Task:
    """What are the next values of each series? All of them are predicted at once.

    Each window of a series is an example. The scores are those of forecasting competitions, each with that of the
    seasonal naive forecast beside it (see `seqkit.forecasts.forecast_scores`); mse and mae are in units of the standard
    deviation of a channel's training data, as in papers on multivariate series.

    Args:
        source: generated, series with a trend and a season (offline); etth1, seven channels of an electricity
            transformer, hourly; m4-hourly and m4-weekly, of the M4 competition; tourism, monthly numbers of visitors;
            hospital, monthly counts of patients; exchange, eight exchange rates, daily.
        file: your own series, used instead of source: a table (.csv, .tsv, perhaps compressed), or a .tsf.
        layout: columns, a column is a channel and a row a time; rows, a row is a series, its id first; long, a row is
            one value of one series.
        header: whether the first row of a table has names.
        time: the column of times, in whose order rows must be: dates (2024-03-31, 2024-03-31 17:00) or numbers; null:
            there is none.
        separator: between the columns of a table, one character, or tab, comma, semicolon, space, bar, or blanks (null:
            a tab in .tsv, else a comma).
        encoding: of file.
        id: layout: long: the column of the series' ids.
        value: layout: long: the column of the values.
        held_out: the shares of each series, from its end, that are dev and test; null: of file, a horizon each.
        horizon: steps that are predicted; null: what is usual for the source.
        history: most steps that a forecast sees.
        shortest: fewest steps that it sees, in training; null: as many as history.
        stride: steps from one training example to the next.
        season: steps of a season, for scores and for the naive forecast; null: what is usual for the source.
        channels: together, channels that are measured together are one series of vectors; apart, each is a series of
            its own, and one model learns all of them, as it always does for hospital; null: together, and for hospital
            apart.
        subtract: what each window is shifted by: nothing, its mean, its last value, or its smoothed level.
        smoothing: subtract: smoothed: how fast the weights of older values fall (simple exponential smoothing).
        divide_by: what it is then divided by: nothing, its mean absolute value, or its standard deviation.
        deseasonalise: steps of a season, or of several: its pattern is taken out of each window and put back into the
            forecast. It is that of the window's whole seasons, of which there must be two, and is shrunk where it may
            be chance. Many short series that have seasons of their own need it.
        patch: steps of a window that are read at once: a day of hours, say.
        missing: values may be missing; else they are an error.
        log: log, the logarithm of each value is scaled and learned in place of it; log1p, that of 1 more than it, for
            values that may be 0. Forecasts are in the units of the data; without quantiles, they are then medians.
        known: columns of file that are no values but known for the steps that are predicted, too (prices, holidays).
            A file to predict from goes on with them, and has no values there.
        static: columns of file that say the same at each step of a series (its region as 0 or 1, the size of a shop).
        calendar: what the dates in `time` say of a step: minute (of the hour), hour, weekday, day (of the month),
            yearday, month. A file to predict from need not go on for it.
        lags: steps; each step also has the values so many steps before it, a week before, say, though `history` is
            shorter.
        best: the score that chooses the checkpoint.

    Raises:
        UsageError: covariates that the data cannot have.
    """
    covariates = Form(known=tuple(known), static=tuple(static), calendar=tuple(calendar))
    table = TableFormat(separator=separator, encoding=encoding)
    form = replace(
        covariates, layout=layout, header=header, time=time, id=id, value=value, missing=missing, table=table
    )
    if file is None:
        chosen = sources.SOURCES[source]
        form = replace(chosen.form, known=form.known, static=form.static, calendar=form.calendar, missing=missing)
    else:
        chosen = sources.own(file, form, held_out)
    _check_covariates(form, None if file else source)
    chosen = replace(chosen, form=form)
    steps_ahead, period = horizon or chosen.horizon, season or chosen.season
    are_apart = channels == "apart" or chosen.apart
    reach = history + max(lags, default=0)
    data = _Data(chosen, steps_ahead, reach, are_apart, fewest=shortest or reach)
    if any(steps < 2 or 2 * steps > history for steps in deseasonalise):
        raise UsageError(f"deseasonalise: a season has 2 steps or more, and history ({history}) at least two of them")
    scaling = Scaling(subtract, divide_by, tuple(deseasonalise), smoothing)
    width = 1 + form.covariates if channels == "apart" else None
    return Task(
        read=data.read,
        input=Vectors(
            width,
            standardise=channels != "apart" and divide_by == "nothing",
            scaling=None if scaling == Scaling() else scaling,
            patch=patch,
            missing=missing,
            transform=None if log == "none" else log,
            covariates=form.covariates,
            lags=tuple(lags),
        ),
        target=NextValues(steps_ahead, history=history, shortest=shortest, stride=stride),
        head="regress",
        metric=forecast_scores(season=period, past_of=data.past, unit_of=data.unit),
        best=f"min:{best}",
        files=None if chosen.files is None else lambda split: chosen.files() if chosen.files else [],
        about=chosen.about,
        read_file=lambda path, split, labelled: data.read_other(
            path, form if labelled else replace(form, reach=steps_ahead), labelled=labelled
        ),
        suffixes=tuple(f"{suffix}{packed}" for suffix in SUFFIXES for packed in ("", ".gz")),
        unit=("series", _series_of),
    )


def _check_covariates(form: Form, source: str | None) -> None:
    """Raises UsageError for covariates that these series cannot have."""
    columns = (*form.known, *form.static)
    if columns and source is not None:
        raise UsageError(f"known and static name columns of your own file, and {source} is none")
    if form.calendar and (form.time is None or form.layout == "rows"):
        whose = "name the column of dates with time" if source is None else f"the series of {source} have no dates"
        raise UsageError(f"calendar: {whose}")
    if columns and (form.layout == "rows" or not form.header):
        raise UsageError("known and static are columns with names, of a table with layout: columns or long")
    names = [form.time, *columns, *((form.id, form.value) if form.layout == "long" else ())]
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise UsageError(f"known, static, time, id and value are different columns, but {twice[0]} is named twice")


def _series_of(id: str) -> str:
    """The series that a window is of: `H1` of `H1:316+336`."""
    return (id.rpartition("+")[0] or id).rpartition(":")[0] or id


class _Data:
    """The series of a source, read once, when they are first asked for.

    Args:
        source: where they come from.
        horizon: steps that are predicted.
        history: steps before them that dev and test are given.
        apart: each channel is a series of its own.
        fewest: steps before a forecast in training, if the series are long enough.
    """

    def __init__(self, source: sources.Source, horizon: int, history: int, apart: bool, *, fewest: int) -> None:
        self._source, self._horizon, self._history, self._apart = source, horizon, history, apart
        self._fewest = fewest

    @cached_property
    def series(self) -> dict[str, sources.Series]:
        """By id; channels that are apart have ids of their own.

        Raises:
            DataError: two have the same id.
        """
        loaded = self._source.load(self._horizon, self._source.form)
        if self._apart:
            loaded = [channel for series in loaded for channel in sources.apart(series)]
        by_id: dict[str, sources.Series] = {}
        for one in loaded:
            if one.id in by_id:
                where = str(self._source.about.get("dataset", ""))
                raise DataError(Problem(where, f"two series are called '{one.id}'", "give each an id of its own"))
            by_id[one.id] = one
        return by_id

    def read(self, split: str) -> Iterator[Example]:
        report_split_rule(self._source.rule)
        for one in self.series.values():
            first, rows = one.part(split, self._history)
            yield Example(rows, None, _example_id(one, first))

    def read_other(self, path: Path, form: Form, *, labelled: bool) -> Iterator[Example]:
        """Whole series of another file: a prediction is what comes after their end.

        With covariates, they go on to the end of what is predicted. Those that are short are told.
        """
        read = (read_series if labelled else read_flawed)(path, form)
        if not labelled:
            report_short(path, read, form, self._fewest)
        for one in read:
            rows = one.rows
            together = sources.Series(one.id, rows, len(rows), len(rows), len(rows), form.covariates, one.channels)
            channels = sources.apart(together) if self._apart else [together]
            for number, channel in enumerate(channels):
                problem = one.problems.get(number) if self._apart else next(iter(one.problems.values()), None)
                value = channel.rows if problem is None else Flaw(_sentence(problem))
                yield Example(value, None, channel.id, times=one.times)

    @cached_property
    def _by_example(self) -> dict[str, sources.Series]:
        """The series of each example of a split."""
        return {
            _example_id(one, one.part(split, self._history)[0]): one for one in self.series.values() for split in SPLITS
        }

    def past(self, id: str, split: str) -> np.ndarray | None:
        """(T, C) all that was known before the forecasts of a split; None: the example is of another file."""
        one = self._by_example.get(id) if split in SPLITS else None
        return None if one is None else one.past(split)

    def unit(self, id: str) -> np.ndarray | None:
        """(C,) the standard deviations of the example's series in training; None: it is of another file."""
        one = self._by_example.get(id)
        if one is None:
            return None
        deviation = np.asarray(np.nanstd(one.past("train"), axis=0))
        return np.where(deviation > 0.0, deviation, 1.0)


def _sentence(problem: Problem) -> str:
    """What is wrong and where, with the name of the file alone."""
    return str(replace(problem, where=problem.where.rpartition("/")[2]))


def _example_id(one: sources.Series, first: int) -> str:
    """The id of a series from this step on."""
    return f"{one.id}:{first}" if first else one.id
