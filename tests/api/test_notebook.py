"""What a notebook shows: tables and marked spans in which everything is escaped, and progress in one output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import seqkit
from seqkit.api.display import NotebookDisplay, html_spans, in_notebook, progress_of
from tests.api.test_settings import TINY

EVIL = '<script>alert("x")</script>&\u202e\x1b[2J'


class Tags(HTMLParser):
    """Collects the tags and the text of a page, and checks that every tag is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        self.open.append(tag)
        assert all(not name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


SPAN = {"type": EVIL, "start": 0, "end": 1, "start_char": 2, "end_char": 6, "text": "x"}


@pytest.mark.parametrize(
    "result",
    [
        seqkit.Result(EVIL, EVIL, EVIL, 0.5, {EVIL: 0.5, "b": 0.5}),
        seqkit.Result(EVIL, EVIL, ["O"], [0.5], {}, {"spans": [SPAN, {**SPAN, "start_char": 4, "end_char": 8}]}),
        seqkit.Result(EVIL, None, None, error=EVIL),
    ],
    ids=["label", "spans", "error"],
)
def test_everything_in_a_result_is_escaped(result: seqkit.Result) -> None:
    page = Tags(result._repr_html_())
    assert page.seen <= {"div", "b", "table", "tr", "td", "mark", "small"}
    assert '<script>alert("x")</script>&\\u202e\\u001b[2J' in page.text
    assert "\x1b" not in page.text


def test_spans_are_marked_in_their_text() -> None:
    spans = [{"type": "place", "start_char": 8, "end_char": 13}, {"type": "person", "start_char": 0, "end_char": 4}]
    assert html_spans("Anna in Turku.", spans) == (
        "<div><mark>Anna <small>person</small></mark> in <mark>Turku <small>place</small></mark>.</div>"
    )


def test_models_and_runs_are_tables(trained: Callable[[str], Path]) -> None:
    run = seqkit.Run(trained("sentiment"))
    for page in (Tags(run._repr_html_()), Tags(run.model()._repr_html_())):
        assert "sentiment/test/accuracy" in page.text
        assert str(run.folder) in page.text
    assert "Classify" in run.model()._repr_html_()


class Notebook:
    """Stands for IPython: remembers what each output shows."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.updates = 0

    def display(self, content: Any, display_id: bool) -> Any:
        assert display_id
        self.outputs.append(content)
        number = len(self.outputs) - 1

        def update(content: Any) -> None:
            self.outputs[number] = content
            self.updates += 1

        return SimpleNamespace(update=update)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    notebook = Notebook()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    module = SimpleNamespace(HTML=lambda text: text, display=notebook.display)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return notebook


def test_progress_is_one_output(notebook: Notebook, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_notebook()
    seqkit.run(TINY, out=tmp_path / "run")
    (shown,) = notebook.outputs
    assert notebook.updates > 3
    page = Tags(shown)
    assert f"run folder: {tmp_path / 'run'}" in page.text
    assert "warning: sentiment/" in page.text
    assert page.seen <= {"div", "progress", "small", "pre"}
    assert capsys.readouterr() == ("", "")


def test_progress_is_escaped_and_does_not_grow_without_end(notebook: Notebook) -> None:
    with progress_of(None) as progress:
        for step in range(1000):
            progress.say(f"{EVIL} {step}")
        progress.update(1, 2, epoch=EVIL)
        progress.stage(EVIL, 1, 2)
    (shown,) = notebook.outputs
    assert "<script" not in shown
    assert len(shown) < 50_000


def test_outside_of_a_notebook_nothing_is_displayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()
    assert NotebookDisplay().lines == []
