"""Strings from files reach a terminal, TensorBoard and JSON as text: they move no cursor, and JSON is JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from seqkit.analysis import Confusion
from seqkit.cli import main
from seqkit.errors import DataError, Problem, SeqkitError, printable
from seqkit.inference.predictions_file import csv_lines, json_lines, prediction_record
from seqkit.readers import numbered
from seqkit.runs import event_files
from seqkit.runs.plots import draw_confusion
from seqkit.runs.progress import Progress
from seqkit.runs.tensorboard import Board
from seqkit.types import Prediction
from tests.runs.test_tensorboard import text

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What moves the cursor of a terminal, or changes the direction of what follows."""

HOSTILE = {
    "clear the screen": "\x1b[2J\x1b[H",
    "title of the window": "\x1b]0;owned\x07",
    "one byte sequence": "\x9b31m",
    "carriage return": "fine\rbad",
    "backspace": "bad\x08\x08\x08fine",
    "right to left": "abc\u202egnp.exe",
    "isolate": "a\u2066b\u2069",
    "line separator": "a\u2028b",
    "delete": "a\x7fb",
    "nul": "a\x00b",
}


def lone(name: str) -> str:
    """One of the hostile strings, as an escape that YAML and JSON know."""
    return json.dumps(HOSTILE[name])


@pytest.mark.parametrize("name", HOSTILE)
def test_text_has_escapes_instead(name: str) -> None:
    shown = printable(HOSTILE[name])
    assert not CONTROLS.search(shown)
    assert json.loads(f'"{shown}"') == HOSTILE[name], "nothing is lost"


@pytest.mark.parametrize("text", ["plain", "é ü 漢字 \U0001f600", "नमस्\u200dते", "می\u200cخواهم", "a\tb\nc", ""])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["value", "key", "task", "encoder"])
def test_a_recipe_is_quoted_with_escapes(place: str, name: str, tmp_path: Path) -> None:
    texts = {"value": '"2"', "key": '"lr"', "task": "sentiment", "encoder": "lstm"} | {place: lone(name)}
    recipe = tmp_path / "x.yaml"
    recipe.write_text(
        f"tasks: {{mood: {{use: {texts['task']}, source: {texts['value']}}}}}\n"
        f"encoder: {{use: {texts['encoder']}}}\ntrain: {{{texts['key']}: {texts['value']}}}\n"
    )
    for command in (
        ["recipes", "check", str(recipe)],
        ["recipes", "check", "--json", str(recipe)],
        ["run", str(recipe)],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2, result.output
        assert not CONTROLS.search(result.output)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "nul"])  # no argument can have one
@pytest.mark.parametrize(
    "command",
    ["{}", "run --{}=1", "run x --{}", "data x --examples {}", "evaluate {}", "predict . --split-words {}", "-{}"],
)
def test_arguments_are_quoted_with_escapes(command: str, name: str) -> None:
    words = [word.format(HOSTILE[name]) for word in command.split()]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert not CONTROLS.search(result.output)


@pytest.mark.parametrize("name", HOSTILE)
def test_tags_of_tensorboard_are_quoted_with_escapes(name: str, tmp_path: Path) -> None:
    odd = HOSTILE[name]
    board = Board(tmp_path)
    for _ in range(2):  # what is there already is known by its tag
        board.scalars(1, {f"{odd}/dev/{odd}": 1.0, f"{odd}/train/{odd}": 2.0})
        board.table(f"{odd}/samples", ["id"], [[odd]], 1)
        matrix = Confusion((odd, "b"), np.eye(2, dtype=np.int64), "examples")
        board.picture(f"{odd}/confusion", draw_confusion(matrix, shares=True, title=odd), 1)
    board.hparams({odd: odd})
    board.layout({odd: {odd: [odd]}})
    board.close()
    found = 0
    for path in sorted(tmp_path.rglob("events.*")):
        for event in event_files.read(path):
            for value in event.summary.value:
                found += 1
                assert not CONTROLS.search(value.tag)
                assert odd.encode() not in value.metadata.plugin_data.content
                assert all(odd.encode() not in string for string in value.tensor.string_val)
    assert found >= 6


@pytest.mark.parametrize("name", HOSTILE)
def test_data_are_quoted_with_escapes(name: str, tmp_path: Path) -> None:
    if name not in ("nul", "carriage return"):
        (tmp_path / "train.tsv").write_text(f"text\tlabel\n{HOSTILE[name]}\ta\tb\n", encoding="utf-8", newline="")
    recipe = tmp_path / "x.yaml"
    recipe.write_text(f"tasks: {{mood: {{use: sentiment, folder: '{tmp_path}', train: train.tsv}}}}\nencoder: lstm\n")
    result = CliRunner().invoke(main, ["data", str(recipe)])
    assert result.exit_code == 2, result.output
    assert not CONTROLS.search(result.output)


@pytest.mark.parametrize("name", HOSTILE)
def test_progress_and_tensorboard_show_escapes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Progress().say(f"a label: {HOSTILE[name]}")
    assert not CONTROLS.search(capsys.readouterr().err)
    board = Board(tmp_path)
    board.table("samples", ["text"], [[HOSTILE[name]]])
    board.source("recipe", HOSTILE[name])
    board.text("note", HOSTILE[name])
    board.close()
    for tag in ("samples", "recipe", "note"):
        assert not CONTROLS.search(text(tmp_path, tag))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_goes_out_is_strict_json(number: float) -> None:
    prediction = Prediction("a", number, {"a": number, "spans": [{"score": number}]})

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is not JSON")

    (line,) = json_lines([prediction_record(prediction)])
    assert json.loads(line, parse_constant=refuse)["prediction"] == "a"
    (_, row) = csv_lines([prediction_record(prediction)], ["scores"])
    assert json.loads(row[1:-1].replace('""', '"'), parse_constant=refuse)


# ---- training data that are no files


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


@pytest.mark.parametrize("name", ["train.tsv", "train.tsv.gz", "train.jsonl", "dev.tsv"])
@pytest.mark.parametrize("make", [pipe, device])
def test_training_data_are_regular_files(make: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\ngood\ta\nbad\tb\n")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    split = name.partition(".")[0]
    recipe = tmp_path / "x.yaml"
    recipe.write_text(f"tasks: {{mood: {{use: sentiment, folder: '{tmp_path}', {split}: {name}}}}}\nencoder: lstm\n")
    done = CliRunner().invoke(main, ["run", str(recipe), "--out", str(tmp_path / "run"), "--quiet"])
    assert done.exit_code == 2, done.output
    assert name in done.output
    assert "not a regular file" in done.output


@pytest.mark.parametrize("make", [pipe, device])
def test_a_reader_does_not_wait(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x.txt")
    with pytest.raises(DataError, match="not a regular file"):
        list(numbered(tmp_path / "x.txt"))


def test_errors_are_shown_escaped(tmp_path: Path) -> None:
    error: SeqkitError = DataError(Problem("x\x1b[2J.tsv:1", "is \u202ewrong"))
    assert not CONTROLS.search(printable(str(error)))
