"""Scores against their definitions, hand-made cases and scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import metrics
from seqkit.types import Prediction


def predict(*values: Any) -> list[Prediction]:
    return [Prediction(value) for value in values]


def predict_scores(scores_of_examples: list[dict[str, float]]) -> list[Prediction]:
    return [Prediction(max(scores, key=lambda k: scores[k]), None, scores) for scores in scores_of_examples]


# Labels


def test_accuracy_counts_exact_values() -> None:
    assert metrics.accuracy(predict("a", "b", "a", "c"), ["a", "b", "b", "a"]) == {"accuracy": 0.5}
    assert metrics.accuracy(predict(["a", "b"], ["a"]), [("a", "b"), ["b"]]) == {"accuracy": 0.5}


def test_macro_f1_by_hand() -> None:
    # a: 1 right, 2 predicted, 2 true: 1/2. b: 1 right, 1 predicted, 2 true: 2/3. c, d: never right: 0.
    predictions, targets = predict("a", "a", "b", "c", "c"), ["a", "b", "b", "a", "d"]
    assert metrics.macro_f1(predictions, targets)["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0 + 0) / 4)
    assert metrics.label_scores(predictions, targets) == {
        "accuracy": 2 / 5,
        "macro_f1": pytest.approx((1 / 2 + 2 / 3) / 4),
    }


def test_mcc_by_hand() -> None:
    # Two labels: 3 true positives, 1 false negative, 2 true negatives, 1 false positive.
    predictions = predict("y", "y", "y", "n", "n", "n", "y")
    targets = ["y", "y", "y", "y", "n", "n", "n"]
    assert metrics.mcc(predictions, targets)["mcc"] == pytest.approx((3 * 2 - 1 * 1) / math.sqrt(4 * 4 * 3 * 3))
    assert metrics.mcc(predict("y", "y"), ["y", "n"]) == {"mcc": 0.0}
    assert math.isnan(metrics.mcc(predict("y", "n"), ["y", "y"])["mcc"])


def test_ranking_scores_by_hand() -> None:
    probabilities = [0.9, 0.8, 0.7, 0.6, 0.55]
    targets = ["y", "n", "y", "y", "n"]
    predictions = predict_scores([{"n": 1 - p, "y": p} for p in probabilities])
    # Pairs (positive, negative) in the right order: 0.9 beats both; 0.7 and 0.6 beat only 0.55. 4 of 6.
    assert metrics.auroc(predictions, targets) == {"auroc": pytest.approx(4 / 6)}
    assert metrics.auroc(predictions, targets, positive="n") == {"auroc": pytest.approx(4 / 6)}
    # Precision at each positive, from the top: 1/1, 2/3, 3/4.
    assert metrics.auprc(predictions, targets, positive="y") == {"auprc": pytest.approx((1 + 2 / 3 + 3 / 4) / 3)}
    # The negatives as the positive class, from the least likely y: 1/1, 2/4.
    assert metrics.auprc(predictions, targets, positive="n") == {"auprc": pytest.approx((1 + 2 / 4) / 2)}


def test_ranking_of_many_labels_is_the_mean_over_those_that_can_be_ranked() -> None:
    predictions = predict_scores(
        [{"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 0.4, "b": 0.5, "c": 0.1}, {"a": 0.6, "b": 0.3, "c": 0.1}]
    )
    # a: 0.7 beats 0.4 and 0.6. b: 0.5 beats 0.2, and 0.3 beats 0.2. c never occurs: left out.
    assert metrics.auroc(predictions, ["a", "b", "b"]) == {"auroc": 1.0}
    # For sets: a is in 1 and 2 (0.7, 0.4 against 0.6: half the pairs); b in all and c in none: left out.
    assert metrics.auroc(predictions, [["a", "b"], ["a", "b"], ["b"]]) == {"auroc": 0.5}
    assert math.isnan(metrics.auroc(predictions, ["a", "a", "a"])["auroc"])


def test_ranking_of_step_by_step_scores_takes_the_last() -> None:
    single = predict_scores([{"n": 0.2, "y": 0.8}, {"n": 0.9, "y": 0.1}, {"n": 0.5, "y": 0.5}])
    steps = [Prediction(p.value, None, {k: [0.33, v] for k, v in p.scores.items()}) for p in single]
    for targets in (["y", "n", "n"], ["n", "y", "n"]):
        assert metrics.auroc(steps, targets) == metrics.auroc(single, targets)


def test_ranking_needs_probabilities_and_a_known_label() -> None:
    with pytest.raises(ValueError, match="have no probabilities"):
        metrics.auroc(predict("a", "b"), ["a", "b"])
    with pytest.raises(ValueError, match="'z' is none of the labels 'n', 'y'"):
        metrics.auprc(predict_scores([{"n": 0.2, "y": 0.8}]), ["y"], positive="z")


def test_set_scores_by_hand() -> None:
    predictions = predict(["r", "g"], [], ["b"], ["g"])
    targets = [["g", "r"], [], ["r"], ["g", "b"]]
    # r: 1 right, 1 predicted, 2 true: 2/3. g: 2, 2, 2: 1. b: 0, 1, 1: 0. All: 3 right, 4 predicted, 5 true: 6/9.
    assert metrics.set_scores(predictions, targets) == {
        "accuracy": 0.5,
        "micro_f1": pytest.approx(6 / 9),
        "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3),
    }
    assert metrics.set_scores(predict([]), [[]]) == {"accuracy": 1.0, "micro_f1": 0.0, "macro_f1": 0.0}


def test_confusion_counts_rows_by_truth() -> None:
    counts = metrics.confusion(["a", "a", "b"], predict("a", "b", "b"), ["a", "b", "c"])
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    steps = metrics.confusion([["a", "b"], ["b"]], predict(["a", "a"], ["b"]), ["a", "b"])
    assert steps.tolist() == [[1, 0], [1, 1]]
    with pytest.raises(ValueError, match="'z' is not among the 2 labels"):
        metrics.confusion(["a"], predict("z"), ["a", "b"])


# Tags

# Tags, and what conlleval.pl (2004-01-26) takes them to mean.
MEANINGS = [
    ("", []),
    ("O O", []),
    ("B-A I-A O B-B", [("A", 0, 2), ("B", 3, 4)]),  # IOB2 as it should be
    ("I-A I-A O I-B", [("A", 0, 2), ("B", 3, 4)]),  # IOB1 as it should be
    ("I-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),  # IOB1: B parts two neighbours of one type
    ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
    ("I-A I-B I-B", [("A", 0, 1), ("B", 1, 3)]),  # another type is another span
    ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
    ("O I-A", [("A", 1, 2)]),  # a lost beginning is forgiven
    ("S-A B-B I-B E-B S-A", [("A", 0, 1), ("B", 1, 4), ("A", 4, 5)]),  # BIOES as it should be
    ("B-A E-A E-A", [("A", 0, 2), ("A", 2, 3)]),  # E after E begins and ends
    ("B-A E-A I-A", [("A", 0, 2), ("A", 2, 3)]),  # I after E begins
    ("S-A I-A", [("A", 0, 1), ("A", 1, 2)]),
    ("B-A S-A", [("A", 0, 1), ("A", 1, 2)]),
    ("B-A E-B", [("A", 0, 1), ("B", 1, 2)]),
    ("E-A", [("A", 0, 1)]),
    ("B-A I-A", [("A", 0, 2)]),  # open at the end
    ("B-a-b I-a-b", [("a-b", 0, 2)]),  # a type may hold dashes
    ("B I O S", [("", 0, 2), ("", 3, 4)]),  # one kind of span needs no type
]


@pytest.mark.parametrize(("tags", "meaning"), MEANINGS)
def test_spans_by_the_rules_of_conlleval(tags: str, meaning: list[tuple[str, int, int]]) -> None:
    assert metrics.spans(tags.split()) == meaning


def spans_by_conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """As conlleval does it: does a span end between two neighbours, does one start?"""

    def split_tag(tag: str) -> tuple[str, str]:
        return ("O", "") if tag == "O" else (tag[0], tag[2:])

    spans, start = [], None
    for step in range(len(tags) + 1):
        letter, span_type = split_tag(tags[step - 1]) if step else ("O", "")
        next_letter, next_type = split_tag(tags[step]) if step < len(tags) else ("O", "")
        ends = letter in "ES" or (letter in "BI" and next_letter in "BSO") or (letter != "O" and span_type != next_type)
        starts = (
            next_letter in "BS"
            or (next_letter in "EI" and letter in "ESO")
            or (next_letter != "O" and span_type != next_type)
        )
        if start is not None and ends:
            spans.append((span_type, start, step))
            start = None
        if starts:
            start = step
    return spans


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in "AB")]), max_size=9))
def test_spans_equal_the_twin_on_any_tags_however_broken(tags: list[str]) -> None:
    assert metrics.spans(tags) == spans_by_conlleval(tags)


@pytest.mark.parametrize("tag", ["NN", "X-A", "O-A", "b-A", ""])
def test_tags_that_mark_no_span_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="marks no span"):
        metrics.spans([tag])


def test_span_f1_by_hand() -> None:
    targets = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"], ["O", "O"]]
    predictions = predict(["B-A", "I-A", "O", "B-A"], ["B-A", "I-A"], ["B-C", "O"])
    # Predicted: A(0,2) right, A(3,4) wrong type, A(0,2) wrong end, C. True: A, B, A. Right 1 of 4 predicted, of 3 true.
    scores = metrics.span_f1(predictions, targets)
    assert scores == {
        "span_f1": pytest.approx(2 / 7),
        "span_precision": 1 / 4,
        "span_recall": pytest.approx(1 / 3),
        "span_f1.A": pytest.approx(2 / 5),
        "span_f1.B": 0.0,
    }
    assert metrics.span_f1(predict(["O"]), [["O"]]) == {"span_f1": 0.0, "span_precision": 0.0, "span_recall": 0.0}
    assert metrics.span_f1(predict(["B", "I"]), [["B", "I"]]) == {"span_f1": 1, "span_precision": 1, "span_recall": 1}


def test_a_span_never_crosses_from_one_sequence_to_the_next() -> None:
    assert metrics.span_f1(predict(["B-A"], ["I-A"]), [["B-A"], ["I-A"]])["span_f1"] == 1.0
    assert metrics.span_f1(predict(["B-A"], ["I-A"]), [["B-A"], ["O"]])["span_precision"] == 0.5


def test_tag_scores_by_hand() -> None:
    predictions, targets = predict(["a", "b", "b"], ["a"]), [["a", "b", "a"], ["a"]]
    assert metrics.tag_accuracy(predictions, targets) == {"accuracy": 3 / 4}
    # a: 2 right, 2 predicted, 3 true: 4/5. b: 1, 2, 1: 2/3.
    assert metrics.tag_scores(predictions, targets) == {
        "accuracy": 3 / 4,
        "exact": 1 / 2,
        "macro_f1": pytest.approx((4 / 5 + 2 / 3) / 2),
    }


@pytest.mark.parametrize("score", [metrics.tag_accuracy, metrics.tag_scores, metrics.span_f1])
def test_a_tag_for_each_step_is_required(score: Any) -> None:
    with pytest.raises(ValueError, match="example 1: 1 tags predicted for 2 steps"):
        score(predict(["O"], ["O"]), [["O"], ["O", "O"]])


# Numbers


def test_value_scores_by_hand() -> None:
    predictions, targets = predict(1.0, 2.0, 6.0), [1.0, 4.0, 4.0]
    assert metrics.value_scores(predictions, targets) == {
        "rmse": pytest.approx(math.sqrt(8 / 3)),
        "mae": pytest.approx(4 / 3),
    }
    assert metrics.r2(predictions, targets) == {"r2": pytest.approx(1 - 8 / 6)}
    pairs = predict([1.0, 0.0], [2.0, 0.0], [6.0, 0.0])
    assert metrics.rmse(pairs, [[1.0, 0.0], [4.0, 3.0], [4.0, 0.0]]) == {"rmse": pytest.approx(math.sqrt(17 / 6))}
    assert metrics.r2(pairs, [[1.0, 5.0], [4.0, 5.0], [4.0, 5.0]]) == {"r2": pytest.approx(1 - 8 / 6)}
    assert math.isnan(metrics.r2(predict(1.0, 2.0), [3.0, 3.0])["r2"])


def test_numbers_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="2 numbers predicted where the target has 1"):
        metrics.mae(predict([1.0, 2.0]), [1.0])


# All of them

LABELLED = [metrics.accuracy, metrics.macro_f1, metrics.mcc, metrics.label_scores, metrics.auroc, metrics.auprc]
TAGGED = [metrics.tag_accuracy, metrics.tag_scores, metrics.span_f1]


def test_values_of_steps_of_any_lengths_some_of_them_unknown() -> None:
    nan = math.nan
    predictions = predict([1.0, 2.0, 9.0], [4.0], [5.0, 6.0])
    targets = [[1.0, 4.0, nan], [1.0], [nan, nan]]
    assert metrics.value_scores(predictions, targets) == {
        "rmse": pytest.approx(math.sqrt((0 + 4 + 9) / 3)),
        "mae": pytest.approx(5 / 3),
    }
    assert metrics.r2(predictions, targets) == {"r2": pytest.approx(1 - 13 / 6)}
    two = predict([[1.0, 0.0], [2.0, 0.0]], [[4.0, 1.0]])
    true = [[[1.0, 0.0], [4.0, nan]], [[1.0, 3.0]]]
    assert metrics.rmse(two, true) == {"rmse": pytest.approx(math.sqrt((0 + 4 + 9 + 0 + 4) / 5))}
    assert metrics.r2(two, true) == {"r2": pytest.approx(((1 - 13 / 6) + (1 - 4 / 4.5)) / 2)}
    assert math.isnan(metrics.rmse(predict(1.0), [nan])["rmse"])
    assert math.isnan(metrics.mae(predict([1.0]), [[nan]])["mae"])
    with pytest.raises(ValueError, match="example 2: 1 numbers predicted where the target has 2"):
        metrics.mae(predict([1.0], [2.0]), [[1.0], [2.0, 3.0]])


NUMBERED = [metrics.value_scores, metrics.rmse, metrics.mae, metrics.r2]


@pytest.mark.parametrize("score", [*LABELLED, *TAGGED, *NUMBERED, metrics.set_scores])
def test_counts_must_agree_and_not_be_zero(score: Any) -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 targets"):
        score(predict("a", "b"), ["a"])
    with pytest.raises(ValueError, match="nothing to score"):
        score([], [])


@pytest.mark.parametrize("score", [*LABELLED, *TAGGED, *NUMBERED])
def test_scores_do_not_depend_on_the_order_of_examples(score: Any) -> None:
    rng = np.random.default_rng(0)
    if score in LABELLED:
        predictions = predict_scores(
            [dict(zip("abc", row.tolist(), strict=True)) for row in rng.dirichlet([1, 1, 1], 40)]
        )
        targets: list[Any] = rng.choice(list("abc"), 40).tolist()
    elif score in TAGGED:
        tags = ["O", "B-A", "I-A"]
        predictions = predict(*(rng.choice(tags, 5).tolist() for _ in range(40)))
        targets = [rng.choice(tags, 5).tolist() for _ in range(40)]
    else:
        predictions, targets = predict(*rng.normal(size=40).tolist()), rng.normal(size=40).tolist()
    order = rng.permutation(40)
    reordered = score([predictions[i] for i in order], [targets[i] for i in order])
    assert reordered == pytest.approx(score(predictions, targets), rel=1e-12)


def test_lower_is_better_names_errors_and_no_successes() -> None:
    errors = {"loss", "nats", "rmse", "mae", "wer", "cer"}
    successes = {"accuracy", "macro_f1", "micro_f1", "mcc", "auroc", "auprc", "span_f1", "r2", "exact", "bleu"}
    assert errors <= metrics.LOWER_IS_BETTER
    assert not successes & metrics.LOWER_IS_BETTER


# Texts


def distance_by_definition(predicted: str, true: str) -> int:
    """Levenshtein's recursion, word for word."""
    if not predicted or not true:
        return len(predicted) + len(true)
    if predicted[0] == true[0]:
        return distance_by_definition(predicted[1:], true[1:])
    return 1 + min(
        distance_by_definition(predicted[1:], true),
        distance_by_definition(predicted, true[1:]),
        distance_by_definition(predicted[1:], true[1:]),
    )


