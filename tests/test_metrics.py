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


def said(*values: Any) -> list[Prediction]:
    return [Prediction(value) for value in values]


def ranked(label_shares: list[dict[str, float]]) -> list[Prediction]:
    return [Prediction(max(shares, key=lambda k: shares[k]), None, shares) for shares in label_shares]


# Labels


def test_accuracy_counts_exact_values() -> None:
    assert metrics.accuracy(said("a", "b", "a", "c"), ["a", "b", "b", "a"]) == {"accuracy": 0.5}
    assert metrics.accuracy(said(["a", "b"], ["a"]), [("a", "b"), ["b"]]) == {"accuracy": 0.5}


def test_macro_f1_by_hand() -> None:
    # a: 1 right, 2 said, 2 true: 1/2. b: 1 right, 1 said, 2 true: 2/3. c: said once, never true: 0. d: only missed: 0.
    predictions, targets = said("a", "a", "b", "c", "c"), ["a", "b", "b", "a", "d"]
    assert metrics.macro_f1(predictions, targets)["macro_f1"] == pytest.approx((1 / 2 + 2 / 3 + 0 + 0) / 4)
    assert metrics.label_scores(predictions, targets) == {
        "accuracy": 2 / 5,
        "macro_f1": pytest.approx((1 / 2 + 2 / 3) / 4),
    }


def test_mcc_by_hand() -> None:
    # Two labels: 3 true positives, 1 false negative, 2 true negatives, 1 false positive.
    predictions = said("y", "y", "y", "n", "n", "n", "y")
    targets = ["y", "y", "y", "y", "n", "n", "n"]
    assert metrics.mcc(predictions, targets)["mcc"] == pytest.approx((3 * 2 - 1 * 1) / math.sqrt(4 * 4 * 3 * 3))
    assert metrics.mcc(said("y", "y"), ["y", "n"]) == {"mcc": 0.0}
    assert math.isnan(metrics.mcc(said("y", "n"), ["y", "y"])["mcc"])


def test_ranking_scores_by_hand() -> None:
    shares = [0.9, 0.8, 0.7, 0.6, 0.55]
    targets = ["y", "n", "y", "y", "n"]
    predictions = ranked([{"n": 1 - p, "y": p} for p in shares])
    # Pairs (positive, negative) in the right order: 0.9 beats both; 0.7 and 0.6 beat only 0.55. 4 of 6.
    assert metrics.auroc(predictions, targets) == {"auroc": pytest.approx(4 / 6)}
    assert metrics.auroc(predictions, targets, positive="n") == {"auroc": pytest.approx(4 / 6)}
    # Precision at each positive, from the top: 1/1, 2/3, 3/4.
    assert metrics.auprc(predictions, targets, positive="y") == {"auprc": pytest.approx((1 + 2 / 3 + 3 / 4) / 3)}
    # The negatives as the positive class, from the least likely y: 1/1, 2/4.
    assert metrics.auprc(predictions, targets, positive="n") == {"auprc": pytest.approx((1 + 2 / 4) / 2)}


