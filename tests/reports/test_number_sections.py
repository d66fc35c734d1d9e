"""What a report shows of numbers: values, forecasts, values at each step."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqkit import analysis, metrics
from seqkit.cli import main
from seqkit.forecasts import forecast_scores
from seqkit.inference import kept_predictions
from seqkit.inference.kept_predictions import SHOWN_CHARACTERS, InputNotKept, KeptInputs, KeptPredictions
from seqkit.reports import prediction_section as sections
from seqkit.reports.data_section import data_sections
from seqkit.reports.decomposition import decompose
from seqkit.reports.number_section import describe_numbers, number_charts
from seqkit.reports.report import _intervals_note, report_sections
from seqkit.reports.run_facts import RunFacts
from seqkit.runs.progress import Progress
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


# Short numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (124.99999996666354, "125"),
        (0.00012345678, "0.0001235"),
        (12345.678, "12,346"),
        ([1.00001, 2.5, 3.0, 4.0], "1, 2.5, 3, 4"),
        ([float(number) for number in range(31)], "0, 1, 2, … 30 (31)"),
        ([[1.0, 2.0], [3.0, 4.0]], "[1, 2] [3, 4]"),
        ([[float(step)] for step in range(6)], "[0] [1] [2] … [5] (6)"),
        (["NaN", 1.0], "nan, 1"),
    ],
)
def test_numbers_have_few_digits_and_long_lists_are_shortened(value: Any, text: str) -> None:
    assert describe_numbers(value) == text


def test_the_largest_errors_come_first_and_the_page_says_so() -> None:
    section = sections.prediction_section(RUN, keep([1.0, 2.0, 3.0], [1.5, 1.0, 13.00001], [1, 1, 1]))
    assert section["worst_title"] == "Examples to look at: the largest errors first"
    assert section["worst_head"] == ["id", "input", "target", "prediction", "mean absolute error"]
    assert [[row[0], *row[2:]] for row in section["worst"]] == [
        ["s+2", "3", "13", "10"],
        ["s+1", "2", "1", "1"],
        ["s+0", "1", "1.5", "0.5"],
    ]
    assert section["charts"][0]["caption"] == "prediction by truth"


def test_a_table_that_leaves_examples_out_says_so() -> None:
    numbers = [float(number) for number in range(40)]
    section = sections.prediction_section(RUN, keep(numbers, numbers, [1] * 40))
    assert section["worst_title"] == "Examples to look at (25 of 40): the largest errors first"


def test_forecasts_are_drawn_with_their_history_and_interval() -> None:
    targets = [[[float(n), 5.0], [float(n), 6.0]] for n in range(9)]
    kept = keep(targets, [[[0.0, 5.0], [0.0, 6.0]]] * 9, [4] * 9)
    numbers = analysis.examples_to_draw(kept.predictions, kept.targets)
    assert numbers == [2, 4, 6, 8, 7]
    drawn = {"history": [[1.0, 2.0]] * 3, "levels": ["0.05", "0.95"], "low": [[0.0, 0.0]] * 2, "high": [[9.0, 9.0]] * 2}
    charts = list(number_charts(replace(kept, drawn=dict.fromkeys(numbers, drawn))))
    assert charts[0]["caption"] == "an example: s+2, channel 1 of 2"
    assert charts[1]["caption"] == "an example: s+4, channel 2 of 2"
    assert charts[-1]["caption"] == "one of the largest errors: s+7, channel 1 of 2"
    assert charts[-2]["caption"] == "one of the largest errors: s+8, channel 1 of 2"
    for name in ("history", "truth", "prediction", "quantile 0.05", "quantile 0.95", "the forecast begins"):
        assert all(f"<title>{name}</title>" in chart["svg"] for chart in charts), name


def test_numbers_at_each_step_are_drawn_though_some_are_not_known() -> None:
    kept = keep([["NaN", 2.0, 3.0], [1.0]], [[1.0, 2.5, 3.0], [1.0]], [3, 1])
    assert np.allclose(analysis.number_errors(kept.predictions, kept.targets), [0.25, 0.0])
    charts = list(number_charts(kept))
    assert len(charts) == 2
    assert "<title>truth</title>" in charts[0]["svg"]


@pytest.mark.parametrize("values", [[3, 4], ["a", "b"], [[1, 2], [3]]])
def test_names_and_whole_numbers_are_no_numbers_here(values: list[Any]) -> None:
    """A note of music is a whole number, and the next one is no better than any other."""
    assert analysis.number_errors([Prediction(value) for value in values], values) is None


def test_predictions_of_another_length_than_the_truth_are_no_errors_of_numbers() -> None:
    assert analysis.number_errors([Prediction([[1.0, 2.0]])], [[[1.0, 2.0], [3.0, 4.0]]]) is None


# Intervals


def slow_scores(values: Sequence[Any], targets: Sequence[Any]) -> dict[str, float]:
    """As the definitions say, number by number."""
    pairs = [
        (p, t)
        for value, target in zip(values, targets, strict=True)
        for p, t in zip(value, target, strict=True)
        if not math.isnan(t)
    ]
    mse = sum((p - t) ** 2 for p, t in pairs) / len(pairs)
    rates = []
    for value, target in zip(values, targets, strict=True):
        known = [(p, t) for p, t in zip(value, target, strict=True) if not math.isnan(t)]
        rates += [sum(200 * abs(p - t) / (abs(p) + abs(t)) for p, t in known) / len(known)] if known else []
    mae = sum(abs(p - t) for p, t in pairs) / len(pairs)
    return {"mse": mse, "rmse": math.sqrt(mse), "mae": mae, "smape": sum(rates) / len(rates)}


def test_scores_of_lists_of_other_lengths_are_sums_over_examples() -> None:
    targets = [[1.0, 2.0, math.nan], [4.0], [math.nan]]
    values = [[1.5, 1.0, 7.0], [6.0], [1.0]]
    for name, score in slow_scores(values, targets).items():
        made = decompose(name, [Prediction(value) for value in values], targets)
        assert made is not None
        assert made.score == pytest.approx(score), name


def test_intervals_are_explained_where_there_are_some() -> None:
    some, none = {"interval": "1 to 2"}, {"interval": ""}
    assert _intervals_note([none], "examples") == ""
    assert _intervals_note([some], "speakers").startswith("Intervals: bootstrap over speakers.")
    assert "Scores without an interval" not in _intervals_note([some], "examples")
    assert "Scores without an interval" in _intervals_note([some, none], "examples")
    assert "overlap" not in _intervals_note([some], "examples")
    assert "overlap" in _intervals_note([some], "windows")


# A run


@pytest.fixture(scope="module")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model that forecasts two channels, with quantiles."""
    base = tmp_path_factory.mktemp("forecasts")
    rows = [f"{step % 5},{100 + step}" for step in range(80)]
    (base / "loads.csv").write_text("\n".join(["a,b", *rows]) + "\n")
    (base / "loads.yaml").write_text(
        "tasks:\n  loads: {use: series, file: loads.csv, horizon: 3, history: 20, season: 5, held_out: [0.4, 0.2],\n"
        "    lags: [5], head: {use: regress, loss: quantiles}}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {epochs: 1, batch: 32, histograms: false}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(base / "cache"))
        result = CliRunner().invoke(main, ["run", str(base / "loads.yaml"), "--quiet", "--out", str(base / "run")])
    assert result.exit_code == 0, result.output
    return base / "run"


def test_a_run_keeps_the_history_and_the_interval_of_some_forecasts(forecasts: Path) -> None:
    kept = kept_predictions.read(forecasts, "loads", "test")
    assert kept is not None
    assert kept.unit == "windows"
    assert sorted(kept.drawn) == sorted(analysis.examples_to_draw(kept.predictions, kept.targets))
    for number, drawn in kept.drawn.items():
        history, target = np.array(drawn["history"]), np.array(kept.targets[number])
        # The second channel counts: the history, of four times the horizon, ends where the truth begins.
        assert history.shape == (12, 2)
        assert np.allclose(np.diff(np.concatenate([history, target])[:, 1]), 1.0, atol=1e-3)
        assert drawn["levels"] == ["0.05", "0.95"]
        low, high = np.array(drawn["low"]), np.array(drawn["high"])
        assert low.shape == high.shape == target.shape
        assert (low <= high).all()


def test_the_report_of_a_forecast_shows_windows_drawings_and_no_problem(forecasts: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(forecasts), "--out", str(tmp_path / "report.html"), "--quiet"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report.html").read_text("utf-8")
    windows = len(kept_predictions.read(forecasts, "loads", "test") or ())
    assert f"loads, test: {windows} windows" in page
    assert "<title>quantile 0.95</title>" in page
    assert "<bdi>windows</bdi>" in page
    assert "is not shown" not in page
    assert "Windows of a series overlap" in page


def test_scores_that_are_quotients_of_kept_sums_have_intervals_and_their_baselines_beside_them(
    forecasts: Path, tmp_path: Path
) -> None:
    """The metric reads inputs, which a run does not keep, but what each example adds to a score is kept."""
    kept = kept_predictions.read(forecasts, "loads", "test")
    scores = json.loads((forecasts / "metrics.json").read_text())
    assert kept is not None
    assert {"mse", "mae", "smape", "mase", "rmsse", "crps", "coverage.0.9"} <= kept.sums.keys()
    for name, rows in kept.sums.items():
        assert rows.shape == (len(kept), 2)
        assert rows[:, 0].sum() / rows[:, 1].sum() == pytest.approx(scores[f"loads/test/{name}"], rel=1e-5)
    rows = report_sections(forecasts, progress=Progress(quiet=True), tell=print)["scores"]
    keys = [row["key"] for row in rows]
    assert keys[:3] == ["loads/test/mase", "loads/test/mase.last_value", "loads/test/mase.seasonal_naive"]
    assert all(row["interval"] for row in rows if row["key"].partition("/test/")[2] in kept.sums)
    other = tmp_path / "other"
    shutil.copytree(forecasts, other)
    result = CliRunner().invoke(main, ["compare", str(forecasts), str(other), "--quiet"])
    assert result.exit_code == 0, result.output
    assert "baselines of mase on the same examples: last_value" in result.output
    assert "not tested: loss" in result.output


# Curves and data


def test_a_chart_of_some_classes_says_of_how_many() -> None:
    labels = [f"class {number}" for number in range(9)]
    targets = labels * 3
    scores = [{label: 0.5 if label == target else 0.0625 for label in labels} for target in targets]
    predictions = [Prediction(target, 0.5, score) for target, score in zip(targets, scores, strict=True)]
    kept = replace(keep(targets, targets, [1] * 27), predictions=predictions)
    captions = [chart["caption"] for chart in sections.prediction_section(RUN, kept)["charts"]]
    assert any("of the 6 most frequent classes of 9, each against the rest" in caption for caption in captions)


def test_facts_of_the_data_are_words_and_rules_are_said_once() -> None:
    rule = "0.2 of train is dev"
    splits = {name: {"reading": {"split_rules": [rule]}} for name in ("train", "dev")}
    splits["test"] = {"reading": {"split_rules": ["by file"]}}
    about = {"files": {"train": "a.ts", "dev": None, "test": ["b.ts", "c.ts"]}, "splits": rule}
    (section,) = data_sections({"t": {"about": about, "splits": splits}})
    assert section["about"] == [
        "files: train: a.ts; dev: none; test: b.ts, c.ts",
        f"split (train, dev): {rule}",
        "split (test): by file",
    ]


def test_the_board_draws_no_score_by_length_where_all_windows_are_equally_long(forecasts: Path) -> None:
    """It would have one bar; and the metric would read every window once more."""
    events = EventAccumulator(str(forecasts / "tb"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = [tag for kind in ("images", "tensors") for tag in events.Tags()[kind]]
    assert "pictures/loads/dev/forecasts" in tags
    assert "pictures/loads/test/forecasts" in tags
    assert not any("score by length" in tag for tag in tags)
