"""A picture that cannot be drawn ends no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqkit.errors import Interrupted
from seqkit.training import board_views
from tests.helpers import small


def fail(*_: Any) -> None:
    raise ValueError("math domain\nerror")


def test_a_run_goes_on_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.vectors(tmp_path)
    ends = []
    for name in ("drawn", "not drawn"):
        run = small.create_run(tmp_path / name)
        counters = small.train(small.model(data), data, small.settings(), run)
        ends.append((counters.step, counters.best_step, counters.best))
        sentence = "steps, dev, step 6: not all pictures are drawn: ValueError: math domain error"
        assert (sentence in (run.folder / "run.log").read_text()) is (name == "not drawn")
        monkeypatch.setattr(board_views, "draw_result", fail)
    assert ends[0] == ends[1]


def test_an_interruption_and_a_full_disk_are_no_faults_of_a_picture() -> None:
    sentences: list[str] = []
    for error in (Interrupted("SIGINT"), OSError(28, "No space left on device")):
        with pytest.raises(type(error)), board_views._telling_errors("mood, dev", sentences.append):
            raise error
    assert not sentences