def test_ranking_of_many_labels_is_the_mean_over_those_that_can_be_ranked() -> None:
    predictions = ranked(
        [{"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 0.4, "b": 0.5, "c": 0.1}, {"a": 0.6, "b": 0.3, "c": 0.1}]
    )
    # a: 0.7 beats 0.4 and 0.6. b: 0.5 beats 0.2, and 0.3 beats 0.2. c never occurs: left out.
    assert metrics.auroc(predictions, ["a", "b", "b"]) == {"auroc": 1.0}
    # For sets: a is in 1 and 2 (0.7, 0.4 against 0.6: half the pairs); b in all and c in none: left out.
    assert metrics.auroc(predictions, [["a", "b"], ["a", "b"], ["b"]]) == {"auroc": 0.5}
    assert math.isnan(metrics.auroc(predictions, ["a", "a", "a"])["auroc"])


def test_ranking_of_step_by_step_scores_takes_the_last() -> None:
    one = ranked([{"n": 0.2, "y": 0.8}, {"n": 0.9, "y": 0.1}, {"n": 0.5, "y": 0.5}])
    steps = [Prediction(p.value, None, {k: [0.33, v] for k, v in p.scores.items()}) for p in one]
    for targets in (["y", "n", "n"], ["n", "y", "n"]):
        assert metrics.auroc(steps, targets) == metrics.auroc(one, targets)


def test_ranking_needs_probabilities_and_a_known_label() -> None:
    with pytest.raises(ValueError, match="have no probabilities"):
        metrics.auroc(said("a", "b"), ["a", "b"])
    with pytest.raises(ValueError, match="'z' is none of the labels 'n', 'y'"):
        metrics.auprc(ranked([{"n": 0.2, "y": 0.8}]), ["y"], positive="z")


def test_set_scores_by_hand() -> None:
    predictions = said(["r", "g"], [], ["b"], ["g"])
    targets = [["g", "r"], [], ["r"], ["g", "b"]]
    # r: 1 right, 1 said, 2 true: 2/3. g: 2, 2, 2: 1. b: 0, 1, 1: 0. All: 3 right, 4 said, 5 true: 6/9.
    assert metrics.set_scores(predictions, targets) == {
        "accuracy": 0.5,
        "micro_f1": pytest.approx(6 / 9),
        "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3),
    }
    assert metrics.set_scores(said([]), [[]]) == {"accuracy": 1.0, "micro_f1": 0.0, "macro_f1": 0.0}


def test_confusion_counts_rows_by_truth() -> None:
    counts = metrics.confusion(["a", "a", "b"], said("a", "b", "b"), ["a", "b", "c"])
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    steps = metrics.confusion([["a", "b"], ["b"]], said(["a", "a"], ["b"]), ["a", "b"])
    assert steps.tolist() == [[1, 0], [1, 1]]
    with pytest.raises(ValueError, match="'z' is not among the 2 labels"):
        metrics.confusion(["a"], said("z"), ["a", "b"])


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


def twin_spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """conlleval's two questions, asked between every two neighbours: does a chunk end, does one start?"""

    def parts(tag: str) -> tuple[str, str]:
        return ("O", "") if tag == "O" else (tag[0], tag[2:])

    found, start = [], None
    for step in range(len(tags) + 1):
        before, old = parts(tags[step - 1]) if step else ("O", "")
        after, new = parts(tags[step]) if step < len(tags) else ("O", "")
        ends = before in "ES" or (before in "BI" and after in "BSO") or (before != "O" and old != new)
        starts = after in "BS" or (after in "EI" and before in "ESO") or (after != "O" and old != new)
        if start is not None and ends:
            found.append((old, start, step))
            start = None
        if starts:
            start = step
    return found


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(["O", *(f"{letter}-{kind}" for letter in "BIES" for kind in "AB")]), max_size=9))
def test_spans_equal_the_twin_on_any_tags_however_broken(tags: list[str]) -> None:
    assert metrics.spans(tags) == twin_spans(tags)


@pytest.mark.parametrize("tag", ["NN", "X-A", "O-A", "b-A", ""])
def test_tags_that_mark_no_span_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="marks no span"):
        metrics.spans([tag])


def test_span_f1_by_hand() -> None:
    targets = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"], ["O", "O"]]
    given = said(["B-A", "I-A", "O", "B-A"], ["B-A", "I-A"], ["B-C", "O"])
    # Said: A(0,2) right, A(3,4) wrong type, A(0,2) wrong end, C. True: A, B, A. Right 1 of 4 said, of 3 true.
    scores = metrics.span_f1(given, targets)
    assert scores == {
        "span_f1": pytest.approx(2 / 7),
        "span_precision": 1 / 4,
        "span_recall": pytest.approx(1 / 3),
        "span_f1.A": pytest.approx(2 / 5),
        "span_f1.B": 0.0,
    }
    assert metrics.span_f1(said(["O"]), [["O"]]) == {"span_f1": 0.0, "span_precision": 0.0, "span_recall": 0.0}
    assert metrics.span_f1(said(["B", "I"]), [["B", "I"]]) == {"span_f1": 1, "span_precision": 1, "span_recall": 1}


def test_a_span_never_crosses_from_one_sequence_to_the_next() -> None:
    assert metrics.span_f1(said(["B-A"], ["I-A"]), [["B-A"], ["I-A"]])["span_f1"] == 1.0
    assert metrics.span_f1(said(["B-A"], ["I-A"]), [["B-A"], ["O"]])["span_precision"] == 0.5


def test_tag_scores_by_hand() -> None:
    predictions, targets = said(["a", "b", "b"], ["a"]), [["a", "b", "a"], ["a"]]
    assert metrics.tag_accuracy(predictions, targets) == {"accuracy": 3 / 4}
    # a: 2 right, 2 said, 3 true: 4/5. b: 1, 2, 1: 2/3.
    assert metrics.tag_scores(predictions, targets) == {
        "accuracy": 3 / 4,
        "exact": 1 / 2,
        "macro_f1": pytest.approx((4 / 5 + 2 / 3) / 2),
    }


@pytest.mark.parametrize("score", [metrics.tag_accuracy, metrics.tag_scores, metrics.span_f1])
def test_a_tag_for_each_step_is_required(score: Any) -> None:
    with pytest.raises(ValueError, match="example 1: 1 tags predicted for 2 steps"):
        score(said(["O"], ["O"]), [["O"], ["O", "O"]])


# Numbers


