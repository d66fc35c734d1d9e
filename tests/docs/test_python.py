"""The code of docs/python.md runs from top to bottom, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

import seqkit
from seqkit import public_api
from tests.helpers.pages import PAGES, blocks

PAGE = PAGES["docs/python.md"]
CODE = blocks(PAGE, "python")


def execute(code: list[str], namespace: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, block in enumerate(code, start=1):
            exec(compile(block, f"block {number} of docs/python.md", "exec"), namespace)
    return printed.getvalue()


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("pandas")
    printed = execute([block for block in CODE if ".export(" not in block], {})
    assert "inputs[1] is empty" in printed
    assert "a17 " in printed
    assert "did you mean 'lstm'" in printed
    assert "train.batch: must be at least 1, got 0" in printed


@pytest.mark.slow
def test_the_page_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    execute([block for number, block in enumerate(CODE) if number == 0 or ".export(" in block], {})
    assert (tmp_path / "mood.onnx").is_file()


@pytest.mark.parametrize("name", ["model", "result", "run"])
def test_the_tables_name_what_there_is(name: str) -> None:
    """Every public attribute of a class is on the page, and the page names no other."""
    owner = {"model": seqkit.Model, "result": seqkit.Result, "run": seqkit.Run}[name]
    public = {attribute for attribute in dir(owner) if not attribute.startswith("_")}
    public |= set(getattr(owner, "__annotations__", {})) | ({"folder"} if name == "model" else set())
    prefix = {"model": "(?:model|writer|reader)", "result": "(?:result|empty)", "run": "(?:run|best)"}[name]
    assert set(re.findall(rf"\b{prefix}\.([a-z]\w*)", PAGE)) == public


def test_the_page_is_about_public_names() -> None:
    named = set(re.findall(r"\bseqkit\.([A-Za-z]\w*)", PAGE))
    assert named <= set(public_api.PUBLIC_NAMES["seqkit"])
    assert named >= {"load", "run", "check", "Run", "SeqkitError"}


def test_the_three_lines_of_the_readme_run(
    trained_entities: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = blocks(PAGES["README.md"], "python")[0]
    folder = re.search(r'load\("(.+?)"\)', code)
    assert folder is not None
    (tmp_path / folder[1]).parent.mkdir(parents=True)
    (tmp_path / folder[1]).symlink_to(trained_entities)
    monkeypatch.chdir(tmp_path)
    assert execute([code], {}).startswith("[")


@pytest.fixture
def trained_entities(tmp_path: Path) -> Path:
    small: dict[str, Any] = {"tasks.ner.sizes": [40, 20, 20], "train.steps": 2, "encoder.hidden": 16, "expect": {}}
    return seqkit.run("ner", set=small, out=tmp_path / "run", progress=False).folder
