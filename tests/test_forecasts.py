"""Scores of forecasts against their formulas, window by window, and against figures that M4 published."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from seqkit.forecasts import coverage, crps, forecast_scores, naive_errors, seasonal_naive, smape
from seqkit.types import Prediction, ScoredExamples

Call = Any


def test_the_seasonal_naive_forecast_repeats_the_last_season() -> None:
    assert seasonal_naive([1, 2, 3, 4, 5], 4, 3)[:, 0].tolist() == [3, 4, 5, 3]
    assert seasonal_naive([1, 2], 3, 3)[:, 0].tolist() == [2, 2, 2]
    assert seasonal_naive([[1, 10], [2, 20]], 2)[:, 1].tolist() == [20, 20]


def test_naive_errors_are_differences_over_a_season() -> None:
    assert naive_errors([1, 4, 9, 16], 2)[:, 0].tolist() == [8, 12]
    assert naive_errors([1, 4], 2)[:, 0].tolist() == [3]


def test_smape_is_symmetric_and_zero_for_two_zeros() -> None:
    assert smape([1.0, 0.0], [3.0, 0.0]) == pytest.approx(0.5 * 200 * 2 / 4)
    assert smape([3.0], [1.0]) == smape([1.0], [3.0])


def test_crps_of_many_quantiles_is_that_of_the_distribution() -> None:
    """Of a standard normal at y: y (2 F(y) - 1) + 2 f(y) - 1 / sqrt(pi)."""
    from statistics import NormalDist

    normal = NormalDist()
    levels = [(k + 0.5) / 4000 for k in range(4000)]
    quantiles = np.array([normal.inv_cdf(level) for level in levels])
    for y in (-2.0, 0.0, 0.7):
        exact = y * (2 * normal.cdf(y) - 1) + 2 * normal.pdf(y) - 1 / math.sqrt(math.pi)
        assert float(crps(levels, quantiles, np.array(y))) == pytest.approx(exact, abs=1e-3)


def test_crps_of_a_median_is_the_absolute_error() -> None:
    assert crps([0.5], [[3.0, 1.0]], [5.0, 1.5]).tolist() == [2.0, 0.5]


def test_coverage_counts_the_ends_of_an_interval() -> None:
    assert coverage([0, 0, 0], [1, 1, 1], [1, 2, 0]) == pytest.approx(2 / 3)


def windows() -> tuple[list[Prediction], list[Any], ScoredExamples]:
    dice = np.random.default_rng(3)
    histories = [dice.normal(size=8) * size + size for size in (1.0, 100.0, 5.0)]
    truths = [dice.normal(size=4) * size + size for size in (1.0, 100.0, 5.0)]
    values = [(true + dice.normal(size=4)).tolist() for true in truths]
    inputs = [history[:, None].tolist() for history in histories]
    return (
        [Prediction(value) for value in values],
        [true.tolist() for true in truths],
        ScoredExamples(["a+8", "b+8", "a+9"], inputs, "test"),
    )


def test_scores_are_those_of_the_formulas() -> None:
    predictions, targets, examples = windows()
    metric: Call = forecast_scores(season=2, by_series=True)
    scores = metric(predictions, targets, examples)
    mases, rmsses, squares, smapes, naive = [], [], [], [], []
    for prediction, true, history in zip(predictions, targets, examples.inputs, strict=True):
        past = [row[0] for row in history]
        scale = sum(abs(past[t] - past[t - 2]) for t in range(2, 8)) / 6
        square_scale = sum((past[t] - past[t - 2]) ** 2 for t in range(2, 8)) / 6
        errors = [a - b for a, b in zip(prediction.value, true, strict=True)]
        mases.append(sum(map(abs, errors)) / 4 / scale)
        rmsses.append(math.sqrt(sum(e * e for e in errors) / 4 / square_scale))
        squares += [e * e for e in errors]
        smapes += [200 * abs(a - b) / (abs(a) + abs(b)) for a, b in zip(prediction.value, true, strict=True)]
        repeated = [past[6], past[7], past[6], past[7]]
        naive.append(sum(abs(a - b) for a, b in zip(repeated, true, strict=True)) / 4 / scale)
    assert scores["mase"] == pytest.approx(np.mean(mases))
    assert scores["rmsse"] == pytest.approx(np.mean(rmsses))
    assert scores["mse"] == pytest.approx(np.mean(squares))
    assert scores["smape"] == pytest.approx(np.mean(smapes))
    assert scores["mase.seasonal_naive"] == pytest.approx(np.mean(naive))
    assert scores["skill"] == pytest.approx(1 - np.mean(mases) / np.mean(naive))
    assert scores["mase.series.a"] == pytest.approx((mases[0] + mases[2]) / 2)
    assert "mase.last_value" in scores


def test_the_past_and_the_units_may_come_from_elsewhere() -> None:
    predictions, targets, examples = windows()
    asked = []

    def past_of(id: str, split: str) -> list[float]:
        asked.append((id, split))
        return [0.0, 1.0, 3.0]

    metric: Call = forecast_scores(past_of=past_of, unit_of=lambda id: 2.0 if id == "a" else 1.0)
    scores = metric(predictions, targets, examples)
    assert asked == [("a", "test"), ("b", "test")]
    errors = np.array([prediction.value for prediction in predictions]) - np.array(targets)
    assert scores["mase"] == pytest.approx(np.abs(errors).mean() / 1.5)
    assert scores["mse"] == pytest.approx(((errors / [[2.0], [1.0], [2.0]]) ** 2).mean())


def test_quantiles_have_a_crps_and_coverages() -> None:
    values = {"0.05": [0.0, 0.0], "0.5": [1.0, 1.0], "0.95": [2.0, 2.0]}
    examples = ScoredExamples(["a"], [[[1.0], [2.0], [3.0]]], "dev")
    metric: Call = forecast_scores()
    scores = metric([Prediction([1.0, 1.0], scores={"quantiles": values})], [[1.5, 3.0]], examples)
    assert scores["coverage.0.9"] == 0.5
    pinball = [max(t * (y - q), (t - 1) * (y - q)) for y in (1.5, 3.0) for t, q in ((0.05, 0), (0.5, 1), (0.95, 2))]
    assert scores["crps"] == pytest.approx(2 * sum(pinball) / 3 / 4.5)


def test_a_perfect_forecast_of_a_constant_past_has_no_scaled_error() -> None:
    metric: Call = forecast_scores()
    scores = metric([Prediction([1.0])], [[1.0]], ScoredExamples(["a"], [[[2.0], [2.0]]], "dev"))
    assert scores["mse"] == 0.0
    assert math.isnan(scores["mase"])
    assert scores["mase.left_out"] == 1.0


def test_windows_of_a_constant_past_are_left_out_of_scaled_errors_and_counted() -> None:
    metric: Call = forecast_scores()
    predictions = [Prediction([1.0]), Prediction([4.0]), Prediction([[5.0, 1.0]])]
    targets = [[1.0], [6.0], [[5.0, 3.0]]]
    pasts = [[[2.0], [2.0]], [[1.0], [3.0]], [[7.0, 1.0], [7.0, 2.0]]]
    scores = metric(predictions, targets, ScoredExamples(["flat", "b", "c"], pasts, "dev"))
    assert scores["mase.left_out"] == 1.0
    assert scores["mase"] == pytest.approx((2.0 / 2.0 + 2.0 / 1.0) / 2)
    assert scores["rmsse"] == pytest.approx((2.0 / 2.0 + 2.0 / 1.0) / 2)
    assert scores["skill"] == pytest.approx(1.0 - scores["mase"] / scores["mase.seasonal_naive"])
    assert "mase.left_out" not in metric(predictions[1:], targets[1:], ScoredExamples(["b", "c"], pasts[1:], "dev"))
