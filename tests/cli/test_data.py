"""`seqkit data`, and what `seqkit run` tells of the data before it trains: in its folder, on stderr, by exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main

RECIPE = """
tasks: {{mood: {{use: sentiment, folder: {folder}{more}}}}}
encoder: {{use: gru, dim: 8, hidden: 8}}
train: {{epochs: 1, batch: 16, optimizer: {{use: adamw, lr: {lr}}}}}
"""
LABELS = ("good", "bad")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def rows(count: int, labels: tuple[str, ...] = LABELS) -> str:
    """Texts whose label follows from their first word."""
    return "".join(f"w{n % len(labels)} text {n}\t{labels[n % len(labels)]}\n" for n in range(count))


def recipe(folder: Path, train: str, dev: str = "", test: str = "", more: str = "", lr: float = 0.02) -> Path:
    for name, text in (("train", train), ("dev", dev or rows(10)), ("test", test or rows(10))):
        (folder / f"{name}.tsv").write_text(text, encoding="utf-8")
    path = folder / "mood.yaml"
    path.write_text(RECIPE.format(folder=folder, more=more, lr=lr), encoding="utf-8")
    return path


def test_it_tells_and_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = recipe(tmp_path, rows(40) + "\n\nw0 more\tgood\n", more=", skip_blank: true")
    done = call("data", path)
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[:3] == ["mood train dev test", "files train.tsv dev.tsv test.tsv", "examples 41 10 10"]
    assert "good 21 5 5" in lines
    assert "left out (train): 2 x blank line, the first at train.tsv:41" in lines
    assert "columns of train.tsv: input 1, target 2" in lines
    assert not (tmp_path / "runs").exists()


def test_json_has_all_of_it(tmp_path: Path) -> None:
    path = recipe(tmp_path, rows(40).replace("\n", "\textra\n"), more=", skip_blank: true")
    done = call("data", path, "--json", "--examples", 2)
    facts = json.loads(done.stdout)["mood"]
    train = facts["splits"]["train"]
    assert train["classes"] == {"bad": 20, "good": 20}
    assert train["reading"]["tables"]["train.tsv"]["unused"] == [3]
    assert (train["shortest"], train["median"], train["longest"]) == (3, 3, 3)
    assert facts["examples"]["train"] == [
        {"id": "train.tsv:1", "input": "w0 text 0", "target": "good"},
        {"id": "train.tsv:2", "input": "w1 text 1", "target": "bad"},
    ]
    assert [file["name"] for file in facts["files"]] == ["train.tsv", "dev.tsv", "test.tsv"]
    assert facts["warnings"] == []


def test_a_run_tells_it_shortly_on_stderr_and_fully_in_its_folder(tmp_path: Path) -> None:
    path = recipe(tmp_path, rows(40), more=", skip_blank: true")
    done = call("run", path, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    said = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "good 20 5 5" in said
    paths = ("run folder", "watch it", str(tmp_path), "step")
    table = [line for line in done.stderr.splitlines() if not line.startswith(paths)]
    assert [line for line in table if len(line) > 80] == []
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")
    assert "columns of train.tsv: input 1, target 2" in log
    assert "95 % at most" in log
    stored = json.loads((tmp_path / "run" / "data.json").read_text())["mood"]
    told = json.loads(call("data", path, "--json").stdout)["mood"]
    assert stored == {"key": stored["key"], **told}


SWAPPED = "".join(f"{'good' if n % 2 else 'bad'}\ta text {n}\n" for n in range(60))
OTHER_LANGUAGE = "eins zwei drei vier fünf sechs sieben acht neun w0\tgood\nw0 zehn\tbad\n"
WARNED: dict[str, tuple[str, dict[str, Any]]] = {
    "looks like a header": (f"text\tlabel\n{rows(40)}", {"dev": f"text\tlabel\n{rows(9)}"}),
    "the columns look swapped": (SWAPPED, {"dev": "good\ta text 1\n", "test": "bad\ta text 0\n"}),
    "differ only by white space": (rows(40, ("good", "good ", "bad")), {}),
    "occurs in one example only": (rows(40) + "odd\tugly\n", {}),
    "has no example of 'bad'": (rows(40), {"test": rows(9, ("good",))}),
    "83% of the words are unknown": (rows(40), {"dev": OTHER_LANGUAGE}),
}


@pytest.mark.parametrize("warning", WARNED)
def test_warnings_are_errors_if_strict(warning: str, tmp_path: Path) -> None:
    train, others = WARNED[warning]
    path = recipe(tmp_path, train, **others)
    told = call("data", path)
    assert told.exit_code == 0
    assert warning in " ".join(told.stdout.split())
    strict = call("data", path, "--strict")
    assert strict.exit_code == 2
    assert warning in strict.stderr
    refused = call("run", path, "--strict", "--quiet", "--out", tmp_path / "strict")
    assert refused.exit_code == 2
    assert warning in refused.stderr
    assert not list((tmp_path / "strict" / "checkpoints").glob("*"))
    run = call("run", path, "--quiet", "--out", tmp_path / "run")
    assert run.exit_code == 0, run.output
    # `--quiet` is about progress: a warning is seen nevertheless.
    assert f"warning: mood: {warning}"[:15] in run.stderr
    assert warning in " ".join(run.stderr.split())


@pytest.mark.parametrize(
    ("train", "more", "reason"),
    [
        (rows(9, ("good",)), "", "every example has the class 'good'"),
        (rows(40), ", min_count: 99", "all of the words are unknown to the vocabulary"),
    ],
)
def test_data_from_which_nothing_can_be_learned_are_refused(train: str, more: str, reason: str, tmp_path: Path) -> None:
    path = recipe(tmp_path, train, dev=train, test=train, more=more)
    for done in (call("run", path, "--quiet", "--out", tmp_path / "run"), call("data", path)):
        assert done.exit_code == 2
        assert reason in done.stderr


def test_a_split_that_came_out_empty_is_explained(tmp_path: Path) -> None:
    # The label is in front, and a hash of the "text" chooses what is held out: of two texts nothing.
    path = recipe(tmp_path, SWAPPED, more=", dev: null, test: null, held_out: 0.0001")
    done = call("run", path, "--quiet", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"dev: this split has no examples; it is read from {tmp_path / 'train.tsv'}\n")
    assert "columns of train.tsv: input 1, target 2" in done.stderr
    assert "60 examples have 2 different inputs and 60 classes: the columns look swapped" in done.stderr


@pytest.mark.parametrize("wrong", ["test", "train"])
def test_after_an_error_nothing_is_said_about_what_the_split_lacks(wrong: str, tmp_path: Path) -> None:
    """What cannot be encoded is not counted: a label that train has is not absent, nor is it rare."""
    good = {"train": rows(40), "dev": rows(9), "test": rows(9)}
    # Of `good`, and of `odd` in train all examples but one, no example can be encoded: the text is empty.
    lines = [line if line.endswith("bad") else "\tgood" for line in good[wrong].splitlines()]
    bad = "\n".join([*lines, *([] if wrong == "test" else ["a text\todd", "\todd"])]) + "\n"
    path = recipe(tmp_path, **good | {wrong: bad})
    done = call("data", path)
    assert done.exit_code == 2
    assert f"{wrong}.tsv:" in done.stderr
    assert "warning" not in done.stderr


def test_labels_that_train_lacks_are_explained(tmp_path: Path) -> None:
    path = recipe(tmp_path, SWAPPED, dev=SWAPPED.replace("text", "story"))
    done = call("run", path, "--quiet", "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "was not seen in training" in done.stderr
    assert "the columns look swapped" in done.stderr


def test_a_model_that_learned_nothing(tmp_path: Path) -> None:
    train = rows(40, ("good", "good", "bad"))
    path = recipe(tmp_path, train, dev=train, test=train, lr=1e-9)
    done = call("run", path, "--quiet", "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    warnings = [line for line in done.stderr.splitlines() if "answering" in line]
    assert [line.partition(": accuracy")[0] for line in warnings] == ["warning: mood/dev", "warning: mood/test"]
    assert "is no better than answering 'good' always (0.6750)" in warnings[0]
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert (status["state"], len(status["warnings"])) == ("finished", 2)
    strict = call("run", path, "--quiet", "--strict", "--out", tmp_path / "strict")
    assert strict.exit_code == 1
    assert "mood/test/accuracy" in strict.stdout
    assert "answering 'good' always" in strict.stderr
    assert json.loads((tmp_path / "strict" / "status.json").read_text())["state"] == "finished"
