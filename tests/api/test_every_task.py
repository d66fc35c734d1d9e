"""For every task: predictions are those of the command line and of the run, and depend on no batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import seqkit
from seqkit.cli import main
from tests.api.conftest import RECIPES
from tests.api.samples import INPUTS

TASKS = [(name, task) for name in RECIPES for task in INPUTS if name == task]
TASKS += [("joint", "sentiment"), ("joint-ner", "ner-text")]
Trained = Callable[[str], Path]


def assert_close(one: Any, other: Any) -> None:
    """Equal but for the rounding of numbers."""
    if isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_close(a, b)
    elif isinstance(one, dict):
        assert set(one) == set(other)
        for key in one:
            assert_close(one[key], other[key])
    else:
        assert one == other


@pytest.mark.parametrize(("recipe", "task"), TASKS)
def test_predictions_do_not_depend_on_the_batch(trained: Trained, recipe: str, task: str) -> None:
    model, inputs = seqkit.load(trained(recipe)), INPUTS[task]
    expected = [next(model.predict([value], task=task)) for value in inputs]
    for batch in (1, 2, 64):
        for given in (inputs, iter(inputs)):
            results = list(model.predict(given, task=task, batch=batch))
            for result, alone in zip(results, expected, strict=True):
                for name in ("input", "value", "confidence", "scores", "error"):
                    assert_close(getattr(result, name), getattr(alone, name))


@pytest.mark.parametrize(("recipe", "task"), [pair for pair in TASKS if pair[1] != "speech"])
def test_predictions_are_those_of_the_command_line(trained: Trained, recipe: str, task: str) -> None:
    texts = [text for text in INPUTS[task] if isinstance(text, str)]
    flags = [part for text in texts for part in ("--text", text)]
    printed = CliRunner().invoke(main, ["predict", str(trained(recipe)), *flags, "--task", task])
    assert printed.exit_code == 0, printed.output
    model = seqkit.load(trained(recipe))
    for line, result in zip(printed.stdout.splitlines(), model.predict(texts, task=task), strict=True):
        record = json.loads(line)
        assert_close(record["prediction"], result.value)
        assert_close(record["confidence"], result.confidence)
        assert_close(record.get("scores"), json.loads(json.dumps(result.scores)))


@pytest.mark.parametrize(("recipe", "task"), TASKS)
def test_features_have_the_lengths_of_their_inputs_and_no_trace_of_padding(
    trained: Trained, recipe: str, task: str
) -> None:
    model, inputs = seqkit.load(trained(recipe)), INPUTS[task]
    together = list(model.encode(inputs, task=task))
    alone = [next(model.encode([value], task=task, batch=1)) for value in inputs]
    assert len({len(steps) for steps in together}) > 1 or task == "names"
    for steps, expected in zip(together, alone, strict=True):
        assert steps.dtype == np.float32
        assert steps.shape == expected.shape
        np.testing.assert_allclose(steps, expected, rtol=1e-4, atol=1e-6)
    pooled = {"mean": lambda steps: steps.mean(axis=0), "max": lambda steps: steps.max(axis=0)}
    for pool, function in pooled.items():
        for row, steps in zip(model.encode(inputs, task=task, pool=pool), alone, strict=True):  # type: ignore[arg-type]
            np.testing.assert_allclose(row, function(steps), rtol=1e-4, atol=1e-5)
    for row, steps in zip(model.encode(inputs, task=task, pool="last"), alone, strict=True):
        half = steps.shape[1] // 2 if model.recipe["encoder"].get("bidirectional") else steps.shape[1]
        np.testing.assert_allclose(row[:half], steps[-1, :half], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(row[half:], steps[0, half:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("recipe", "task"), [pair for pair in TASKS if pair[1] != "ner-text"])
def test_a_split_has_the_scores_of_the_run(trained: Trained, recipe: str, task: str) -> None:
    model = seqkit.load(trained(recipe))
    scores = {f"{task}/test/{name}": value for name, value in model.evaluate(task=task).items()}
    assert scores == {name: value for name, value in model.scores.items() if name.startswith(f"{task}/test/")}


def test_what_a_model_says_of_itself(trained: Trained) -> None:
    model = seqkit.load(trained("joint"))
    assert model.tasks == ("charlm", "sentiment")
    assert model.recipe["encoder"]["hidden"] == 32
    assert seqkit.check(model.recipe) == []
    with pytest.raises(seqkit.UsageError, match="several tasks; choose one with task=: charlm, sentiment"):
        model.predict(["x"])
    with pytest.raises(seqkit.UsageError, match="no task 'sentimen'; did you mean 'sentiment'"):
        model.evaluate(task="sentimen")
    assert repr(model) == f"Model({str(trained('joint'))!r}): charlm, sentiment"


PAIRS: dict[str, list[Any]] = {
    "sentiment": [("a good film", "positive"), (["dull"], "negative"), {"text": "warm", "label": "positive"}],
    "ner": [("Anna met Steel Group .", ["B-person", "O", "B-company", "I-company", "O"]), (["Monday"], ["B-date"])],
    "translation": [("3 hours", "3:00"), ("noon", "12:00")],
    "genome": [("ACGTTGCA" * 6, "EI"), ("G" * 70, "N")],
    "speech": [(np.zeros(900), "yes"), (np.zeros(100), "no")],
    "names": [("Arvese", "Anna")],
    "charlm": ["to be or not", "that"],
}


@pytest.mark.parametrize("task", PAIRS)
def test_examples_of_a_program_are_scored(trained: Trained, task: str) -> None:
    model = seqkit.load(trained(task))
    scores = model.evaluate(PAIRS[task])
    assert set(scores) >= {name.rpartition("/")[2] for name in model.scores if "/test/" in name and "." not in name}
    assert model.evaluate(iter(PAIRS[task]), batch=1) == pytest.approx(scores, rel=1e-4)


def test_pairs_are_scored_as_the_file_of_them(trained: Trained, tmp_path: Path) -> None:
    pairs = [("a good film", "positive"), ("dull", "positive"), ("warm and funny", "negative")]
    (tmp_path / "new.tsv").write_text("".join(f"{text}\t{label}\n" for text, label in pairs))
    rows = [{"text": text, "label": label} for text, label in pairs]
    model = seqkit.load(trained("sentiment"))
    expected = model.evaluate(tmp_path / "new.tsv")
    assert model.evaluate(pairs) == model.evaluate(rows) == expected


@pytest.mark.parametrize(
    ("task", "examples", "message"),
    [
        ("sentiment", ["good"], r"examples\[0\]: is not a pair of an input and a target"),
        ("sentiment", [("good", "positive"), ("", "positive")], r"examples\[1\]: input is empty"),
        ("sentiment", [("good", "splendid")], "splendid"),
        ("sentiment", [{"text": "good"}], r"examples\[0\]: .*label"),
        ("ner", [("Anna", ["B-nothing"])], "label 'nothing' was not seen"),
        ("ner", [("Anna Bell", ["O", "I-person"])], "breaks the scheme at step 2"),
        ("ner", [("Anna", "B-person")], r"examples\[0\]: its target should be a list of tags"),
    ],
)
def test_examples_that_cannot_be_used_are_named(trained: Trained, task: str, examples: list[Any], message: str) -> None:
    with pytest.raises(seqkit.DataError, match=message):
        seqkit.load(trained(task)).evaluate(examples)


@pytest.mark.parametrize("task", ["charlm", "names"])
def test_generated_texts_are_those_of_the_command_line(trained: Trained, task: str) -> None:
    prompt = INPUTS[task][0]
    flags = ["--prompt", prompt, "--count", "3", "--length", "12", "--seed", "5"]
    printed = CliRunner().invoke(main, ["generate", str(trained(task)), *flags])
    assert printed.exit_code == 0, printed.output
    texts = seqkit.load(trained(task)).generate(prompt, count=3, length=12, seed=5)
    assert "".join(f"{text}\n" for text in texts) == printed.output


@pytest.mark.parametrize(
    "options",
    [{"count": 0}, {"length": True}, {"temperature": -1.0}, {"top_k": 0}, {"top_p": 1.5}, {"seed": 0.5}],
    ids=str,
)
def test_options_of_generation_are_checked(trained: Trained, options: dict[str, Any]) -> None:
    with pytest.raises(seqkit.UsageError, match=f"^{next(iter(options))}: should be"):
        seqkit.load(trained("charlm")).generate("to", **options)
