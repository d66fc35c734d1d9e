"""What a recipe expects of its scores: told before training where it can be known, and after the scores are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main

RECIPE = """
tasks: {{tags: {{use: ner, sizes: [30, 10, 10], characters: none}}}}
encoder: {{use: gru, dim: 8, hidden: 8}}
train: {{steps: 2, batch: 4, histograms: false}}
expect: {{{expect}}}
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def call(expect: str, *words: str) -> Result:
    Path("recipe.yaml").write_text(RECIPE.format(expect=expect))
    return CliRunner().invoke(main, [*words])


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ("tags/test/span_F1: {at_least: 0.5}", "task 'tags' has no score 'span_F1'; did you mean 'span_f1'"),
        (
            "tags/test/bleu: {at_least: 0.5}",
            "its scores: loss, span_f1, span_precision, span_recall, span_f1.*, accuracy",
        ),
        ("tags/dev/nats: {at_most: 2}", "task 'tags' has no score 'nats'"),
        ("tasg/test/span_f1: {at_least: 1}", "the recipe has no task 'tasg'; did you mean 'tags'?"),
        ("tags/tets/span_f1: {at_least: 1}", "no split is called 'tets'; did you mean 'test'?"),
    ],
)
def test_a_score_that_cannot_exist_is_told_before_training(expect: str, words: str) -> None:
    result = call(expect, "recipes", "check", "recipe.yaml")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.startswith("recipe.yaml:5:"), result.stderr
    assert call(expect, "run", "recipe.yaml", "--out", "run").exit_code == 2
    assert not Path("run").exists()


def test_a_split_that_the_task_lacks_is_told_before_training(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("fine\tgood\ncold\tbad\n")
    Path("mood.yaml").write_text(
        "tasks: {mood: {use: sentiment, folder: ., test: null}}\nencoder: {use: gru}\n"
        "expect: {mood/test/accuracy: {at_least: 0.5}}\n"
    )
    result = CliRunner().invoke(main, ["recipes", "check", "mood.yaml"])
    assert result.exit_code == 2
    assert "task 'mood' has no split 'test'; its splits: train, dev" in result.stderr


@pytest.mark.parametrize(("flags", "code"), [((), 0), (("--strict",), 1)])
def test_a_promise_that_is_not_met_is_an_error_under_strict(flags: tuple[str, ...], code: int) -> None:
    result = call("tags/test/span_f1: {at_least: 1.1}", "run", "recipe.yaml", "--out", "run", "--quiet", *flags)
    assert result.exit_code == code, result.output
    assert "expected at least 1.1: NOT MET" in result.stdout
    assert ("tags/test/span_f1 is 0." in result.stderr) == bool(flags)
    assert "tags/test/span_f1" in json.loads(Path("run/metrics.json").read_text())
    assert json.loads(Path("run/status.json").read_text())["state"] == "finished"
    again = call("", "run", "--resume", "run", "--quiet", *flags)
    assert again.exit_code == code, "a finished run is judged likewise"


def test_a_promise_that_is_met_is_none() -> None:
    result = call("tags/test/span_f1: {at_least: 0}", "run", "recipe.yaml", "--out", "run", "--quiet", "--strict")
    assert result.exit_code == 0, result.output
    assert "expected at least 0: met" in result.stdout


@pytest.mark.parametrize("verb", [("run", "--out", "run"), ("reproduce", "--seeds", "1", "--out", "runs")])
def test_what_only_the_data_can_tell_is_told_after_the_scores(verb: tuple[str, ...]) -> None:
    name, *flags = verb
    result = call("tags/test/span_f1.MOON: {at_least: 0.5}", name, "recipe.yaml", "--quiet", *flags)
    assert result.exit_code == 2
    assert "expect.tags/test/span_f1.MOON: there is no such score; " in result.stderr
    folder = Path("run") if name == "run" else Path("runs/seed-1")
    assert "tags/test/span_f1" in json.loads((folder / "metrics.json").read_text())
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    if name == "run":
        assert "tags/test/span_f1" in result.stdout
