"""What names of scores say, and how they are ordered."""

from __future__ import annotations

import pytest

from seqkit import score_names

FORECAST = {
    "loss": 0.5084,
    "mse": 1.1673,
    "mse.seasonal_naive": 1.6485,
    "mase": 0.7629,
    "mase.seasonal_naive": 0.9327,
    "mase.last_value": 1.0126,
    "rmsse": 0.75,
    "skill": 0.18,
    "owa": 0.81,
    "coverage.0.9": 0.85,
}


@pytest.mark.parametrize(
    ("name", "baseline", "is_of_class"),
    [
        ("mase", None, False),
        ("mase.seasonal_naive", ("mase", "seasonal_naive"), False),
        ("wer.fi.constant", ("wer.fi", "constant"), False),
        ("coverage.0.9", None, False),
        ("span_f1.place", None, True),
        ("mase.series.H1", None, True),
        ("accuracy.3", None, True),
        ("constant", None, False),
    ],
)
def test_a_name_says_what_it_is_of(name: str, baseline: tuple[str, str] | None, is_of_class: bool) -> None:
    assert score_names.baseline_of(name) == baseline
    assert score_names.is_of_class(name) is is_of_class


def test_a_baseline_comes_after_its_score_and_classes_last() -> None:
    names = ["span_f1.place", "mase.last_value", "mse", "mase", "mse.constant", "lost.constant", "coverage.0.9"]
    assert score_names.in_order(names, "mase") == [
        "mase",
        "mase.last_value",
        "mse",
        "mse.constant",
        "coverage.0.9",
        "span_f1.place",
        "lost.constant",
    ]
    keys = [f"t/{split}/{name}" for split in ("dev", "test") for name in ("a", "mase.constant", "mase")]
    ordered = [f"t/{split}/{name}" for split in ("dev", "test") for name in ("mase", "mase.constant", "a")]
    assert score_names.keys_in_order(keys, {"t": "mase"}) == ordered


def test_the_line_of_an_evaluation_has_the_scores_that_say_most() -> None:
    line = score_names.describe("series", "dev", FORECAST, "mase")
    decides = "series/dev/mase 0.7629 (seasonal_naive 0.9327, last_value 1.0126)"
    assert line.startswith(f"series/dev/loss 0.5084  {decides}  series/dev/mse 1.1673")
    assert line.endswith("  and 2 more")
    assert len(line) < 200


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_few_scores_are_all_shown_as_they_come(count: int) -> None:
    scores = dict.fromkeys(["loss", "a", "b", "c", "d", "e"][:count], 0.25)
    shown = "  ".join(f"t/dev/{name} 0.2500" for name in scores)
    assert score_names.describe("t", "dev", scores, "a" if count > 1 else "loss") == shown


def test_a_score_is_printed_with_its_baselines_on_its_row() -> None:
    rows = list(score_names.with_baselines({f"s/test/{name}": value for name, value in FORECAST.items()}))
    assert ("s/test/mase", 0.7629, "   seasonal_naive 0.9327, last_value 1.0126") in rows
    assert ("s/test/skill", 0.18, "") in rows
    assert len(rows) == 7
    assert list(score_names.with_baselines({"a.constant": 1.0})) == [("a.constant", 1.0, "")], "nothing is left out"
