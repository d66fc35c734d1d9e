"""`seqkit compare`: sides, seeds, and what is said of a difference."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from seqkit.inference import kept_predictions
from tests.helpers.run_folders import give_predictions, make_run

EXAMPLES = 400


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words])


def answers(seed: int, accuracy: float) -> np.ndarray:
    return np.random.default_rng(seed).random(EXAMPLES) < accuracy


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recipes, of which the second is better by 10 points, with two seeds each."""
    monkeypatch.chdir(tmp_path)
    for encoder, accuracy in {"lstm": 0.7, "gru": 0.9}.items():
        for seed in (1, 2):
            folder = make_run(tmp_path / "runs" / f"{encoder}-{seed}", encoder=encoder, seed=seed)
            give_predictions(folder, answers(100 * seed + len(encoder), accuracy))
    return tmp_path / "runs"


def test_the_better_model_is_named_with_the_interval_and_p(runs: Path) -> None:
    result = call(str(runs / "lstm-1"), str(runs / "gru-1"))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("mood/test/accuracy, 400 examples\n")
    assert "gru-1 is better than lstm-1 by 0." in result.stdout
    assert "p < 0.001" in result.stdout
    assert "encoder=gru" in result.stdout
    assert "whether the recipes differ is not known" in result.stdout


def test_a_model_is_not_better_than_itself(runs: Path) -> None:
    again = make_run(runs / "again", lr=0.5)
    give_predictions(again, answers(104, 0.7))
    result = call(str(runs / "lstm-1"), str(again))
    assert "no difference is shown between lstm-1 and again" in result.stdout
    assert "p = 1.000" in result.stdout


def test_runs_that_differ_in_the_seed_alone_are_one_side(runs: Path) -> None:
    result = call(str(runs), "--json")
    facts = json.loads(result.stdout)
    assert [(side["name"], side["seeds"]) for side in facts["sides"]] == [("gru", [1, 2]), ("lstm", [1, 2])]
    (pair,) = facts["pairs"]
    assert pair["better"] == -1, "the first side is better"
    assert pair["sentence"].startswith("gru is better than lstm by 0.")
    assert pair["test"]["difference"]["high"] < 0
    by, low, high = map(float, re.findall(r"[0-9]+\.[0-9]+(?= accuracy| to|,)", pair["sentence"]))
    assert low <= by <= high, "the interval of a sentence is that of its amount, without a sign"
    assert facts["sides"][0]["recipe"] == {"encoder.use": "gru"}


def test_a_gain_within_the_noise_of_seeds_is_warned_of(tmp_path: Path) -> None:
    for encoder, shares in {"lstm": (0.6, 0.9), "gru": (0.65, 0.98)}.items():
        for seed, share in enumerate(shares):
            folder = make_run(tmp_path / f"{encoder}-{seed}", encoder=encoder, seed=seed)
            give_predictions(folder, answers(seed, share))
    result = call(*(str(tmp_path / name) for name in ("lstm-0", "lstm-1", "gru-0", "gru-1")))
    assert "gru is better than lstm" in result.stdout
    assert "warning: the gain is within the noise of seeds (2 and 2 seeds" in result.stdout


def test_seeds_of_one_recipe_are_compared_with_each_other(runs: Path) -> None:
    result = call(str(runs / "lstm-1"), str(runs / "lstm-2"))
    assert result.exit_code == 0, result.output
    assert "the recipes are the same; only the seeds differ" in result.stdout


def test_several_sides_are_compared_with_the_first_and_p_is_adjusted(runs: Path) -> None:
    third = make_run(runs / "third", lr=0.9)
    give_predictions(third, answers(9, 0.76))
    facts = json.loads(call(str(runs / "lstm-1"), str(runs / "gru-1"), str(third), "--json").stdout)
    assert [pair["second"] for pair in facts["pairs"]] == ["gru-1", "third"]
    assert facts["pairs"][0]["p"] == pytest.approx(2 * facts["pairs"][0]["test"]["p"])
    assert any("adjusted for 2 comparisons" in note for note in facts["notes"])


