"""Labels of dev and test that training does not have: refused, or counted as wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from seqkit.cli import main
from seqkit.fields import Label, Labels
from seqkit.fields.labels import UNSEEN
from seqkit.heads import classify
from seqkit.types import Field


@pytest.mark.parametrize(
    ("side", "values", "unseen", "encoded"),
    [
        (Label(allow_unseen=True), ["b", "a", "b"], "c", 2),
        (Labels(allow_unseen=True), [["b"], ["a", "b"]], ["b", "c", "d"], [0, 1, 1]),
        (Labels(allow_unseen=True), [["b"], ["a", "b"]], ["c"], [0, 0, 1]),
    ],
)
def test_an_unseen_label_has_a_number_of_its_own(side: Field, values: Any, unseen: Any, encoded: Any) -> None:
    fitted: Any = side.fit(values)
    assert fitted.labels == ["a", "b", UNSEEN]
    assert fitted.encode(unseen).tolist() == encoded
    assert fitted.restore(fitted.state()) == fitted
    assert fitted.count_classes([fitted.encode(unseen)])[UNSEEN] == 1
    strict = type(side)().fit(values)
    with pytest.raises(ValueError, match="was not seen in training"):
        strict.encode(unseen)


def test_a_label_of_that_name_is_refused() -> None:
    with pytest.raises(ValueError, match="stands for labels that are not in the training data"):
        Label(allow_unseen=True).fit(["a", UNSEEN])


def test_a_label_that_is_given_twice_is_still_refused() -> None:
    with pytest.raises(ValueError, match="'c' is given twice"):
        Labels(allow_unseen=True).fit([["a"]]).encode(["c", "a", "c"])


@pytest.mark.parametrize("side", [Label(allow_unseen=True).fit("ab"), Labels(allow_unseen=True).fit([["a", "b"]])])
def test_it_is_never_predicted(side: Any) -> None:
    head: Any = classify(4, side, torch.nn.Identity())
    for probabilities in ([0.02, 0.03, 0.95], [0.0, 0.0, 1.0]):
        prediction = head._prediction(probabilities)
        assert UNSEEN not in prediction.value
        assert prediction.scores[UNSEEN] > 0.9


def test_balanced_weights_are_those_of_the_labels_that_occur() -> None:
    from seqkit.heads.classification import balanced_weights

    values = ["a", "b", "b", "b"]
    with_unseen = balanced_weights(Label(allow_unseen=True).fit(values), 0.5)
    np.testing.assert_allclose(with_unseen[:2], balanced_weights(Label().fit(values), 0.5))


RECIPE = """
tasks: {{t: {{use: {use}, folder: {folder}, unseen_labels: {policy}{more}}}}}
encoder: {{use: gru, dim: 8, hidden: 8}}
train: {{epochs: 8, batch: 8, optimizer: {{use: adamw, lr: 0.05}}}}
"""
TASKS: dict[str, tuple[str, dict[str, str], str, float]] = {
    "sentiment": (
        "",
        {"train": "good x\tg\nbad x\tb\n" * 20, "dev": "good x\tg\nbad x\tb\n", "test": "good x\tg\nbad x\tnew\n"},
        "tsv",
        0.5,
    ),
    "ner": (
        ", scheme: none, characters: none",
        {
            "train": "Ann NAME\nsaw VERB\n\n" * 20,
            "dev": "Ann NAME\nsaw VERB\n",
            "test": "Ann NAME\nsaw NEW\n\nAnn NAME\nsaw VERB\n",
        },
        "conll",
        0.75,
    ),
}


@pytest.mark.parametrize("use", TASKS)
def test_refused_with_a_hint_or_counted_as_wrong(use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    more, files, suffix, accuracy = TASKS[use]
    for split, text in files.items():
        (tmp_path / f"{split}.{suffix}").write_text(text, encoding="utf-8")
    path = tmp_path / "t.yaml"
    path.write_text(RECIPE.format(use=use, folder=tmp_path, policy="error", more=more), encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", str(path), "--quiet", "--out", str(tmp_path / "a")])
    assert refused.exit_code == 2
    assert "was not seen in training" in refused.stderr
    assert "set tasks.t.unseen_labels: count" in refused.stderr
    path.write_text(RECIPE.format(use=use, folder=tmp_path, policy="count", more=more), encoding="utf-8")
    done = CliRunner().invoke(main, ["run", str(path), "--quiet", "--json", "--out", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert scores["t/dev/accuracy"] == 1.0
    assert scores["t/test/accuracy"] == pytest.approx(accuracy)
    stored = json.loads((tmp_path / "b" / "data.json").read_text())["t"]["splits"]
    assert stored["test"]["classes"][UNSEEN] == 1
