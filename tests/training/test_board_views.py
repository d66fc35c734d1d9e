"""What samples are shown: errors before everything else, with what is different about them."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.inference.evaluate import EvaluationResult
from seqkit.training.board_views import describe_difference, errors_first
from seqkit.types import Prediction


def result(*rows: tuple[Any, Any, Any]) -> EvaluationResult:
    predictions = [Prediction(value, confidence) for _, value, confidence in rows]
    return EvaluationResult(0.0, {}, predictions, [target for target, _, _ in rows], [str(n) for n in range(len(rows))])


def test_confident_errors_come_first_and_then_what_is_doubtful() -> None:
    rows = [("a", "a", 0.9), ("a", "b", 0.6), ("a", "a", 0.5), ("b", "a", 0.95), ("b", "b", 1.0)]
    assert errors_first(result(*rows)) == [3, 1, 2, 0, 4]


def test_the_confidence_of_a_sequence_is_the_mean_of_its_steps() -> None:
    rows = [(["x"], ["y"], [0.2, 0.4]), (["x"], ["y"], [0.9, 0.9]), (["x"], ["y"], None)]
    assert errors_first(result(*rows)) == [1, 0, 2]


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
    assert describe_difference(target, prediction) == difference