def test_value_scores_by_hand() -> None:
    predictions, targets = said(1.0, 2.0, 6.0), [1.0, 4.0, 4.0]
    assert metrics.value_scores(predictions, targets) == {
        "rmse": pytest.approx(math.sqrt(8 / 3)),
        "mae": pytest.approx(4 / 3),
    }
    assert metrics.r2(predictions, targets) == {"r2": pytest.approx(1 - 8 / 6)}
    both = said([1.0, 0.0], [2.0, 0.0], [6.0, 0.0])
    assert metrics.rmse(both, [[1.0, 0.0], [4.0, 3.0], [4.0, 0.0]]) == {"rmse": pytest.approx(math.sqrt(17 / 6))}
    assert metrics.r2(both, [[1.0, 5.0], [4.0, 5.0], [4.0, 5.0]]) == {"r2": pytest.approx(1 - 8 / 6)}
    assert math.isnan(metrics.r2(said(1.0, 2.0), [3.0, 3.0])["r2"])


def test_numbers_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="2 numbers predicted where the target has 1"):
        metrics.mae(said([1.0, 2.0]), [1.0])


# All of them

LABELLED = [metrics.accuracy, metrics.macro_f1, metrics.mcc, metrics.label_scores, metrics.auroc, metrics.auprc]
TAGGED = [metrics.tag_accuracy, metrics.tag_scores, metrics.span_f1]
NUMBERED = [metrics.value_scores, metrics.rmse, metrics.mae, metrics.r2]


@pytest.mark.parametrize("score", [*LABELLED, *TAGGED, *NUMBERED, metrics.set_scores])
def test_counts_must_agree_and_not_be_zero(score: Any) -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 targets"):
        score(said("a", "b"), ["a"])
    with pytest.raises(ValueError, match="nothing to score"):
        score([], [])


@pytest.mark.parametrize("score", [*LABELLED, *TAGGED, *NUMBERED])
def test_scores_do_not_depend_on_the_order_of_examples(score: Any) -> None:
    rng = np.random.default_rng(0)
    if score in LABELLED:
        predictions = ranked([dict(zip("abc", row.tolist(), strict=True)) for row in rng.dirichlet([1, 1, 1], 40)])
        targets: list[Any] = rng.choice(list("abc"), 40).tolist()
    elif score in TAGGED:
        tags = ["O", "B-A", "I-A"]
        predictions = said(*(rng.choice(tags, 5).tolist() for _ in range(40)))
        targets = [rng.choice(tags, 5).tolist() for _ in range(40)]
    else:
        predictions, targets = said(*rng.normal(size=40).tolist()), rng.normal(size=40).tolist()
    order = rng.permutation(40)
    again = score([predictions[i] for i in order], [targets[i] for i in order])
    assert again == pytest.approx(score(predictions, targets), rel=1e-12)


def test_lower_is_better_names_errors_and_no_successes() -> None:
    errors = {"loss", "nats", "rmse", "mae", "wer", "cer"}
    successes = {"accuracy", "macro_f1", "micro_f1", "mcc", "auroc", "auprc", "span_f1", "r2", "exact", "bleu"}
    assert errors <= metrics.LOWER_IS_BETTER
    assert not successes & metrics.LOWER_IS_BETTER


# Texts


def distance_by_definition(given: str, true: str) -> int:
    """Levenshtein's recursion, word for word."""
    if not given or not true:
        return len(given) + len(true)
    if given[0] == true[0]:
        return distance_by_definition(given[1:], true[1:])
    return 1 + min(
        distance_by_definition(given[1:], true),
        distance_by_definition(given, true[1:]),
        distance_by_definition(given[1:], true[1:]),
    )


@settings(max_examples=150, deadline=None)
@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_is_levenshteins(given: str, true: str) -> None:
    assert metrics.edit_distance(given, true) == distance_by_definition(given, true)
    assert metrics.edit_distance(given.split(), true.split()) == metrics.edit_distance(true.split(), given.split())


def test_error_rates_count_over_all_examples_together() -> None:
    # One deletion of three words, two insertions to one word, and a third text that is right.
    predictions, targets = said("three one", "a b c", "x"), ["three two one", "a", "x"]
    assert metrics.wer(predictions, targets) == {"wer": 3 / 5, "exact": 1 / 3}
    assert metrics.wer(said("", "b b b"), ["a a", "b"])["wer"] == 4 / 3
    assert metrics.wer(said("  a   b "), ["a b"]) == {"wer": 0.0, "exact": 1.0}
    assert metrics.cer(said("kitten", "ab"), ["sitting", "a b"]) == {"cer": 4 / 10, "exact": 0.0}
    assert metrics.wer(said(["a", "b"]), [["a", "c"]])["wer"] == 0.5


def test_error_rates_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="every target is empty"):
        metrics.wer(said("a"), [" "])
    with pytest.raises(ValueError, match="2 predictions for 1"):
        metrics.cer(said("a", "b"), ["a"])


def test_error_rates_are_better_when_lower() -> None:
    assert {"wer", "cer"} <= metrics.LOWER_IS_BETTER