@settings(max_examples=150, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_levenshteins(predicted: str, true: str) -> None:
    assert metrics.edit_distance(predicted, true) == distance_by_definition(predicted, true)
    assert metrics.edit_distance(predicted.split(), true.split()) == metrics.edit_distance(
        true.split(), predicted.split()
    )


def test_error_rates_count_over_all_examples_together() -> None:
    # One deletion of three words, two insertions to one word, and a third text that is right.
    predictions, targets = predict("three one", "a b c", "x"), ["three two one", "a", "x"]
    assert metrics.wer(predictions, targets) == {"wer": 3 / 5, "exact": 1 / 3}
    assert metrics.wer(predict("", "b b b"), ["a a", "b"])["wer"] == 4 / 3
    assert metrics.wer(predict("  a   b "), ["a b"]) == {"wer": 0.0, "exact": 1.0}
    assert metrics.cer(predict("kitten", "ab"), ["sitting", "a b"]) == {"cer": 4 / 10, "exact": 0.0}
    assert metrics.wer(predict(["a", "b"]), [["a", "c"]])["wer"] == 0.5


def test_error_rates_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="every target is empty"):
        metrics.wer(predict("a"), [" "])
    with pytest.raises(ValueError, match="2 predictions for 1"):
        metrics.cer(predict("a", "b"), ["a"])


def test_error_rates_are_better_when_lower() -> None:
    assert {"wer", "cer"} <= metrics.LOWER_IS_BETTER
