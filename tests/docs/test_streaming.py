"""The code of docs/streaming.md runs from top to bottom, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from seqkit import recipe as recipes
from seqkit.cli.stream import command
from seqkit.inference.stream import LONGEST, Answer, Stream
from tests.helpers.pages import PAGES, blocks, rows
from tests.helpers.streams import assert_equal

PAGE = PAGES["docs/streaming.md"]


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, block in enumerate(blocks(PAGE, "python"), start=1):
            exec(compile(block, f"block {number} of docs/streaming.md", "exec"), names)
    whole = next(iter(names["model"].predict(["what a dull film, and yet"])))
    assert_equal(names["last"].prediction.value, whole.value)
    assert_equal(names["last"].prediction.confidence, whole.confidence)
    assert names["last"].steps == 6
    assert (names["second"].steps, names["second"].provisional) == (6, 1)
    assert names["h"].shape == names["c"].shape == (1, 128)
    assert "is damaged: its SHA-256 is another; take it again, and keep all of its bytes" in printed.getvalue()
    assert len(names["saved"]) + len(names["stream"].ids) == 4


def test_the_tables_name_what_there_is() -> None:
    methods = set(re.findall(r"`(\w+)(?=[(`])", " ".join(row[0] for row in rows(PAGE, "| call |"))))
    assert methods == {name for name in dir(Stream) if not name.startswith("_")} - {"fingerprint"}
    named = set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows(PAGE, "| an answer has |"))))
    attributes = set(Answer.__dataclass_fields__) | {"state"}
    assert named == attributes - {"id", "recurrent", "has_ended"}


def test_the_formats_and_options_are_those_of_the_command() -> None:
    formats = [row[0].strip("`") for row in rows(PAGE, "| `--format` |")]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    choices = next(parameter.type for parameter in command.params if parameter.name == "input_format")
    assert formats == list(choices.choices)  # type: ignore[attr-defined]
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= options


def test_the_figures_and_recipes_are_those_of_the_code() -> None:
    assert f"at most {LONGEST:,}" in PAGE
    causal = [
        name
        for name in recipes.names()
        if not recipes.load(name).encoder.options.get("bidirectional", False) and not name.startswith("series-")
    ]
    sentence = re.search(r"Of the recipes that come with seqkit, (.*?)stream as they are", PAGE, re.DOTALL)
    assert sentence is not None
    assert sorted(re.findall(r"`([\w-]+)`", sentence[1])) == sorted(causal)
