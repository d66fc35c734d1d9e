"""`seqkit reproduce`: the mean over seeds is judged, and what has finished is not trained again."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

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


def test_the_mean_over_seeds_is_judged(folder: Path) -> None:
    done = call(folder, 3.2, "--out", "runs-of-it", "--json", "found.json")
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "found.json").read_text())
    values = [each["lm/test/nats"] for each in found["scores"]]
    assert found["seeds"] == [5, 6, 7]
    assert len(set(values)) == 3
    assert f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} over 3 seeds" in done.stdout
    assert done.stdout.startswith("PASS")
    assert found["parameters"] > 0
    assert len(found["minutes"]) == 3

    again = call(folder, 3.2, "--out", "runs-of-it", "--json", "again.json")
    assert json.loads((folder / "again.json").read_text()) == found, "finished runs are read, not trained"
    assert again.exit_code == 0


def test_a_promise_that_is_not_kept_fails(folder: Path) -> None:
    done = call(folder, 0.5, "--seeds", "1", "--quiet")
    assert done.exit_code == 1
    assert done.stdout.startswith("FAIL  lm/test/nats")
    assert "expected at most 0.5" in done.stdout


def test_a_recipe_without_a_promise_is_refused(folder: Path) -> None:
    path = folder / "none.yaml"
    path.write_text("\n".join(RECIPE.format(folder=folder, most=1).splitlines()[:-1]))
    done = CliRunner().invoke(main, ["reproduce", str(path)])
    assert done.exit_code == 2
    assert "expect" in done.stderr


def test_a_score_that_does_not_exist_is_told(folder: Path) -> None:
    path = folder / "odd.yaml"
    path.write_text(RECIPE.format(folder=folder, most=1).replace("lm/test/nats", "lm/test/accuracy"))
    done = CliRunner().invoke(main, ["run", str(path), "--quiet"])
    assert done.exit_code == 1
    assert "there is no score 'lm/test/accuracy'" in done.stderr


def test_the_mean_over_values_of_an_option_is_judged(folder: Path) -> None:
    done = call(
        folder, 3.2, "--over", "tasks.lm.piece=80..82", "--seeds", "1", "--out", "folds", "--json", "found.json"
    )
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "found.json").read_text())
    values = [each["lm/test/nats"] for each in found["scores"]]
    assert found["settings"] == ["tasks.lm.piece=80", "tasks.lm.piece=81", "tasks.lm.piece=82"]
    assert found["seeds"] == [5, 5, 5]
    assert len(set(values)) == 3
    assert f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f} over 3 runs" in done.stdout
    for piece in (80, 81, 82):
        resolved = (folder / "folds" / f"piece-{piece}-seed-5" / "resolved.yaml").read_text()
        assert f"piece: {piece}" in resolved


def test_over_goes_with_several_seeds(folder: Path) -> None:
    done = call(folder, 3.2, "--over", "tasks.lm.piece=80,90", "--seeds", "2", "--out", "both", "--quiet")
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (folder / "both").iterdir())
    assert names == ["piece-80-seed-5", "piece-80-seed-6", "piece-90-seed-5", "piece-90-seed-6"]
    assert "over 4 runs" in done.stdout


@pytest.mark.parametrize("over", ["piece", "=1..2", "tasks.lm.piece=", "tasks.lm.piece=3..1"])
def test_over_that_says_nothing_is_refused(folder: Path, over: str) -> None:
    done = call(folder, 3.2, "--over", over)
    assert done.exit_code == 2
    assert "expected NAME=FIRST..LAST" in done.stderr


def test_a_value_that_the_recipe_cannot_have_is_told_before_anything_is_trained(folder: Path) -> None:
    done = call(folder, 3.2, "--over", "tasks.lm.piece=80,many", "--out", "never")
    assert done.exit_code == 2
    assert "tasks.lm.piece=many" in done.stderr
    assert not (folder / "never").exists()


JOINT = """
tasks:
  lm: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 100}}
  other: {{use: charlm, file: {folder}/text.txt, window: 16, piece: 50}}
encoder: {{use: gru, dim: 8, hidden: 16}}
train: {{epochs: 1, batch: 8, histograms: false, optimizer: {{use: adamw, lr: 0.02}}}}
expect: {{lm/test/nats: {{at_most: 9.0}}}}
"""


def test_what_a_task_has_from_the_company_is_told_seed_by_seed(folder: Path) -> None:
    path = folder / "joint.yaml"
    path.write_text(JOINT.format(folder=folder))
    words = ["reproduce", str(path), "--alone", "--seeds", "2", "--out", "runs-of-it", "--json", "found.json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "found.json").read_text())
    assert [gain["score"] for gain in found["gains"]] == ["lm/test/nats", "other/test/nats"]
    for gain in found["gains"]:
        assert gain["together"] == [scores[gain["score"]] for scores in found["scores"]]
        task = gain["score"].partition("/")[0]
        for seed, value in zip((1, 2), gain["alone"], strict=True):
            run = folder / "runs-of-it" / f"alone-{task}" / f"seed-{seed}"
            assert json.loads((run / "metrics.json").read_text())[gain["score"]] == value
        assert gain["alone"] != gain["together"]
    first = found["gains"][0]
    differences = [both - one for one, both in zip(first["alone"], first["together"], strict=True)]
    assert f"difference {statistics.fmean(differences):+.4f} ± {statistics.stdev(differences):.4f}" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--alone"], "has one task"),
        (["--alone", "--over", "tasks.lm.piece=80,90"], "has one task"),
    ],
)
def test_a_recipe_of_one_task_has_no_company(folder: Path, words: list[str], told: str) -> None:
    done = call(folder, 3.2, *words)
    assert done.exit_code == 2
    assert told in done.stderr


def test_equal_numbers_of_updates_are_compared(folder: Path) -> None:
    path = folder / "joint.yaml"
    path.write_text(JOINT.format(folder=folder).replace("epochs: 1", "steps: 10"))
    done = CliRunner().invoke(main, ["reproduce", str(path), "--alone"])
    assert done.exit_code == 2
    assert "train.epochs instead of train.steps" in done.stderr
