"""Event files: rewritten without losses or duplicates, whatever happens meanwhile."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from seqkit.runs import event_files
from seqkit.runs.tensorboard import Board


def stored(folder: Path) -> list[tuple[str, int]]:
    """Every (tag, step) in the files with duplicates, as a reader sees them that does not purge."""
    return [
        (value.tag, event.step)
        for event in event_files.read(*event_files.paths(folder))
        for value in event.summary.value
    ]


def crashing(call: Callable[..., object], *, count: int) -> Callable[..., object]:
    """The same function, but the process is stopped when it is called for the n-th time."""
    numbers = itertools.count(1)

    def wrapped(*args: object, **kwargs: object) -> object:
        if next(numbers) == count:
            raise KeyboardInterrupt
        return call(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("last_step", [None, 0, 3])
def test_a_crash_while_rewriting_loses_and_duplicates_nothing(
    last_step: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rewrite is stopped at each of its system calls; the second one repairs everything."""
    expected = [("training/x", step) for step in range(1, 6) if last_step is None or step <= last_step]
    calls = ["fsync", "replace", "unlink", "open"]
    for broken in calls:
        for number in (1, 2, 3):
            board_folder = tmp_path / f"{broken}{number}"
            folder = board_folder / "train"
            for steps in ((1, 2), (3, 4, 5)):
                board = Board(board_folder)
                for step in steps:
                    board.scalars(step, {"x": float(step)})
                board.close()
            with monkeypatch.context() as patch:
                patch.setattr(os, broken, crashing(getattr(os, broken), count=number))
                try:
                    event_files.rewrite(folder, last_step)
                except KeyboardInterrupt:
                    pass
            assert set(expected) <= set(stored(folder)), "nothing is lost at any moment"
            duplicates = event_files.rewrite(folder, last_step)
            assert sorted(stored(folder)) == expected
            assert duplicates.last_steps == ({"training/x": expected[-1][1]} if expected else {})
            assert sorted(folder.iterdir()) == event_files.paths(folder), "no temporary file is left"


def test_a_flipped_bit_costs_the_records_after_it_and_nothing_else(tmp_path: Path) -> None:
    board = Board(tmp_path)
    for step in range(1, 20):
        board.scalars(step, {"x": float(step)})
    board.close()
    (path,) = event_files.paths(tmp_path / "train")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    board = Board(tmp_path)
    board.scalars(20, {"x": 20.0})
    board.close()
    steps = [step for _, step in stored(tmp_path / "train")]
    assert steps[-1] == 20
    assert steps[:-1] == list(range(1, len(steps)))
    assert 3 < len(steps) < 19
