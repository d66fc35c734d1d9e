"""docs/data-card.md shows the card as it is printed, and names every line and every warning."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from seqkit.cli import main
from tests.helpers.pages import PAGES, ROOT, blocks, rows

PAGE = PAGES["docs/data-card.md"]
SOURCE = ROOT / "seqkit" / "data" / "card.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the example."""
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    train, dev = blocks(PAGE, "csv")
    (recipe,) = blocks(PAGE, "yaml")
    for name, text in (("train.csv", train), ("dev.csv", dev), ("mood.yaml", recipe)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def call(folder: Path, verb: str, *options: str) -> Result:
    return CliRunner().invoke(main, [verb, str(folder / "mood.yaml"), "--quiet", *options])


def test_the_card_is_printed_as_the_page_shows_it(folder: Path) -> None:
    done = call(folder, "data")
    assert done.exit_code == 0, done.output
    (shown,) = blocks(PAGE, "text")
    assert done.stdout == shown
    assert max(map(len, shown.splitlines())) <= 80


def test_strict_makes_errors_of_the_warnings(folder: Path) -> None:
    warnings = blocks(PAGE, "text")[0].count("warning: ")
    for verb, more in (("data", ()), ("run", ("--out", str(folder / "run")))):
        done = call(folder, verb, "--strict", *more)
        assert done.exit_code == 2
        assert done.stderr.count("tasks.mood: ") == warnings
    assert not (folder / "run" / "model").exists()


def test_without_the_slips_there_are_no_warnings(folder: Path) -> None:
    train = (folder / "train.csv").read_text(encoding="utf-8").replace("Bad", "bad")
    (folder / "train.csv").write_text(train, encoding="utf-8")
    (folder / "dev.csv").write_text("text,label,stars\na film,good,5\nso dull,bad,2\n", encoding="utf-8")
    done = call(folder, "data", "--set", "tasks.mood.text=text", "--set", "tasks.mood.label=label", "--strict")
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output


def test_every_warning_is_on_the_page() -> None:
    calls = [node for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    codes = {
        node.args[0].value
        for node in calls
        if isinstance(node.func, ast.Name) and node.func.id == "DataWarning" and isinstance(node.args[0], ast.Constant)
    }
    assert {cells[0].strip("`") for cells in rows(PAGE, "| code |")} == codes
    assert len(codes) >= 8


def test_every_line_of_the_table_is_on_the_page() -> None:
    names = [cells[0] for cells in rows(PAGE, "| line |")]
    shown = blocks(PAGE, "text")[0]
    for name in ("files", "examples", "words", "unknown", "inputs also in train", "classes", "split", "columns of"):
        assert f"\n{name}" in shown
        assert any(line.startswith(name) for line in names)
    source = (ROOT / "seqkit" / "data" / "card_table.py").read_text(encoding="utf-8")
    for name in ("cut examples", "cannot be read", "target steps", "left out", "changed"):
        assert name in source
        assert name in names
