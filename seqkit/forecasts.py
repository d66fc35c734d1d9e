"""Scores of forecasts, beside those of naive ones of the same windows, as a metric; covariates from dates.

A forecast is the next H values of a series, or of each of its C channels. It needs the past to be judged: an error of 3
is small for one series and large for another. Formulas are those of the M4 and M5 competitions (Makridakis et al. 2020,
2022) and of Hyndman and Koehler 2006.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from seqkit import public_api
from seqkit.metrics import sees_examples, sums_by_example
from seqkit.times import next_times, parse_time, regular_times
from seqkit.types import Metric, Prediction, ScoredExamples

__all__ = [
    "Calendar",
    "calendar_features",
    "coverage",
    "crps",
    "forecast_scores",
    "naive_errors",
    "next_times",
    "parse_time",
    "regular_times",
    "seasonal_naive",
    "smape",
]

Numbers = NDArray[np.float64]

Calendar: TypeAlias = Literal["minute", "hour", "weekday", "day", "yearday", "month"]
"""A cycle of the calendar: the minute of an hour, hour of a day, day of a week, month or year, month of a year."""

NAIVE: Final = "seasonal_naive"
LAST: Final = "last_value"


def seasonal_naive(history: Any, horizon: int, season: int = 1) -> Numbers:
    """(H, C): the values of the same places of the last whole season; with a season of 1, the last value.

    Args:
        history: (T,) or (T, C) the steps before the forecast. Of one that is shorter than a season, the last value.
        horizon: H.
        season: steps of a season.
    """
    past = np.asarray(history, dtype=np.float64)
    past = past[:, None] if past.ndim == 1 else past
    season = season if len(past) >= season else 1
    return np.asarray(_filled(past)[len(past) - season + np.arange(horizon) % season])


def _filled(past: Numbers) -> Numbers:
    """(T, C) with the value before in the place of each missing one; zero where none was before."""
    if not np.isnan(past).any():
        return past
    steps = np.where(np.isnan(past), 0, np.arange(len(past))[:, None])
    return np.nan_to_num(np.take_along_axis(past, np.maximum.accumulate(steps, axis=0), axis=0))


def naive_errors(past: Any, season: int = 1) -> Numbers:
    """(T - m, C) errors of the seasonal naive forecast within a series, which MASE and RMSSE are relative to.

    Args:
        past: (T,) or (T, C) what was known before the forecast.
        season: m, steps of a season. Of a series that is no longer than a season, it counts as 1.
    """
    rows = np.asarray(past, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    season = season if len(rows) > season else 1
    return np.asarray(rows[season:] - rows[:-season])


def smape(predicted: Any, true: Any) -> float:
    """The symmetric mean absolute percentage error in per cent, 0 to 200: 200 |y - f| / (|y| + |f|), M4's.

    Where both are zero, the error is zero.
    """
    predicted, true = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    size = np.abs(predicted) + np.abs(true)
    return float(np.mean(200.0 * np.abs(predicted - true) / np.where(size == 0.0, 1.0, size)))


def crps(levels: Sequence[float], quantiles: Any, true: Any) -> Numbers:
    """The continuous ranked probability score of each number, in its units, approximated from quantiles.

    It is twice the mean pinball loss over the levels (Gneiting and Ranjan 2011), which is exact for evenly spaced
    levels in the limit; of a single quantile of 0.5 it is the absolute error.

    Args:
        levels: (Q,) between 0 and 1.
        quantiles: (Q, ...) the forecast's quantiles.
        true: (...) what happened.
    """
    errors = np.asarray(true, dtype=np.float64) - np.asarray(quantiles, dtype=np.float64)
    tau = np.asarray(levels, dtype=np.float64).reshape(-1, *[1] * (errors.ndim - 1))
    return np.asarray(2.0 * np.maximum(tau * errors, (tau - 1.0) * errors).mean(axis=0))


def coverage(low: Any, high: Any, true: Any) -> float:
    """The share of what happened that is within an interval, its ends included."""
    true = np.asarray(true)
    return float(np.mean((np.asarray(low) <= true) & (true <= np.asarray(high))))


def calendar_features(times: Sequence[datetime], cycles: Sequence[Calendar]) -> Numbers:
    """(T, 2 K): sine and cosine of the place of each time in each of K cycles of the calendar, as covariates.

    So the last hour of a day is as near to the first of the next as to the one before.
    """
    columns: list[Numbers] = []
    for cycle in cycles:
        angle = 2.0 * math.pi * np.array([_place(time, cycle) for time in times], dtype=np.float64)
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(times), 0))


def _place(time: datetime, cycle: Calendar) -> float:
    """How far a cycle is over, 0 to 1."""
    if cycle == "minute":
        return time.minute / 60
    if cycle == "hour":
        return time.hour / 24
    if cycle == "weekday":
        return time.weekday() / 7
    if cycle == "day":
        return (time.day - 1) / 31
    return (time.timetuple().tm_yday - 1) / 366 if cycle == "yearday" else (time.month - 1) / 12


@dataclass(frozen=True)
class _Window:
    """A forecast, what happened, and what was known, all (.., C).

    Attributes:
        scale: (C,) mean absolute error of the seasonal naive forecast in the past, and (C,) the mean of its square.
        unit: () or (C,).
    """

    predicted: Numbers
    true: Numbers
    history: Numbers
    scale: tuple[Numbers, Numbers]
    unit: Numbers


def forecast_scores(
    *,
    season: int = 1,
    past_of: Callable[[str, str], Any] | None = None,
    unit_of: Callable[[str], Any] | None = None,
    by_series: bool = False,
) -> Metric:
    """A metric for forecasts, with the scores of two naive ones of the same windows beside each score.

    `mse` and `mae` are over all numbers, in units of `unit_of`. `smape` (per cent), `mase` and `rmsse` are means over
    windows; those whose past is constant in all channels have no `mase` and no `rmsse`, and `mase.left_out` counts
    them. Each but `rmsse` is followed by that of the seasonal naive forecast (`mase.seasonal_naive`) and, if a season
    has more than one step, of the last value (`mase.last_value`). `skill` is 1 - mase / mase.seasonal_naive: above
    zero, the model is better. `owa` is the mean of smape and mase, each divided by that of the seasonal naive
    forecast; M4 divides by those of Naive2. Predictions with quantiles also have `crps`, divided by the mean absolute
    value of what happened (the weighted quantile loss), and for pairs of levels `coverage.0.9`: the share within that
    interval.

    Args:
        season: steps of a season.
        past_of: (id of a series, split) to all that was known before the forecasts of a split, for MASE and RMSSE: (T,)
            or (T, C). None, or if it gives None: the input.
        unit_of: id of a series to what errors are divided by for mse and mae: () or (C,). None: 1.
        by_series: `mase` of each series too, as `mase.series.NAME`.
    """

    def windows_of(
        predictions: Sequence[Prediction], targets: Sequence[Any], examples: ScoredExamples
    ) -> list[_Window]:
        scale_of = lru_cache(None)(
            lambda id: _scale_of(None if past_of is None else past_of(id, examples.split), season)
        )
        unit = lru_cache(None)(lambda id: _unit_of(None if unit_of is None else unit_of(id)))
        windows = []
        for number, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
            id = _series_of(examples.ids[number])
            true, history = _rows(target), _rows(examples.inputs[number])
            history = history[:, : true.shape[1]]
            scale = scale_of(id) or _scale(history, season)
            windows.append(_Window(_rows(prediction.value), true, history, scale, unit(id)))
        return windows

    def sums(
        predictions: Sequence[Prediction], targets: Sequence[Any], examples: ScoredExamples
    ) -> Mapping[str, Numbers]:
        windows = windows_of(predictions, targets, examples)
        errors = _error_sums(windows, [window.predicted for window in windows])
        return errors | _distribution_sums(predictions, windows)

    @sees_examples
    @sums_by_example(sums)
    def scores(
        predictions: Sequence[Prediction], targets: Sequence[Any], examples: ScoredExamples
    ) -> Mapping[str, float]:
        windows = windows_of(predictions, targets, examples)
        if not windows:
            raise ValueError("there is nothing to score: no forecast")
        result = _errors_beside_naive(windows, season)
        result |= _quotients(_distribution_sums(predictions, windows))
        if by_series:
            result |= _by_series(windows, examples.ids)
        return result

    return cast(Metric, scores)


def _scale_of(past: Any, season: int) -> tuple[Numbers, Numbers] | None:
    return None if past is None else _scale(past, season)


def _unit_of(unit: Any) -> Numbers:
    return np.asarray(1.0 if unit is None else unit, dtype=np.float64)


def _errors_beside_naive(windows: Sequence[_Window], season: int) -> dict[str, float]:
    """The errors of the forecasts, each followed by those of the naive ones, and the two scores relative to these."""
    forecasts = {
        "": [window.predicted for window in windows],
        f".{NAIVE}": [seasonal_naive(window.history, len(window.true), season) for window in windows],
    }
    if season > 1:
        forecasts[f".{LAST}"] = [seasonal_naive(window.history, len(window.true)) for window in windows]
    tables = {name: _errors(windows, predicted) for name, predicted in forecasts.items()}
    model, naive = tables[""], tables[f".{NAIVE}"]
    shown = [(score, name) for score in model for name in tables if not name or score != "rmsse"]
    scores = {f"{score}{name}": tables[name][score] for score, name in shown}
    left_out = sum(not (window.scale[0] > 0.0).any() for window in windows)
    if left_out:
        scores["mase.left_out"] = float(left_out)
    scores["skill"] = 1.0 - _ratio(model["mase"], naive["mase"])
    scores["owa"] = 0.5 * (_ratio(model["smape"], naive["smape"]) + _ratio(model["mase"], naive["mase"]))
    return scores


def _errors(windows: Sequence[_Window], forecasts: Sequence[Numbers]) -> dict[str, float]:
    """The errors of some forecasts for these windows. What is missing of what happened does not count."""
    sums = _error_sums(windows, forecasts)
    if not sums["mse"][:, 1].any():
        raise ValueError("there is nothing to score: every value is missing")
    return _quotients(sums)


def _error_sums(windows: Sequence[_Window], forecasts: Sequence[Numbers]) -> dict[str, Numbers]:
    """{score: (n, 2) of each window what is added up, and how much that counts}: nothing where all is missing."""
    sums = {name: np.zeros((len(windows), 2)) for name in ("mse", "mae", "smape", "mase", "rmsse")}
    for number, (window, predicted) in enumerate(zip(windows, forecasts, strict=True)):
        error = (predicted - window.true) / window.unit
        is_known = ~np.isnan(error)
        if not is_known.any():
            continue
        known, count = error[is_known], float(is_known.sum())
        sums["mse"][number] = (known**2).sum(), count
        sums["mae"][number] = np.abs(known).sum(), count
        sums["smape"][number] = smape(predicted[is_known], window.true[is_known]), 1.0
        if (window.scale[0] > 0.0).any():
            mase, rmsse = _scaled_errors(window, predicted)
            sums["mase"][number] = mase, 1.0
            sums["rmsse"][number] = rmsse, 1.0
    return sums


def _quotients(sums: Mapping[str, Numbers]) -> dict[str, float]:
    return {name: _ratio(math.fsum(rows[:, 0]), math.fsum(rows[:, 1])) for name, rows in sums.items()}


def _scale(past: Any, season: int) -> tuple[Numbers, Numbers]:
    """(C,) and (C,) what MASE and the square of RMSSE divide by; NaN of a single step."""
    naive = naive_errors(past, season)
    if not len(naive):
        return np.full(naive.shape[1], math.nan), np.full(naive.shape[1], math.nan)
    known = np.maximum((~np.isnan(naive)).sum(axis=0), 1)
    return np.nansum(np.abs(naive), axis=0) / known, np.nansum(naive**2, axis=0) / known


def _scaled_errors(window: _Window, predicted: Numbers) -> tuple[float, float]:
    """MASE and RMSSE of a window, means over its channels; NaN where the past of all channels is constant."""
    scale, square_scale = window.scale
    varies = scale > 0.0
    if not varies.any():
        return math.nan, math.nan
    error = (predicted - window.true)[:, varies]
    known = np.maximum((~np.isnan(error)).sum(axis=0), 1)
    mase = np.nansum(np.abs(error), axis=0) / known / scale[varies]
    rmsse = np.sqrt(np.nansum(error**2, axis=0) / known / square_scale[varies])
    return float(mase.mean()), float(rmsse.mean())


def _distribution_sums(predictions: Sequence[Prediction], windows: Sequence[_Window]) -> dict[str, Numbers]:
    """As `_error_sums`, of `crps` and of the coverage of the interval between each pair of levels; empty without
    quantiles.
    """
    first = predictions[0].scores if predictions else None
    if not isinstance(first, Mapping) or not first.get("quantiles"):
        return {}
    levels = [float(level) for level in first["quantiles"]]
    pairs = {
        f"coverage.{round(high - low, 6):g}": (levels.index(low), levels.index(high))
        for low, high in zip(levels, reversed(levels), strict=True)
        if low < high
    }
    sums = {name: np.ones((len(windows), 2)) for name in ("crps", *pairs)}
    for number, (prediction, window) in enumerate(zip(predictions, windows, strict=True)):
        rows = [_rows(value) for value in prediction.scores["quantiles"].values()]
        total = np.nansum(crps(levels, np.stack(rows), window.true))
        sums["crps"][number] = total, np.nansum(np.abs(window.true))
        for name, (low, high) in pairs.items():
            sums[name][number, 0] = coverage(rows[low], rows[high], window.true)
    return sums


def _by_series(windows: Sequence[_Window], ids: Sequence[str]) -> dict[str, float]:
    """The mean MASE of each series."""
    of_series: dict[str, list[float]] = {}
    for window, id in zip(windows, ids, strict=True):
        of_series.setdefault(_series_of(id), []).append(_scaled_errors(window, window.predicted)[0])
    return {f"mase.series.{name}": math.fsum(values) / len(values) for name, values in of_series.items()}


def _series_of(id: str) -> str:
    """The id of the series that a window is of."""
    return id.rpartition("+")[0] or id


def _rows(value: Any) -> Numbers:
    rows = np.asarray(value, dtype=np.float64)
    return rows[:, None] if rows.ndim == 1 else rows


def _ratio(value: float, of: float) -> float:
    return value / of if of else math.nan


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A deprecated name."""
        return public_api.deprecated_attribute(__name__, name)
