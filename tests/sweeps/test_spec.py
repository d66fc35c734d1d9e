"""sweep.yaml: every mistake has its place, and values are tried on the recipe before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkit.errors import RecipeError
from seqkit.sweeps.spec import Choices, Range, load_sweep

GOOD = """\
recipe: sentiment
trials: 12
set: {train.epochs: 2}
search:
  train.optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
  encoder.hidden: {low: 16, high: 64, step: 16}
  encoder.use: [lstm, gru]
pruner: none
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_a_sweep_is_read(tmp_path: Path) -> None:
    sweep = load_sweep(write(tmp_path, GOOD))
    assert (sweep.name, sweep.trials, sweep.sampler, sweep.pruner, sweep.seed) == ("s", 12, "tpe", "none", 1)
    assert sweep.search == {
        "train.optimizer.lr": Range(1e-4, 1e-2, log=True),
        "encoder.hidden": Range(16, 64, step=16),
        "encoder.use": Choices(("lstm", "gru")),
    }
    assert (sweep.key, sweep.lower) == ("sentiment/dev/accuracy", False)
    recipe = sweep.load_recipe({"train.optimizer.lr": "0.005", "encoder.hidden": "32", "encoder.use": "gru"})
    assert (recipe.encoder.use, recipe.encoder.options["hidden"], recipe.train.epochs) == ("gru", 32, 2)


def test_a_grid_has_every_combination_and_as_many_trials(tmp_path: Path) -> None:
    text = "recipe: sentiment\nsampler: grid\nsearch:\n  encoder.use: [lstm, gru]\n  train.batch: [8, 16, 32]\n"
    sweep = load_sweep(write(tmp_path, text))
    assert sweep.trials == 6
    assert sweep.grid[:2] == [
        {"encoder.use": "lstm", "train.batch": "8"},
        {"encoder.use": "lstm", "train.batch": "16"},
    ]


def test_values_may_be_whatever_a_recipe_may_hold(tmp_path: Path) -> None:
    text = "recipe: sentiment\ntrials: 2\nsearch:\n  tasks.sentiment.head: [{use: classify, pool: max}, classify]\n"
    sweep = load_sweep(write(tmp_path, text))
    (parameter,) = sweep.search.values()
    recipe = sweep.load_recipe({"tasks.sentiment.head": parameter.samples[0]})
    assert recipe.tasks["sentiment"].head.options["pool"] == "max"


def test_a_recipe_is_looked_for_beside_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("tasks: {mood: {use: sentiment, source: generated}}\nencoder: {use: gru}\n")
    monkeypatch.chdir("/")
    sweep = load_sweep(write(tmp_path, "recipe: mine.yaml\ntrials: 1\nsearch: {encoder.hidden: [8, 16]}\n"))
    assert sweep.key == "mood/dev/accuracy"


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("trials: 12", "trails: 12", "2:1", "did you mean 'trials'"),
        ("trials: 12", "trials: 0", "2:9", "whole number from 1"),
        ("trials: 12\n", "", "1:1", "trials is missing"),
        ("recipe: sentiment", "recipe: sentimen", "1:9", "did you mean 'sentiment'"),
        ("low: 1.0e-4", "low: 1.0", "5:23", "low (1.0) should be less than high (0.01)"),
        ("low: 1.0e-4", "low: 0", "5:23", "with log, low should be above 0"),
        ("low: 1.0e-4", "lo: 1.0e-4", "5:24", "did you mean 'low'"),
        ("step: 16", "step: 0.5", "6:19", "step should be a whole number"),
        (
            "{train.epochs: 2}",
            "{encoder.use: rnn}",
            "3:7",
            "encoder.use is searched, so this value would never be used",
        ),
        ("[lstm, gru]", "[lstm, lstm]", "7:16", "a value is listed twice"),
        ("[lstm, gru]", "lstm", "7:16", "expected a list of values or a range"),
        ("[lstm, gru]", "[lstm, gruu]", "7:16", "did you mean 'gru'"),
        ("encoder.hidden", "encoder.hiden", "6:18", "did you mean 'hidden'"),
        ("low: 16", "low: 0", "6:19", "encoder.hidden=0"),
        ("{train.epochs: 2}", "{train.epochs: x}", "3:21", "train.epochs=x"),
        ("pruner: none", "pruner: nome", "8:9", "did you mean 'none'"),
        ("pruner: none", "sampler: grid", "8:10", "a grid needs a list"),
        ("search:", "search: 3\nx:", "4:9", "expected options"),
        ("pruner: none", "pruner: [", "", "not valid YAML"),
    ],
)
def test_a_mistake_has_its_place(tmp_path: Path, old: str, new: str, where: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        load_sweep(write(tmp_path, GOOD.replace(old, new, 1)))
    problems = [str(problem) for problem in caught.value.problems]
    assert any(message in problem for problem in problems), problems
    if where:
        assert any(f"s.yaml:{where}: " in problem and message in problem for problem in problems), problems


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("trials: 12", "trials: none").replace("[lstm, gru]", "[]").replace("pruner: none", "seed: -1")
    with pytest.raises(RecipeError) as caught:
        load_sweep(write(tmp_path, text))
    assert len(caught.value.problems) == 3
