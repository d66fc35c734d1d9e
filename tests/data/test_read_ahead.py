"""Windows with covariates, lags and logarithms, against loops over the steps by the words of `Vectors`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit.data import store
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError, UsageError
from seqkit.fields import Label, NextValues, Scaling, Vectors
from seqkit.forecasts import calendar_features, next_times, parse_time
from seqkit.types import Example, Task
from tests.reference.seasons import seasonal_pattern

SERIES = {"a": 13, "b": 5, "d": 20}
CHANNELS, COVARIATES, HORIZON = 2, 1, 3


def rows(name: str, steps: int, *, missing: bool = False) -> np.ndarray:
    """Two values above zero and a covariate at each step."""
    dice = np.random.default_rng(ord(name))
    values = np.concatenate([dice.uniform(1, 9, size=(steps, CHANNELS)), dice.normal(size=(steps, COVARIATES))], axis=1)
    if missing:
        values[1::4, 0] = np.nan
    return values


def make(tmp_path: Path, input: Vectors, target: NextValues, *, missing: bool = False) -> TaskData:
    def read(split: str) -> Iterator[Example]:
        for name, steps in SERIES.items():
            series = rows(name, steps, missing=missing)
            yield Example(series if input.covariates else series[:, :CHANNELS], None, name)

    task = Task(read=read, input=input, target=target, head="regress", best="loss", splits=("train", "test"))
    prepared = store.prepare(task, key={}, cache=tmp_path)
    return TaskData("t", task, prepared.input, prepared.target, prepared.splits)


def by_hand(field: Vectors, target: NextValues, series: np.ndarray, end: int) -> tuple[list[list[float]], np.ndarray]:
    """The steps of the window that ends there, and the scaled next values, one step after the other."""
    values = series[:, :CHANNELS].copy()
    if field.transform is not None:
        values = np.log(values) if field.transform == "log" else np.log1p(values)
    if field.standardise:
        assert field.scale is not None
        values = (values - field.scale.mean[:CHANNELS]) / field.scale.deviation[:CHANNELS]
    start = max(0, end - target.history)
    past = values[start:end]
    offset, divisor = np.zeros(CHANNELS), np.ones(CHANNELS)
    if field.scaling is not None:
        offset, divisor = np.nanmean(past, axis=0), np.nanmean(np.abs(past), axis=0)
    values = (values - offset) / divisor
    for season in () if field.scaling is None else field.scaling.seasons:
        for channel in range(CHANNELS):
            pattern = seasonal_pattern(values[start:end, channel], season)
            values[:, channel] -= pattern[(np.arange(len(values)) - end) % season]
            values[:, channel] -= values[start:end, channel].mean()
    steps = []
    for step in range(start, end + HORIZON):
        numbers = list(values[step]) if step < end else [math.nan] * CHANNELS
        for lag in field.lags:
            is_known = 0 <= step - lag < end
            numbers += list(values[step - lag]) if is_known else [math.nan] * CHANNELS
        if field.covariates:
            assert field.scale is not None
            numbers.append((series[step, CHANNELS] - field.scale.mean[CHANNELS]) / field.scale.deviation[CHANNELS])
        marks = [float(math.isnan(number)) for number in numbers] if field.missing else []
        steps.append([0.0 if math.isnan(number) else number for number in numbers] + marks + [float(step >= end)])
    return steps, values[end : end + HORIZON]


FIELDS = {
    "covariates": {"covariates": 1},
    "lags": {"lags": (2, 5)},
    "both": {"covariates": 1, "lags": (3,)},
    "scaled": {"covariates": 1, "lags": (1, 4), "scaling": Scaling("mean", "mean")},
    "logarithms": {"covariates": 1, "transform": "log", "scaling": Scaling("mean", "mean")},
    "standardised": {"covariates": 1, "lags": (2,), "standardise": True, "transform": "log1p"},
    "seasons": {"lags": (1, 3), "covariates": 1, "scaling": Scaling("mean", "mean", (2,))},
    "missing": {"covariates": 1, "lags": (2,), "missing": True, "scaling": Scaling("mean", "mean")},
}


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("shortest", [None, 2])
def test_a_window_goes_on_with_what_is_known(tmp_path: Path, kind: str, shortest: int | None) -> None:
    options: dict[str, Any] = FIELDS[kind]
    target = NextValues(HORIZON, history=4, shortest=shortest)
    data = make(tmp_path, Vectors(None, **options), target, missing=kind == "missing")
    field, next_values = data.input, data.target
    assert isinstance(field, Vectors)
    assert isinstance(next_values, NextValues)
    for split in ("train", "test"):
        stored = data.splits[split]
        batch = data.batch(split, np.arange(len(stored)))
        assert batch.y is not None
        assert batch.lengths.tolist() == data.lengths(split).tolist()
        for row, id in enumerate(stored.ids):
            name, _, end = id.partition("+")
            first = min(next_values.reach if shortest is None or split == "test" else shortest, SERIES[name] - HORIZON)
            assert int(end) >= first
            series = rows(name, SERIES[name], missing=kind == "missing")
            steps, coming = by_hand(field, target, series, int(end))
            length = int(batch.lengths[row])
            assert length == len(steps)
            assert np.allclose(batch.x[row, :length], steps, atol=1e-5)
            assert not batch.x[row, length:].any()
            assert np.allclose(batch.y[row], coming, atol=1e-5, equal_nan=True)
        assert batch.x.shape[2] == field.input_size
        assert len(stored) > len(SERIES)


def test_all_lags_of_a_window_are_known_unless_its_series_is_too_short(tmp_path: Path) -> None:
    target = NextValues(HORIZON, history=4)
    data = make(tmp_path, Vectors(None, lags=(6,), missing=True), target)
    batch = data.batch("test", np.arange(len(data.splits["test"])))
    for row, id in enumerate(data.splits["test"].ids):
        unknown = batch.x[row, :4, 6].sum()
        assert (unknown == 0.0) == (SERIES[id[0]] >= 4 + 6 + HORIZON)


def test_padding_and_batch_change_no_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = FIELDS["scaled"]
    data = make(tmp_path, Vectors(None, **options), NextValues(HORIZON, history=4, shortest=1))
    together = data.batch("train", np.arange(len(data.splits["train"])), 30)
    assert together.x.shape[1] == 30
    for row in range(together.size):
        alone = data.batch("train", np.array([row]))
        assert np.array_equal(alone.x[0], together.x[row, : alone.x.shape[1]])
        assert alone.extra["offset"].tolist() == together.extra["offset"][row : row + 1].tolist()


def test_a_prediction_is_in_the_units_of_the_data(tmp_path: Path) -> None:
    options: dict[str, Any] = FIELDS["logarithms"]
    data = make(tmp_path, Vectors(None, **options), NextValues(HORIZON, history=4))
    truth = [rows(id[0], SERIES[id[0]])[int(id[2:]) :][:HORIZON, :CHANNELS] for id in data.splits["test"].ids]
    assert np.allclose(data.targets("test"), truth, rtol=1e-5)
    target = data.target
    assert isinstance(target, NextValues)
    assert np.allclose(target.decode(target.encode(truth[0])), truth[0], rtol=1e-5)
    assert np.allclose(data.input.decode(data.input.encode(rows("a", 13))), rows("a", 13), rtol=1e-5, atol=1e-6)
    assert Vectors(None, **options).restore(data.input.state()) == data.input
    assert data.input.describe()["transform"] == "log"


def new_series(data: TaskData, future: int) -> np.ndarray:
    series = rows("a", 13)
    series[13 - future :, :CHANNELS] = np.nan
    return np.asarray(data.input.encode(series))


def test_a_new_series_ends_with_the_covariates_of_what_is_predicted(tmp_path: Path) -> None:
    from seqkit.data.windows import check_future

    data = make(tmp_path, Vectors(None, covariates=1, lags=(2,)), NextValues(HORIZON, history=4))
    field, target = data.input, data.target
    assert isinstance(field, Vectors)
    assert isinstance(target, NextValues)
    encoded = new_series(data, HORIZON)
    check_future(encoded, target)
    split = store.encoded_split([("new", encoded)], field)
    batch = TaskData("t", data.task, field, target, {"predict": split}).batch("predict", np.array([0]))
    steps, _ = by_hand(field, target, rows("a", 13), 10)
    assert batch.y is None
    assert np.allclose(batch.x[0], steps, atol=1e-5)
    for future in (0, 2, 4, 13):
        with pytest.raises(ValueError, match=f"ends with {future} steps that have covariates but no values, and 3 are"):
            check_future(new_series(data, future), target)


def test_without_covariates_nothing_has_to_be_known(tmp_path: Path) -> None:
    from seqkit.data.windows import check_future

    data = make(tmp_path, Vectors(None, lags=(2, 4)), NextValues(HORIZON, history=4))
    field, target = data.input, data.target
    assert isinstance(field, Vectors)
    assert isinstance(target, NextValues)
    encoded = field.encode(rows("a", 13)[:10, :CHANNELS])
    check_future(encoded, target)
    split = store.encoded_split([("new", encoded)], field)
    batch = TaskData("t", data.task, field, target, {"predict": split}).batch("predict", np.array([0]))
    steps, _ = by_hand(field, target, rows("a", 13), 10)
    assert np.allclose(batch.x[0], steps, atol=1e-5)


@pytest.mark.parametrize(
    ("transform", "value", "message"),
    [
        ("log", 0.0, "has 0 at step 2, channel 1, and log needs more than 0: take log1p, of which 0 is 0"),
        ("log", -2.5, "has -2.5 at step 2"),
        ("log1p", -1.0, "has -1 at step 2, channel 1, and log1p needs more than -1: take no logarithm"),
    ],
)
def test_a_value_without_a_logarithm_is_refused_where_it_is(
    tmp_path: Path, transform: Any, value: float, message: str
) -> None:
    field = Vectors(2, transform=transform)
    series = [[1.0, 2.0], [value, 3.0]]
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        field.encode(series)
    task = Task(
        read=lambda split: [Example(series, None, "shop 7")],
        input=field,
        target=NextValues(1, history=1),
        head="regress",
        best="loss",
        splits=("train",),
    )
    with pytest.raises(DataError, match=r"^shop 7: input has"):
        store.prepare(task, key={}, cache=tmp_path)


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one is a value"):
        Vectors(2, covariates=2)
    with pytest.raises(ValueError, match="at least 1 step"):
        Vectors(2, lags=(0,))
    with pytest.raises(ValueError, match="noise"):
        Vectors(2, lags=(1,), noise=0.1)
    field = Vectors(3, covariates=1)
    with pytest.raises(ValueError, match="at step 2 for a covariate"):
        field.fit([[[1.0, 2.0, 3.0], [1.0, 2.0, math.nan]]])
    with pytest.raises(ValueError, match="has no value at step 1"):
        field.fit([[[math.nan, 2.0, 3.0], [1.0, 2.0, 3.0]]])
    fitted = field.fit([[[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]])
    with pytest.raises(TypeError, match="needs all of a sequence"):
        fitted.feed([[1.0, 2.0, 3.0]])
    with pytest.raises(TypeError, match="not exported"):
        fitted.sample(np.random.default_rng(0), 3)
    task = Task(
        read=lambda split: [Example([[1.0, 2.0, 3.0]], "x", "1"), Example([[1.0, 2.0, 5.0]], "y", "2")],
        input=field,
        target=Label(),
        head="classify",
        best="loss",
        splits=("train",),
    )
    prepared = store.prepare(task, key={}, cache=tmp_path)
    with pytest.raises(TypeError, match="covariates and lags are for targets of next values, not Label"):
        TaskData("t", task, prepared.input, prepared.target, prepared.splits)


def test_counts_are_no_logarithms() -> None:
    from seqkit.heads import regress

    target = NextValues(2).of(Vectors(1, transform="log1p"))
    with pytest.raises(UsageError, match="nor a logarithm"):
        regress(4, target, None, loss="poisson")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("times", "coming"),
    [
        (["2024-01-01", "2024-01-02"], ["2024-01-03", "2024-01-04", "2024-01-05"]),
        (["2024-01-01 22:00", "2024-01-01 23:00"], ["2024-01-02 00:00", "2024-01-02 01:00", "2024-01-02 02:00"]),
        (["2023-11", "2023-12"], ["2024-01-01", "2024-02-01", "2024-03-01"]),
        (["2023-12-31", "2024-01-31"], ["2024-02-29", "2024-03-31", "2024-04-30"]),
        (["2024-01-15", "2024-04-15"], ["2024-07-15", "2024-10-15", "2025-01-15"]),
        (["2022", "2023"], ["2024-01-01", "2025-01-01", "2026-01-01"]),
        (["2024-01-01", "2024-01-29"], ["2024-02-26", "2024-03-25", "2024-04-22"]),
        (["2023-11-30", "2023-12-30"], ["2024-01-30", "2024-02-29", "2024-03-30"]),
    ],
)
def test_times_go_on_in_their_steps(times: list[str], coming: list[str]) -> None:
    assert next_times([parse_time(time) for time in times], 3) == [parse_time(time) for time in coming]


def test_times_that_do_not_rise_have_no_next() -> None:
    one = parse_time("2024-01-01")
    for times in ([], [one], [one, one]):
        with pytest.raises(ValueError, match="known only after two"):
            next_times(times, 1)
    with pytest.raises(ValueError, match="'yesterday' is no date such as 2024-03-31"):
        parse_time("yesterday")


def test_a_cycle_of_the_calendar_is_an_angle() -> None:
    times = [parse_time(f"2024-01-01 {hour:02}:30") for hour in (0, 6, 23)]
    features = calendar_features(times, ["hour", "minute", "weekday"])
    assert features.shape == (3, 6)
    assert np.allclose(features[:2, :2], [[0.0, 1.0], [1.0, 0.0]])
    assert np.allclose(features[:, 2:4], [[0.0, -1.0]] * 3)
    assert np.allclose(features[:, 4:], [[0.0, 1.0]] * 3)
    assert np.linalg.norm(features[2, :2] - features[0, :2]) < 0.3
    assert np.allclose(calendar_features([parse_time("2024-07-01")], ["month", "day"]), [[0.0, -1.0, 0.0, 1.0]])
    assert calendar_features([parse_time("2024-12-31")], ["yearday"])[0, 0] == pytest.approx(
        -math.sin(2 * math.pi / 366)
    )
    assert calendar_features(times, []).shape == (3, 0)
