"""Options that cannot be, or have no effect, are found by `seqkit recipes check`, with line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main

NEEDS = {  # by task, what its options on files of one's own need, and such options
    "ner": ("folder", {"word_column": 7, "tag_column": 2, "comment": "'#'", "prefix": "x", "repair": True}),
    "sentiment": ("folder", {"text": "body", "label_separator": "';'", "skip_blank": True, "header": True}),
    "translation": ("folder", {"input_column": 2, "separator": "tab", "encoding": "latin-1"}),
    "intent-slots": ("folder", {"words": "text", "format": "csv"}),
    "sensor": ("folder", {"sequence": "walk", "label": "kind", "channels": "[x]"}),
    "lifetime": ("folder", {"unit": "engine", "remaining": "rul", "channels": "[x]"}),
    "next-item": ("folder", {"session": "who", "user": True, "encoding": "latin-1"}),
    "g2p": ("folder", {"header": True}),
    "inflection": ("folder", {"header": True}),
    "images": ("folder", {"width": 3}),
    "strokes": ("folder", {"label_folder": 1}),
    "genome": ("train", {"sequence": "seq", "separator": "tab", "pattern": "x"}),
    "speech": ("path", {"word_separator": "_"}),
}


def check(text: str, tmp_path: Path) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(f"tasks:\n  {text}\nencoder: {{use: gru}}\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["recipes", "check", str(path)])
    return done.output.replace(str(path), "r.yaml")


@pytest.mark.parametrize(
    ("task", "option"), [(task, option) for task, (_, options) in NEEDS.items() for option in options]
)
def test_an_option_for_files_has_no_effect_on_published_data(task: str, option: str, tmp_path: Path) -> None:
    needed, options = NEEDS[task]
    value = str(options[option]).lower() if isinstance(options[option], bool) else options[option]
    output = check(f"{task}: {{{option}: {value}}}", tmp_path)
    assert f"r.yaml:2:{len(task) + 6}: tasks.{task}.{option}: has no effect without tasks.{task}.{needed}" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("next-item: {head: {use: rank, negatives: -1}}", "44: tasks.next-item.head.negatives: must be at least 0"),
        ("next-item: {folder: ., item: x}", "26: tasks.next-item.item: has no effect without tasks.next-item.session"),
        ("ner: {char_hidden: 25}", "3: tasks.ner: char_hidden: 25 should be even, for a recurrence in both directions"),
        ("ner: {characters: none, char_dim: 5}", "27: tasks.ner.char_dim: has no effect"),
        ("sensor: {folder: ., sequence: s, width: 2}", "36: tasks.sensor.width: has no effect"),
        ("listops: {train_shortest: 5000}", "3: tasks.listops: train_shortest: 5000 should be at least ten less than"),
        ("listops: {shortest: 395}", "3: tasks.listops: shortest: 395 should be at least ten less than longest"),
        ("listops: {longest: 3000}", "3: tasks.listops: longest: 3000 should be at most 2000"),
        ("listops: {depth: 2}", "3: tasks.listops: depth: 2 should be 4 or more, for expressions of shortest"),
    ],
)
def test_options_that_cannot_be(text: str, message: str, tmp_path: Path) -> None:
    assert f"r.yaml:2:{message}" in check(text, tmp_path)
