"""The model card: front matter that hubs read, and nothing in it that a class or a data set could break out with."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

import seqkit
from seqkit.experiments.model_card import plain
from seqkit.io import atomic
from tests.reports.conftest import HOSTILE


def front_and_body(run: Path) -> tuple[dict[str, object], str]:
    _, front, body = (run / "model" / "README.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_front_matter_has_what_a_model_index_needs(trained: Path) -> None:
    """YAML 1.1, as hubs read it, gives the scores of the run."""
    front, _ = front_and_body(trained)
    assert front["library_name"] == "seqkit"
    assert front["pipeline_tag"] == "text-classification"
    assert front["tags"] == ["seqkit", "recurrent", "gru", "sentiment"]
    index = json.loads(json.dumps(front["model-index"]))
    assert [entry["name"] for entry in index] == ["hostile"]
    scores = atomic.read_json(trained / "metrics.json")
    in_card = {
        f"{result['task']['name']}/{result['dataset']['split']}/{metric['type']}": metric["value"]
        for result in index[0]["results"]
        for metric in result["metrics"]
    }
    assert in_card.keys() == scores.keys()
    assert all(abs(in_card[key] - scores[key]) < 1e-6 for key in scores)
    assert {result["task"]["type"] for result in index[0]["results"]} == {"text-classification"}


def test_the_body_has_scores_promises_and_data(trained: Path) -> None:
    _, body = front_and_body(trained)
    assert "| mood | test | accuracy |" in body
    assert "at least 0.999: NOT MET" in body
    assert "at most 1: met" in body
    assert "- train: 120 examples" in body


def test_names_of_classes_are_text(trained: Path) -> None:
    _, body = front_and_body(trained)
    assert "<script>" not in body
    assert "<img" not in body
    assert "&lt;script&gt;" in body
    assert plain(HOSTILE[1]).count("\\|") == 1
    assert plain("a\n# b | c") == "a \\# b \\| c"


def test_a_card_may_be_edited_and_may_be_missing(trained: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained / "model", tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("mine")
    assert seqkit.load(tmp_path / "model").tasks == ("mood",)
    (tmp_path / "model" / "README.md").unlink()
    assert seqkit.load(tmp_path / "model").tasks == ("mood",)


def test_no_path_of_this_machine_is_in_the_card(trained: Path) -> None:
    front, body = front_and_body(trained)
    assert str(trained.parent) not in body + json.dumps(front)
