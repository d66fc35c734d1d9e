"""The task `series`: its parts, its naive forecasts against published figures, and its conformance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from seqkit_series import series, sources

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
