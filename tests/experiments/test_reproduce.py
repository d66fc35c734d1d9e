"""`seqkit reproduce`: the mean over seeds is compared with what is expected; finished runs are not trained again."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit import fault_injection
from seqkit.cli import main

RECIPE = """
seed: 5
tasks: {{lm: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 100}}}}
encoder: {{use: gru, dim: 8, hidden: 16}}
train: {{steps: 30, batch: 8, histograms: false, optimizer: {{use: adamw, lr: 0.02}}}}
expect: {{lm/test/nats: {{at_most: {most}, seeds: 3, minutes: 1}}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("she sells sea shells on the sea shore. " * 40)
    return tmp_path


def call(folder: Path, most: float, *words: str) -> Result:
    path = folder / "promise.yaml"
    path.write_text(RECIPE.format(folder=folder, most=most))
    return CliRunner().invoke(main, ["reproduce", str(path), *words])


def test_the_mean_over_seeds_decides(folder: Path) -> None:
    result = call(folder, 3.2, "--out", "runs-of-it", "--json", "found.json")
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "found.json").read_text())
    values = [scores["lm/test/nats"] for scores in report["scores"]]
    assert report["seeds"] == [5, 6, 7]
    assert len(set(values)) == 3
    assert f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} over 3 seeds" in result.stdout
    assert result.stdout.startswith("PASS")
    assert report["parameters"] > 0
    assert len(report["minutes"]) == 3

    again = call(folder, 3.2, "--out", "runs-of-it", "--json", "again.json")
    assert json.loads((folder / "again.json").read_text()) == report, "finished runs are read, not trained"
    assert again.exit_code == 0


def test_a_run_that_was_interrupted_goes_on(folder: Path) -> None:
    expected = call(folder, 3.2, "--seeds", "1", "--out", "once", "--json", "once.json")
    assert expected.exit_code == 0, expected.output
    fault_injection.arm("step:raise:13")
    interrupted = call(folder, 3.2, "--seeds", "1", "--out", "twice")
    assert interrupted.exit_code != 0
    fault_injection.arm(None)
    result = call(folder, 3.2, "--seeds", "1", "--out", "twice", "--json", "twice.json")
    assert result.exit_code == 0, result.output
    assert "seed-5: goes on, it was failed" in result.stderr
    once, twice = (json.loads((folder / f"{name}.json").read_text()) for name in ("once", "twice"))
    assert twice["scores"] == once["scores"]
    assert twice["minutes"][0] > 0
    assert twice["cpu_minutes"][0] > 0


def test_a_folder_with_another_recipe_is_left_alone(folder: Path) -> None:
    call(folder, 3.2, "--seeds", "1", "--out", "runs-of-it", "--set", "train.steps=3")
    status = (folder / "runs-of-it/seed-5/status.json").read_bytes()
    result = call(folder, 3.2, "--seeds", "1", "--out", "runs-of-it")
    assert result.exit_code == 2
    assert "seed-5" in result.stderr
    assert (folder / "runs-of-it/seed-5/status.json").read_bytes() == status


def test_an_expectation_that_is_not_met_fails(folder: Path) -> None:
    result = call(folder, 0.5, "--seeds", "1", "--quiet")
    assert result.exit_code == 1
    assert result.stdout.startswith("FAIL  lm/test/nats")
    assert "expected at most 0.5" in result.stdout


def test_a_recipe_that_expects_nothing_is_refused(folder: Path) -> None:
    path = folder / "none.yaml"
    path.write_text("\n".join(RECIPE.format(folder=folder, most=1).splitlines()[:-1]))
    result = CliRunner().invoke(main, ["reproduce", str(path)])
    assert result.exit_code == 2
    assert "expect" in result.stderr


def test_an_expected_score_that_does_not_exist_is_reported(folder: Path) -> None:
    path = folder / "odd.yaml"
    path.write_text(RECIPE.format(folder=folder, most=1).replace("lm/test/nats", "lm/test/accuracy"))
    result = CliRunner().invoke(main, ["run", str(path), "--quiet"])
    assert result.exit_code == 2
    assert "task 'lm' has no score 'accuracy'; its scores: nats" in result.stderr


def test_the_mean_over_values_of_an_option_decides(folder: Path) -> None:
    result = call(
        folder, 3.2, "--over", "tasks.lm.piece=80..82", "--seeds", "1", "--out", "folds", "--json", "found.json"
    )
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "found.json").read_text())
    values = [scores["lm/test/nats"] for scores in report["scores"]]
    assert report["settings"] == ["tasks.lm.piece=80", "tasks.lm.piece=81", "tasks.lm.piece=82"]
    assert report["seeds"] == [5, 5, 5]
    assert len(set(values)) == 3
    assert f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} over 3 runs" in result.stdout
    for piece in (80, 81, 82):
        resolved = (folder / "folds" / f"piece-{piece}-seed-5" / "resolved.yaml").read_text()
        assert f"piece: {piece}" in resolved


