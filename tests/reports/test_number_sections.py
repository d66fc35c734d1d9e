"""What a report shows of numbers: values, forecasts, values at each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqkit import metrics
from seqkit.forecasts import forecast_scores
from seqkit.inference.kept_predictions import SHOWN_CHARACTERS, InputNotKept, KeptInputs, KeptPredictions
from seqkit.reports import prediction_section as sections
from seqkit.reports.run_facts import RunFacts
from seqkit.types import Prediction
from tests.helpers import reviews

RUN = RunFacts(Path("run"), "run", "finished", scores={"t/test/mse": 0.25})


def keep(
    targets: Sequence[Any], values: Sequence[Any], steps: Sequence[int], inputs: Sequence[str | None] | None = None
) -> KeptPredictions:
    ids = [f"s+{number}" for number in range(len(targets))]
    predictions = [Prediction(value) for value in values]
    return KeptPredictions("t", "test", ids, np.array(steps), inputs or [None] * len(ids), targets, predictions)


@pytest.fixture
def metric_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the metric of the task of every run."""
    return lambda metric: monkeypatch.setattr(sections, "task_of", lambda run, name: reviews.task(metric=metric))


def test_forecasts_of_equally_long_windows_have_no_score_by_length_and_no_problem(metric_of: Any) -> None:
    metric_of(forecast_scores())
    section = sections.prediction_section(RUN, keep([[[1.0]], [[2.0]]], [[[1.5]], [[2.5]]], [4, 4]))
    assert section["problem"] == ""
    assert not any("by length" in chart["caption"] for chart in section["charts"])


def test_a_metric_that_reads_inputs_which_are_not_kept_is_named(metric_of: Any) -> None:
    metric_of(forecast_scores())
    section = sections.prediction_section(RUN, keep([[[1.0]], [[2.0]]], [[[1.5]], [[2.5]]], [4, 5]))
    reason = "the metric sees the inputs, of which a run keeps the beginnings of texts only"
    assert section["problem"] == f"the score by length is not shown: {reason}"


def test_a_metric_that_reads_ids_alone_or_whole_texts_is_asked(metric_of: Any) -> None:
    @metrics.sees_examples
    def error(predictions: Any, targets: Any, examples: Any) -> dict[str, float]:
        return {"mse": float(len(examples.ids[0]) + len(examples.inputs[0]))}

    metric_of(error)
    section = sections.prediction_section(RUN, keep([1.0, 2.0], [1.5, 2.5], [4, 5], ["four", "fiver"]))
    assert section["problem"] == ""
    assert any("mse by length" in chart["caption"] for chart in section["charts"])


def test_the_beginning_of_a_text_does_not_stand_for_the_text() -> None:
    inputs = KeptInputs(["short", "x" * (SHOWN_CHARACTERS - 1) + "…", None])
    assert inputs[0] == "short"
    assert inputs[:1] == ["short"]
    for number in (1, 2, -1):
        with pytest.raises(InputNotKept):
            inputs[number]
