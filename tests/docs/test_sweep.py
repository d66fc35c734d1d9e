"""docs/sweep.md: its file is a sweep, and its folder has what the page says."""

from __future__ import annotations

from pathlib import Path

from seqkit.sweeps.spec import PRUNERS, SAMPLERS, load_sweep
from tests.helpers.pages import PAGES, blocks

PAGE = PAGES["docs/sweep.md"]


def test_the_file_of_the_page_is_a_sweep(tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "yaml")
    (tmp_path / "sweep.yaml").write_text(text)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    assert (sweep.trials, len(sweep.search), sweep.key) == (12, 3, "sentiment/dev/accuracy")


def test_the_page_names_all_words_of_the_file() -> None:
    for word in (*SAMPLERS, *PRUNERS):
        assert f"`{word}`" in PAGE