def test_examples_are_matched_by_their_ids(runs: Path) -> None:
    """The same predictions in another order are the same model."""
    kept = kept_predictions.read(runs / "lstm-1", "mood", "test")
    assert kept is not None
    other = make_run(runs / "shuffled", lr=0.5)
    order = np.random.default_rng(0).permutation(EXAMPLES)
    names = ("ids", "inputs", "targets", "predictions")
    shuffled = {name: [getattr(kept, name)[i] for i in order] for name in names}
    kept_predictions.write(other, type(kept)("mood", "test", steps=kept.steps[order], **shuffled))
    (other / "metrics.json").write_bytes((runs / "lstm-1" / "metrics.json").read_bytes())
    facts = json.loads(call(str(runs / "lstm-1"), str(other), "--json").stdout)
    assert facts["pairs"][0]["test"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_other_examples_are_refused(runs: Path) -> None:
    fewer = make_run(runs / "fewer", lr=0.5)
    give_predictions(fewer, answers(1, 0.5)[:100])
    result = call(str(runs / "lstm-1"), str(fewer))
    assert result.exit_code == 2
    assert "has 100 examples, and the first run has 400" in result.stderr
    other = make_run(runs / "other", lr=0.6)
    give_predictions(other, answers(1, 0.5), ids=[f"x{i}" for i in range(EXAMPLES)])
    assert "has no example test.tsv:1" in call(str(runs / "lstm-1"), str(other)).stderr
    swapped = make_run(runs / "swapped", lr=0.7)
    give_predictions(swapped, answers(1, 0.5), labels=("bad", "good"))
    assert "the target of test.tsv:1 is another one" in call(str(runs / "lstm-1"), str(swapped)).stderr


def test_units_are_what_the_expression_finds_in_the_ids(tmp_path: Path) -> None:
    ids = [f"clip_{number % 30}_{number}.wav" for number in range(EXAMPLES)]
    for name, lr in {"a": 0.1, "b": 0.2}.items():
        give_predictions(make_run(tmp_path / name, lr=lr), answers(int(lr * 10), 0.7), ids=ids)
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert "400 examples, 30 units" in call(*both, "--unit", "clip_([0-9]+)_").stdout
    for wrong, message in {"clip_": "with one group", "(": "regular expression", "dog(.)": "does not match"}.items():
        result = call(*both, "--unit", wrong)
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lstm-1"], "at least two"),
        (["lstm-1", "gru-1", "--score", "acuracy"], "did you mean 'accuracy'"),
        (["lstm-1", "gru-1", "--split", "dev"], "no scores on 'dev'"),
        (["lstm-1", "gru-1", "--task", "mod"], "did you mean 'mood'"),
        (["lstm-1", "empty"], "no run here"),
        (["lstm-1", "failed"], "is failed"),
    ],
)
def test_a_mistake_is_one_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(runs)
    (runs / "empty").mkdir()
    make_run(runs / "failed", state="failed", reason="no luck")
    result = call(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_damaged_predictions_are_named(runs: Path) -> None:
    path = kept_predictions.path_of(runs / "lstm-1", "mood", "test")
    path.write_bytes(path.read_bytes()[:-20])
    result = call(str(runs / "lstm-1"), str(runs / "gru-1"))
    assert result.exit_code == 1
    assert f"{path}: damaged" in result.stderr


def test_a_metric_that_sees_ids_is_asked_once_for_each_example_if_it_is_a_mean() -> None:
    """As forecasts are scored: beside what is known of the series that the id names."""
    from seqkit import metrics
    from seqkit.inference.kept_predictions import KeptPredictions
    from seqkit.reports.comparison import samples_of
    from seqkit.reports.resampling import Sums
    from seqkit.reports.run_facts import RunFacts
    from seqkit.reports.sides import Answers
    from seqkit.types import Prediction
    from tests.helpers import reviews

    calls: list[int] = []

    @metrics.sees_examples
    def scaled(predictions: Any, targets: Any, examples: Any) -> dict[str, float]:
        calls.append(len(targets))
        scale = {f"s{i}": i + 1.0 for i in range(30)}
        errors = [
            abs(prediction.value - target) / scale[id]
            for prediction, target, id in zip(predictions, targets, examples.ids, strict=True)
        ]
        return {"mase": sum(errors) / len(errors)}

    ids, targets = [f"s{i}" for i in range(30)], [float(i) for i in range(30)]
    predictions = [Prediction(target + 0.5) for target in targets]
    kept = KeptPredictions("t", "test", ids, np.ones(30, dtype=np.int64), [None] * 30, targets, predictions)
    recorded = sum(0.5 / (i + 1) for i in range(30)) / 30
    facts = RunFacts(Path("run"), "run", "finished", scores={"t/test/mase": recorded})
    answers = Answers("t", "test", ids, targets, kept.steps, [[kept]], [[facts]])
    vars(answers)["built_task"] = reviews.task(metric=scaled)
    (sample,) = samples_of(answers, "mase", "t/test/mase", np.arange(30), decides=True) or [None]
    assert isinstance(sample, Sums)
    assert sample.scores(np.ones((1, 30)))[0] == pytest.approx(recorded)
    assert calls == [1] * 30
