"""Confusions, calibration, curves and scores by length, against definitions, hand-made cases and other scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import analysis, metrics
from seqkit.types import Prediction, ScoredExamples

TAGS = ["O", "B-a", "I-a", "B-b", "I-b"]


def predict(*rows: tuple[Any, Any]) -> list[Prediction]:
    return [Prediction(value, confidence) for value, confidence in rows]


def classified(*probabilities: float) -> list[Prediction]:
    """Predictions of the labels n and y, from the probability of y."""
    return [Prediction("y" if p >= 0.5 else "n", max(p, 1 - p), {"n": 1 - p, "y": p}) for p in probabilities]


# Confusions


def test_labels_are_counted_by_example_and_keep_their_order() -> None:
    matrix = analysis.find_confusion(classified(0.9, 0.2, 0.7), ["y", "y", "n"], ["y", "n"])
    assert matrix is not None
    assert (matrix.labels, matrix.unit) == (("y", "n"), "examples")
    assert matrix.counts.tolist() == [[1, 1], [1, 0]]
    assert matrix.shares.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_a_class_that_the_labels_do_not_name_comes_after_them() -> None:
    matrix = analysis.find_confusion(classified(0.9, 0.2), ["y", "maybe"], ["y", "n"])
    assert matrix is not None
    assert matrix.labels == ("y", "n", "maybe")


def test_tags_of_spans_are_counted_by_span_and_other_tags_by_step() -> None:
    spans = analysis.find_confusion(predict((["B-a", "I-a", "O", "B-b"], None)), [["B-a", "I-a", "B-b", "O"]])
    assert spans is not None
    assert spans.unit == "spans"
    assert spans.labels == ("a", "b", analysis.NO_SPAN)
    assert spans.counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    steps = analysis.find_confusion(predict((["NOUN", "VERB"], None)), [["NOUN", "NOUN"]])
    assert steps is not None
    assert steps.unit == "steps"
    assert steps.counts.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize("targets", [[1.5], ["a b"], [None], [["x", "y", "z"]], []])
def test_what_is_no_class_has_no_confusion(targets: list[Any]) -> None:
    predictions = [Prediction("a", 0.5) for _ in targets]
    assert analysis.find_confusion(predictions, targets) is None


def test_texts_have_no_confusion_whatever_their_details() -> None:
    predictions = [Prediction("one", 0.5, {"alignment": [0, 1, 1]}), Prediction("two", 0.5, {"alignment": [0, 0, 2]})]
    assert analysis.find_confusion(predictions, ["one", "one"]) is None


def test_sets_of_labels_have_no_confusion_even_if_they_are_as_long_as_the_true_ones() -> None:
    predictions = [Prediction(["a"], 0.5, {"a": 0.8, "b": 0.2})]
    assert analysis.find_confusion(predictions, [["b"]]) is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=8),
        min_size=1,
        max_size=6,
    )
)
def test_the_f1_of_a_type_by_the_matrix_is_that_of_span_f1(rows: list[list[tuple[str, str]]]) -> None:
    targets = [[true for true, _ in row] for row in rows]
    predictions = [Prediction([predicted for _, predicted in row]) for row in rows]
    scores = metrics.span_f1(predictions, targets)
    by_matrix = {
        f"span_f1.{row.label}": row.f1
        for row in analysis.class_scores(analysis.span_confusion(predictions, targets))
        if row.support
    }
    assert by_matrix == pytest.approx({name: value for name, value in scores.items() if name.startswith("span_f1.")})


def test_merging_keeps_the_most_frequent_classes_and_every_count() -> None:
    counts = np.diag([5, 1, 9, 2]) + 1
    matrix = analysis.Confusion(("a", "b", "c", "d"), counts, "examples")
    merged = matrix.merged(3)
    assert merged.labels == ("a", "c", analysis.OTHER)
    assert merged.counts.sum() == counts.sum()
    assert merged.counts.tolist() == [[6, 1, 2], [1, 10, 2], [2, 2, 7]]
    assert matrix.merged(4) is matrix


# Calibration


def slow_calibration_error(rows: list[tuple[float, bool]], bins: int) -> float:
    error = 0.0
    for number in range(bins):
        inside = [
            (confidence, right)
            for confidence, right in rows
            if number / bins < confidence <= (number + 1) / bins or (number == 0 and confidence == 0)
        ]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = math.fsum(c for c, _ in inside) / len(inside)
            error += abs(accuracy - confidence) * len(inside) / len(rows)
    return error


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=16), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_calibration_error_is_that_of_the_definition(rows: list[tuple[float, bool]], bins: int) -> None:
    predictions = predict(*(("a", confidence) for confidence, _ in rows))
    calibration = analysis.calibration(predictions, ["a" if right else "b" for _, right in rows], bins=bins)
    assert calibration is not None
    assert calibration.counts.sum() == len(rows)
    assert calibration.error == pytest.approx(slow_calibration_error(rows, bins), abs=1e-9)


def test_tags_are_calibrated_step_by_step() -> None:
    calibration = analysis.calibration(predict((["x", "y"], [0.95, 0.55]), (["x"], [0.95])), [["x", "x"], ["y"]])
    assert calibration is not None
    assert calibration.unit == "steps"
    assert calibration.counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    assert calibration.accuracy[[5, 9]].tolist() == [0.0, 0.5]
    assert calibration.error == pytest.approx((0.55 + 2 * 0.45) / 3)


def test_without_confidence_there_is_no_calibration() -> None:
    assert analysis.calibration(predict((1.5, None)), [1.5]) is None


# Curves


def test_curves_have_the_areas_of_the_scores() -> None:
    probabilities, targets = [0.9, 0.8, 0.7, 0.6, 0.55, 0.1], ["y", "n", "y", "y", "n", "n"]
    predictions = classified(*probabilities)
    (precision,) = analysis.precision_recall_curves(predictions, targets)
    (roc,) = analysis.roc_curves(predictions, targets)
    assert precision.label == roc.label == "y"
    assert precision.area == pytest.approx(metrics.auprc(predictions, targets)["auprc"])
    assert roc.area == pytest.approx(metrics.auroc(predictions, targets)["auroc"])
    # By trapezes, the ROC curve has the same area; by steps, the other one.
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc.area)
    assert (np.diff(precision.x) * precision.y[1:]).sum() == pytest.approx(precision.area)
    assert precision.base == 0.5


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    generator = np.random.default_rng(1)
    scores = generator.random(5000)
    targets = ["y" if generator.random() < p else "n" for p in scores]
    (curve,) = analysis.roc_curves(classified(*scores), targets, points=50)
    assert len(curve.x) == 50
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


def test_of_many_labels_the_most_frequent_have_curves() -> None:
    predictions = [Prediction("a", 0.5, {"a": 0.5, "b": 0.3, "c": 0.2})] * 6
    curves = analysis.roc_curves(predictions, ["a", "a", "a", "b", "b", "c"], limit=2)
    assert [curve.label for curve in curves] == ["a", "b"]


def test_labels_of_all_examples_and_predictions_without_probabilities_have_no_curve() -> None:
    assert analysis.roc_curves(classified(0.9, 0.2), ["y", "y"]) == []
    assert analysis.precision_recall_curves(predict(("a b", 0.5)), ["a b"]) == []
    with_spans = [Prediction(["B-a"], [0.5], {"spans": [{"type": "a", "start": 0, "end": 1, "confidence": 0.5}]})]
    assert analysis.precision_recall_curves(with_spans, [["B-a"]]) == []


# Lengths


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 9))
def test_ranges_of_lengths_are_disjoint_and_hold_every_length(lengths: list[int], bins: int) -> None:
    ranges = analysis.length_ranges(lengths, bins)
    assert 1 <= len(ranges) <= bins
    assert all(sum(low <= length <= high for low, high in ranges) == 1 for length in lengths)
    assert all(low in lengths and high in lengths for low, high in ranges)


def test_the_score_by_length_is_the_metric_of_each_group() -> None:
    predictions = predict(("a", None), ("b", None), ("a", None), ("a", None))
    rows = analysis.score_by_length(
        [9, 1, 2, 8], predictions, ["a", "a", "a", "b"], metrics.accuracy, "accuracy", bins=2
    )
    assert [(row.low, row.high, row.count, row.score) for row in rows] == [(1, 2, 2, 0.5), (8, 9, 2, 0.5)]


def test_a_metric_that_sees_examples_sees_those_of_the_group() -> None:
    @metrics.sees_examples
    def seen(predictions: Any, targets: Any, examples: ScoredExamples) -> dict[str, float]:
        assert len(predictions) == len(targets) == len(examples.inputs)
        return {"sum": sum(map(float, examples.ids)) + 100 * sum(examples.inputs)}

    examples = ScoredExamples(["1", "2", "3"], [5, 6, 7], "dev")
    predictions = predict(("a", None), ("b", None), ("a", None))
    rows = analysis.score_by_length([9, 1, 2], predictions, ["a"] * 3, seen, "sum", examples=examples, bins=2)
    assert [row.score for row in rows] == [5 + 1300, 1 + 500]


def test_a_score_that_a_group_has_not_is_nan() -> None:
    rows = analysis.score_by_length([1], predict(("a", None)), ["a"], metrics.accuracy, "other", bins=2)
    assert math.isnan(rows[0].score)


def test_the_histogram_of_lengths_counts_each_and_what_is_cut() -> None:
    histogram = analysis.length_histogram([1, 2, 2, 90, 100], 50, bins=10)
    assert histogram.counts.sum() == 5
    assert len(histogram.edges) == len(histogram.counts) + 1
    assert histogram.longer == 2
    assert analysis.length_histogram([7]).counts.tolist() == [1]


# Examples


def test_errors_come_first_the_most_confident_ones_before_all_others() -> None:
    predictions = predict(("a", 0.9), ("b", 0.6), ("a", 0.5), ("a", 0.95), ("b", 1.0))
    assert analysis.errors_first(predictions, ["a", "a", "a", "b", "b"]) == [3, 1, 2, 0, 4]
    sequences = predict((["y"], [0.2, 0.4]), (["y"], [0.9, 0.9]), (["y"], None), ([], []))
    assert analysis.errors_first(sequences, [["x"], ["x"], ["x"], []]) == [1, 0, 2, 3]


@pytest.mark.parametrize(
    ("target", "prediction", "difference"),
    [
        ("positive", "negative", "wrong"),
        ("positive", "positive", ""),
        (["O", "B-x", "O"], ["O", "O", "B-x"], "step 2: B-x → O; step 3: O → B-x"),
        (["a"], ["a", "b"], "wrong"),
        ("a man stands", "a man is standing", "stands → is standing"),
        ("a man", "man with hat", "a → (nothing); (nothing) → with hat"),
        (1.5, 1.25, "wrong"),
    ],
)
def test_a_difference_is_where_they_differ(target: Any, prediction: Any, difference: str) -> None:
    assert analysis.describe_difference(target, prediction) == difference


def several(intent: str, slot: str, confidence: float = 0.5) -> Prediction:
    return Prediction({"intent": intent, "slots": ["O", slot]}, confidence)


class TestSeveralAnswers:
    """Targets that are mappings: a label and tags of one input."""

    targets = (several("a", "B-x").value, several("b", "O").value, several("b", "B-x").value)

    def test_confidence_is_compared_with_the_label_that_it_is_of(self) -> None:
        predictions = [several("a", "O", 1.0), several("b", "B-x", 1.0), several("b", "O", 1.0)]
        result = analysis.calibration(predictions, self.targets)
        assert result is not None
        assert result.error == 0.0, "all labels are right, though no whole answer is"
        assert result.unit == "examples (intent)"

    def test_confidence_of_nobody_knows_what_has_no_calibration(self) -> None:
        targets = [{"first": "a", "second": "b"}]
        assert analysis.label_part(targets) is None
        assert analysis.calibration([Prediction(targets[0], 0.9)], targets) is None

    def test_the_label_has_a_confusion_matrix(self) -> None:
        matrix = analysis.find_confusion([several("a", "O"), several("a", "O"), several("b", "O")], self.targets)
        assert matrix is not None
        assert matrix.labels == ("a", "b")
        assert matrix.counts.tolist() == [[1, 0], [1, 1]]
        assert matrix.unit == "examples (intent)"

    def test_the_difference_is_that_of_each_part(self) -> None:
        differences = [
            analysis.describe_difference(self.targets[0], prediction.value)
            for prediction in (several("a", "B-x"), several("b", "B-x"), several("a", "O"))
        ]
        assert differences == ["", "intent: a → b", "slots: step 2: B-x → O"]