def test_over_goes_with_several_seeds(folder: Path) -> None:
    result = call(folder, 3.2, "--over", "tasks.lm.piece=80,90", "--seeds", "2", "--out", "both", "--quiet")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (folder / "both").iterdir())
    assert names == ["piece-80-seed-5", "piece-80-seed-6", "piece-90-seed-5", "piece-90-seed-6"]
    assert "over 4 runs" in result.stdout


@pytest.mark.parametrize("over", ["piece", "=1..2", "tasks.lm.piece=", "tasks.lm.piece=3..1"])
def test_over_without_values_is_refused(folder: Path, over: str) -> None:
    result = call(folder, 3.2, "--over", over)
    assert result.exit_code == 2
    assert "expected NAME=FIRST..LAST" in result.stderr


def test_an_invalid_value_is_reported_before_anything_is_trained(folder: Path) -> None:
    result = call(folder, 3.2, "--over", "tasks.lm.piece=80,many", "--out", "never")
    assert result.exit_code == 2
    assert "tasks.lm.piece=many" in result.stderr
    assert not (folder / "never").exists()


JOINT = """
tasks:
  lm: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 100}}
  other: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 50}}
encoder: {{use: gru, dim: 8, hidden: 16}}
train: {{epochs: 1, batch: 8, histograms: false, optimizer: {{use: adamw, lr: 0.02}}}}
expect: {{lm/test/nats: {{at_most: 9.0}}}}
"""


def test_what_a_task_gains_from_the_others_is_shown_seed_by_seed(folder: Path) -> None:
    path = folder / "joint.yaml"
    path.write_text(JOINT.format(folder=folder))
    words = ["reproduce", str(path), "--alone", "--seeds", "2", "--out", "runs-of-it", "--json", "found.json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "found.json").read_text())
    assert [gain["score"] for gain in report["gains"]] == ["lm/test/nats", "other/test/nats"]
    for gain in report["gains"]:
        assert gain["together"] == [scores[gain["score"]] for scores in report["scores"]]
        task = gain["score"].partition("/")[0]
        for seed, value in zip((1, 2), gain["alone"], strict=True):
            run = folder / "runs-of-it" / f"alone-{task}" / f"seed-{seed}"
            assert json.loads((run / "metrics.json").read_text())[gain["score"]] == value
        assert gain["alone"] != gain["together"]
    first = report["gains"][0]
    differences = [together - alone for alone, together in zip(first["alone"], first["together"], strict=True)]
    assert f"difference {statistics.fmean(differences):+.4f} ± {statistics.stdev(differences):.4f}" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alone"], "has one task"),
        (["--alone", "--over", "tasks.lm.piece=80,90"], "has one task"),
    ],
)
def test_a_recipe_of_one_task_has_nothing_to_compare(folder: Path, words: list[str], message: str) -> None:
    result = call(folder, 3.2, *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_equal_numbers_of_updates_are_compared(folder: Path) -> None:
    path = folder / "joint.yaml"
    path.write_text(JOINT.format(folder=folder).replace("epochs: 1", "steps: 10"))
    result = CliRunner().invoke(main, ["reproduce", str(path), "--alone"])
    assert result.exit_code == 2
    assert "train.epochs instead of train.steps" in result.stderr


def test_an_ensemble_of_all_seeds_is_scored(folder: Path) -> None:
    result = call(folder, 3.2, "--ensemble", "--out", "runs-of-it", "--json", "found.json")
    assert result.exit_code == 0, result.output
    report = json.loads((folder / "found.json").read_text())
    models = [str(folder / f"runs-of-it/seed-{seed}") for seed in (5, 6, 7)]
    assert CliRunner().invoke(main, ["ensemble", *models, "--out", "all"]).exit_code == 0
    for split in ("dev", "test"):
        scored = CliRunner().invoke(main, ["evaluate", "all", "--split", split, "--json"])
        expected = json.loads(scored.stdout)[f"lm/{split}/nats"]
        assert report["ensemble"][f"lm/{split}/nats"] == pytest.approx(expected, rel=1e-6)
    assert report["ensemble"]["lm/test/nats"] not in [scores["lm/test/nats"] for scores in report["scores"]]
    assert f"lm/test/nats  {report['ensemble']['lm/test/nats']:.4f}  the 3 models as one" in result.stdout


def test_an_ensemble_needs_several_models_of_the_same_data(folder: Path) -> None:
    result = call(folder, 3.2, "--ensemble", "--seeds", "1", "--out", "runs-of-it")
    assert result.exit_code == 2
    assert "say --seeds 2 or more" in result.stderr
    result = call(folder, 3.2, "--ensemble", "--over", "tasks.lm.window=8,16", "--out", "runs-of-it")
    assert result.exit_code == 2
    assert "--ensemble and --over do not go together" in result.stderr
    assert not (folder / "runs-of-it").exists()
