"""Paired tests find a difference that is there and none that is not; sums over examples give the scores themselves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from seqkit import metrics
from seqkit.reports.decomposition import Decomposed, decompose
from seqkit.reports.resampling import (
    Recomputed,
    Sums,
    bootstrap,
    draw_weights,
    holm,
    paired_test,
    seed_test,
)
from seqkit.types import Prediction


def ratio(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 0] / sums[..., 1])


def answers(is_right: np.ndarray) -> Sums:
    """A side with one run, of which it is known what it got right."""
    rows = np.stack([is_right, np.ones(len(is_right))], axis=1).astype(np.float64)
    return Sums.of([Decomposed(rows, ratio)], np.arange(len(rows)))


def two_models(rng: np.random.Generator, *, examples: int, gain: float) -> tuple[Sums, Sums]:
    """Two models that are right in 85 % of all cases, the second one in `gain` more; most examples are easy for both.

    Each example has a difficulty that both models share, so that they are right and wrong together, as real ones are.
    """
    difficulty = rng.beta(1.0, 0.18, examples)  # mean 0.85
    first = rng.random(examples) < difficulty
    second = rng.random(examples) < difficulty
    # The second one gets right what it would have got wrong, so often that the expected gain is the planted one.
    repaired = ~second & (rng.random(examples) < gain / (1 - 1 / 1.18))
    return answers(first), answers(second | repaired)


def test_two_models_of_equal_quality_differ_in_at_most_5_of_100_draws() -> None:
    rng = np.random.default_rng(15)
    shown = sum(
        paired_test(*two_models(rng, examples=1000, gain=0.0), draws=1000).shows_difference() for _ in range(100)
    )
    assert shown <= 5


def test_a_gain_of_3_points_is_found() -> None:
    rng = np.random.default_rng(15)
    count = 0
    for _ in range(100):
        test = paired_test(*two_models(rng, examples=3000, gain=0.03), draws=1000)
        count += test.shows_difference() and test.difference.value > 0
    assert count >= 95


@pytest.mark.slow
def test_the_share_of_false_claims_over_two_thousand_draws_is_the_level() -> None:
    rng = np.random.default_rng(1)
    draws = 2000
    shown = sum(
        paired_test(*two_models(rng, examples=500, gain=0.0), draws=1000).shows_difference() for _ in range(draws)
    )
    assert stats.binomtest(shown, draws, 0.05, alternative="greater").pvalue > 0.01


def test_the_p_value_is_that_of_all_exchanges() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(8) < 0.4, rng.random(8) < 0.9
    observed = abs(float(second.mean()) - float(first.mean()))
    extreme = 0
    for exchanged in itertools.product([False, True], repeat=8):
        a, b = np.where(exchanged, second, first), np.where(exchanged, first, second)
        extreme += abs(float(b.mean()) - float(a.mean())) >= observed - 1e-12
    test = paired_test(answers(first), answers(second), draws=40_000)
    assert test.p == pytest.approx(extreme / 2**8, abs=0.01)


def test_the_interval_is_that_of_resamples_drawn_one_by_one() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.random(60) < 0.5, rng.random(60) < 0.7
    slow = []
    for _ in range(20_000):
        rows = rng.integers(0, 60, 60)
        slow.append(float(second[rows].mean() - first[rows].mean()))
    test = paired_test(answers(first), answers(second), draws=20_000)
    assert (test.difference.low, test.difference.high) == pytest.approx(
        tuple(np.quantile(slow, [0.025, 0.975])), abs=0.02
    )
    assert test.difference.value == pytest.approx(second.mean() - first.mean())


def test_a_score_that_is_computed_anew_has_the_interval_of_its_sums() -> None:
    is_right = np.random.default_rng(5).random(80) < 0.6
    members = [np.array([number]) for number in range(80)]
    slow = Recomputed([lambda rows: float(is_right[rows].mean())], members)
    assert bootstrap(slow, draws=300) == bootstrap(answers(is_right), draws=300)


def test_answers_that_come_in_groups_are_resampled_in_groups() -> None:
    """Ten speakers of a hundred recordings each, all right or all wrong: the interval is that of ten answers."""
    rng = np.random.default_rng(6)
    by_speaker = np.array([1, 1, 1, 0, 1, 1, 0, 1, 1, 1], dtype=bool)
    rows = np.stack([np.repeat(by_speaker, 100), np.ones(1000)], axis=1).astype(np.float64)
    grouped = bootstrap(Sums.of([Decomposed(rows, ratio)], np.repeat(np.arange(10), 100)))
    alone = bootstrap(answers(by_speaker))
    assert (grouped.low, grouped.high) == (alone.low, alone.high)
    shuffled = rng.permutation(1000)
    mixed = Sums.of([Decomposed(rows[shuffled], ratio)], np.repeat(np.arange(10), 100)[shuffled])
    assert bootstrap(mixed) == grouped


def test_equal_sides_have_no_difference() -> None:
    side = answers(np.random.default_rng(7).random(50) < 0.5)
    test = paired_test(side, side, draws=200)
    assert (test.difference.value, test.p) == (0.0, 1.0)
    assert not test.shows_difference()


def test_runs_of_a_side_are_averaged_and_may_be_more_than_those_of_the_other() -> None:
    rng = np.random.default_rng(8)
    runs = [rng.random(400) < share for share in (0.5, 0.55, 0.9)]
    one = answers(runs[0])
    three = Sums(np.concatenate([answers(run).counts for run in runs]), ratio)
    test = paired_test(one, three, draws=2000)
    assert test.difference.value == pytest.approx(np.mean([run.mean() for run in runs]) - runs[0].mean())
    assert test.shows_difference()


def test_each_row_of_weights_is_a_resample_of_all_units() -> None:
    weights = np.concatenate(list(draw_weights(7, 1000, np.random.default_rng(0))))
    assert weights.shape == (1000, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.15)


# ---- seeds


def test_seeds_are_compared_by_welchs_test() -> None:
    first, second = [0.80, 0.82, 0.81, 0.79], [0.83, 0.84, 0.86]
    test = seed_test(first, second)
    reference = stats.ttest_ind(second, first, equal_var=False)
    assert test is not None
    assert test.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert (test.difference.low, test.difference.high) == pytest.approx((interval.low, interval.high))


def test_one_run_is_compared_with_the_spread_of_the_others() -> None:
    test = seed_test([0.80, 0.82, 0.81, 0.79], [0.81])
    assert test is not None
    assert test.p > 0.5
    assert test.spread == (pytest.approx(0.0129, abs=1e-4), None)
    assert seed_test([0.8], [0.9]) is None


def test_runs_that_are_all_alike_have_no_noise() -> None:
    same, other = seed_test([0.5, 0.5], [0.5, 0.5]), seed_test([0.5, 0.5], [0.6, 0.6])
    assert same is not None
    assert other is not None
    assert (same.p, other.p) == (1.0, 0.0)


def test_several_p_values_are_adjusted_as_by_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5]) == [0.5]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


# ---- sums over examples

LABELS = ["a", "b", "c"]


def labels(rng: np.random.Generator) -> tuple[list[Prediction], list[Any]]:
    probabilities = rng.dirichlet([1, 1, 1], 60)
    predictions = [
        Prediction(LABELS[int(row.argmax())], float(row.max()), dict(zip(LABELS, row.tolist(), strict=True)))
        for row in probabilities
    ]
    return predictions, [LABELS[i] for i in rng.integers(0, 3, 60)]


def label_sets(rng: np.random.Generator) -> tuple[list[Prediction], list[Any]]:
    def some() -> list[str]:
        return [label for label in LABELS if rng.random() < 0.5]

    return [Prediction(some()) for _ in range(40)], [some() for _ in range(40)]


def tags(rng: np.random.Generator) -> tuple[list[Prediction], list[Any]]:
    known = ["O", "B-x", "I-x", "B-y", "I-y"]
    targets = [[known[i] for i in rng.integers(0, 5, rng.integers(1, 8))] for _ in range(40)]
    values = [[tag if rng.random() < 0.7 else "O" for tag in target] for target in targets]
    return [Prediction(value, [0.5] * len(value)) for value in values], targets


def texts(rng: np.random.Generator) -> tuple[list[Prediction], list[Any]]:
    words = ["one", "two", "three", "four"]
    targets = [" ".join(words[i] for i in rng.integers(0, 4, rng.integers(1, 6))) for _ in range(30)]
    values = [target if rng.random() < 0.5 else target.replace("one", "on") + " x" for target in targets]
    return [Prediction(value) for value in values], targets


def numbers(rng: np.random.Generator) -> tuple[list[Prediction], list[Any]]:
    targets = rng.normal(size=50).tolist()
    return [Prediction(target + rng.normal() * 0.3) for target in targets], targets


KINDS: list[tuple[str, Callable[..., Any], Callable[..., Mapping[str, float]]]] = [
    ("accuracy", labels, metrics.accuracy),
    ("macro_f1", labels, metrics.macro_f1),
    ("mcc", labels, metrics.mcc),
    ("accuracy", label_sets, metrics.set_scores),
    ("micro_f1", label_sets, metrics.set_scores),
    ("macro_f1", label_sets, metrics.set_scores),
    ("accuracy", tags, metrics.tag_accuracy),
    ("exact", tags, metrics.tag_scores),
    ("macro_f1", tags, metrics.tag_scores),
    ("span_f1", tags, metrics.span_f1),
    ("span_precision", tags, metrics.span_f1),
    ("span_recall", tags, metrics.span_f1),
    ("span_f1.x", tags, metrics.span_f1),
    ("wer", texts, metrics.wer),
    ("cer", texts, metrics.cer),
    ("exact", texts, metrics.wer),
    ("rmse", numbers, metrics.rmse),
    ("mae", numbers, metrics.mae),
    ("r2", numbers, metrics.r2),
]


@pytest.mark.parametrize(("name", "make", "metric"), KINDS, ids=[f"{name}-{make.__name__}" for name, make, _ in KINDS])
def test_a_score_of_sums_is_the_metric_of_every_resample(
    name: str, make: Callable[..., Any], metric: Callable[..., Mapping[str, float]]
) -> None:
    rng = np.random.default_rng(9)
    predictions, targets = make(rng)
    decomposed = decompose(name, predictions, targets)
    assert decomposed is not None
    assert decomposed.score == pytest.approx(metric(predictions, targets)[name])
    for _ in range(20):
        rows = rng.integers(0, len(targets), len(targets))
        expected = metric([predictions[i] for i in rows], [targets[i] for i in rows]).get(name, 0.0)
        assert float(decomposed.combine(decomposed.counts[rows].sum(axis=0))) == pytest.approx(expected, nan_ok=True)


def test_the_loss_of_labels_is_the_mean_of_their_nats() -> None:
    predictions, targets = labels(np.random.default_rng(10))
    decomposed = decompose("loss", predictions, targets)
    assert decomposed is not None
    nats = [-math.log(prediction.scores[target]) for prediction, target in zip(predictions, targets, strict=True)]
    assert decomposed.score == pytest.approx(np.mean(nats))


def test_nats_are_the_mean_over_the_symbols_of_all_texts() -> None:
    predictions = [
        Prediction(None, None, {"nats": 2.0, "symbols": 10}),
        Prediction(None, None, {"nats": 1.0, "symbols": 30}),
    ]
    decomposed = decompose("nats", predictions, [None, None])
    assert decomposed is not None
    assert decomposed.score == pytest.approx(1.25)


def test_two_models_have_the_same_columns_though_one_never_predicts_a_class() -> None:
    targets: Sequence[str] = ["a", "b", "a"]
    first = decompose("macro_f1", [Prediction(x) for x in "aaa"], targets, ["a", "b", "c"])
    second = decompose("macro_f1", [Prediction(x) for x in "abc"], targets, ["a", "b", "c"])
    assert first is not None
    assert second is not None
    assert first.counts.shape == second.counts.shape
    assert first.score == pytest.approx(metrics.macro_f1([Prediction(x) for x in "aaa"], targets)["macro_f1"])


def test_what_is_not_known_is_not_decomposed() -> None:
    assert decompose("bleu", [Prediction("a b")], ["a b"]) is None
    assert decompose("rmse", [Prediction("text")], ["text"]) is None
    assert decompose("nats", [Prediction("a")], ["a"]) is None
