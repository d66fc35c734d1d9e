"""The task `series`: its parts, its naive forecasts against published figures, and its conformance."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from seqkit_series import lifetime, series, sources
from seqkit_series.engines import life_scores

from seqkit.cli import main
from seqkit.errors import DataError, UsageError
from seqkit.testing import TaskConformance
from seqkit.types import Prediction, ScoredExamples

DATA = Path(os.environ.get("SEQKIT_DATA", "/nowhere"))


class TestSeries(TaskConformance):
    task = "series"
    options: ClassVar[Any] = {"history": 14, "shortest": 6, "stride": 90}
    encoders = ({"use": "lstm", "hidden": 12},)


def test_no_step_of_dev_or_test_is_seen_in_training() -> None:
    one = sources.Series("a", np.arange(20.0)[:, None], 12, 16, 19)
    assert one.part("train", 5)[1][:, 0].tolist() == list(range(12))
    assert one.part("dev", 5)[1][:, 0].tolist() == list(range(7, 16))
    assert one.part("test", 5)[1][:, 0].tolist() == list(range(11, 19))
    assert one.part("dev", 50)[0] == 0
    assert one.past("test")[:, 0].tolist() == list(range(16))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "forecasting/etth1").is_dir(), reason="needs SEQKIT_DATA")
@pytest.mark.parametrize("channels", ["together", "apart"])
def test_the_naive_forecasts_of_etth1_are_those_that_are_published(channels: Any) -> None:
    """MSE and MAE of the same hour of the day before, over all windows and channels: 0.424 and 0.389."""
    task = series(source="etth1", history=24, channels=channels)
    ids, inputs, targets = [], [], []
    for example in task.read("test"):
        rows = np.asarray(example.input)
        for end in range(24, len(rows) - 23, 7):
            ids.append(f"{example.id}+{end}")
            inputs.append(rows[end - 24 : end])
            targets.append(rows[end : end + 24])
    metric: Any = task.metric
    scores = metric([Prediction(target) for target in targets], targets, ScoredExamples(ids, inputs, "test"))
    assert scores["mse"] == 0.0
    assert scores["mse.seasonal_naive"] == pytest.approx(0.424, abs=0.004)
    assert scores["mae.seasonal_naive"] == pytest.approx(0.389, abs=0.003)
    assert scores["mse.last_value"] == pytest.approx(1.222, abs=0.02)


class TestQuantilesOfPatches(TaskConformance):
    task = "series"
    options: ClassVar[Any] = {"history": 24, "stride": 90, "patch": 6, "channels": "apart", "subtract": "mean"}
    head: ClassVar[Any] = {"use": "regress", "loss": "quantiles"}
    encoders = ({"use": "gru", "hidden": 12},)


class TestSeasons(TaskConformance):
    task = "series"
    options: ClassVar[Any] = {"history": 30, "stride": 60, "subtract": "smoothed", "deseasonalise": [12, 5]}
    head: ClassVar[Any] = {"use": "regress", "loss": "gaussian"}
    encoders = ({"use": "gru", "hidden": 12},)


class TestLagsOfLogarithms(TaskConformance):
    task = "series"
    options: ClassVar[Any] = {"history": 14, "stride": 90, "log": "log", "lags": [12, 24]}
    head: ClassVar[Any] = {"use": "regress", "loss": "gaussian"}
    encoders = ({"use": "lstm", "hidden": 12}, {"use": "gru", "hidden": 6, "bidirectional": True})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"known": ["promo"]}, "known and static name columns of your own file, and generated is none"),
        ({"calendar": ["hour"]}, "calendar: the series of generated have no dates"),
        ({"file": "a.csv", "calendar": ["hour"]}, "calendar: name the column of dates with time"),
        ({"file": "a.csv", "layout": "rows", "static": ["size"]}, "of a table with layout: columns or long"),
        ({"file": "a.csv", "time": "t", "known": ["x", "t"]}, "but t is named twice"),
        ({"deseasonalise": [12], "history": 20}, r"deseasonalise: .*history \(20\) at least two"),
    ],
)
def test_options_that_a_series_cannot_have_are_refused(options: Any, message: str) -> None:
    if "file" in options:
        options = options | {"file": Path(options["file"])}
    with pytest.raises(UsageError, match=message):
        series(**options)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "forecasting/m4_hourly").is_dir(), reason="needs SEQKIT_DATA")
def test_the_naive_forecasts_of_m4_are_those_that_are_published() -> None:
    """Hourly, sMAPE and MASE of the seasonal naive forecast 13.912 and 1.193, of the last value 43.003 and 11.608."""
    task = series(source="m4-hourly", history=24)
    examples = list(task.read("test"))
    inputs = [np.asarray(example.input)[:-48] for example in examples]
    targets = [np.asarray(example.input)[-48:, 0].tolist() for example in examples]
    ids = [f"{example.id}+24" for example in examples]
    metric: Any = task.metric
    scores = metric([Prediction(target) for target in targets], targets, ScoredExamples(ids, inputs, "test"))
    assert len(examples) == 414
    assert scores["smape.seasonal_naive"] == pytest.approx(13.912, abs=0.001)
    assert scores["mase.seasonal_naive"] == pytest.approx(1.193, abs=0.001)
    assert scores["smape.last_value"] == pytest.approx(43.003, abs=0.001)
    assert scores["mase.last_value"] == pytest.approx(11.608, abs=0.001)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "sensor/cmapss_fd001").is_dir(), reason="needs SEQKIT_DATA")
def test_the_remaining_life_of_an_engine_falls_by_one_a_cycle_once_it_is_below_the_cap() -> None:
    task = lifetime(cap=125)
    splits = {split: list(task.read(split)) for split in ("train", "dev", "test")}
    assert {split: len(examples) for split, examples in splits.items()} == {"train": 80, "dev": 100, "test": 100}
    first = splits["train"][0]
    assert first.target[-1] == 0.0
    assert first.target.max() == 125.0
    assert np.diff(first.target[-126:]).tolist() == [-1.0] * 125
    assert splits["test"][0].target[-1] == 112.0
    engines = [{example.id.split("+")[0] for example in splits[split]} for split in ("train", "dev")]
    assert not engines[0] & engines[1]


def test_errors_of_a_life_are_those_of_the_last_cycle() -> None:
    scores = life_scores([Prediction([10.0, 13.0]), Prediction([20.0])], [[9.0, 3.0], [33.0]])
    assert scores["rmse"] == pytest.approx(np.sqrt((10**2 + 13**2) / 2))
    assert scores["mae"] == 11.5
    assert scores["score"] == pytest.approx(2 * (np.e - 1))
    assert scores["rmse.cycles"] == pytest.approx(np.sqrt((1 + 100 + 169) / 3))


def test_series_of_another_file_are_scored_by_their_own_past() -> None:
    """Even if they are called as one of training is."""
    metric: Any = series(history=4).metric
    inputs, targets = [[[0.0], [1.0], [3.0], [6.0]]], [[7.0, 8.0]]
    scores = metric([Prediction([8.0, 9.0])], targets, ScoredExamples(["S1+4"], inputs, "data"))
    assert scores["mase"] == pytest.approx(1.0 / 2.0)


def test_a_score_that_is_nan_is_told_and_does_not_choose(tmp_path: Path) -> None:
    days = [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d},5" for day in range(120)]
    (tmp_path / "flat.csv").write_text("\n".join(["date,flat", *days]) + "\n")
    (tmp_path / "own.yaml").write_text(
        "tasks:\n  series: {file: flat.csv, layout: columns, time: date, horizon: 4, history: 12}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\n"
        "train: {steps: 6, batch: 8, evaluate_every: 2, optimizer: {use: adamw, lr: 0.01}}\n"
    )
    arguments = ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out"), "--strict"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1, done.output
    assert "series/dev/mase is NaN: it can score nothing of this split, so the loss chose the checkpoint" in done.output
    losses = {}
    for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        if "series/dev/loss" in values:
            losses[values["step"]] = values["series/dev/loss"]
    status = json.loads((tmp_path / "out/status.json").read_text())
    assert status["best_step"] == min(losses, key=losses.__getitem__)
    assert len(losses) == 3


def test_two_series_of_one_name_are_refused_and_commas_in_names_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = "".join(f"{number},{number},{number}\n" for number in range(20))
    path.write_text("x,y,x\n" + rows)
    with pytest.raises(DataError, match=r"a\.csv: two series are called 'x'; give each an id of its own"):
        list(series(file=path, horizon=2, history=4, channels="apart").read("train"))
    path.write_text('"north, old",y,x\n' + rows)
    examples = series(file=path, horizon=2, history=4, channels="apart").read("train")
    assert [example.id for example in examples] == ["north, old", "y", "x"]


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "forecasting/hospital").is_dir(), reason="needs SEQKIT_DATA")
@pytest.mark.parametrize("channels", [None, "together", "apart"])
def test_the_file_of_hospital_is_read_as_in_training(channels: Any) -> None:
    task = series(source="hospital", channels=channels)
    assert task.read_file is not None
    examples = list(task.read_file(DATA / "forecasting/hospital/hospital.csv.gz", None, False))
    assert [example.id for example in examples] == [example.id for example in task.read("train")]
    assert len(examples) == 767
    assert examples[0].times is not None
    assert examples[0].times[:2] == ("2007-01", "2007-02")
