"""The comparison of two runs: what it sees, and how it says it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.runs import checkpoint, comparison
from seqkit.runs.comparison import RunDigest
from seqkit.runs.tensorboard import Board


def make(folder: Path, **changes: Any) -> Path:
    """The smallest possible run folder."""
    values = {"weight": 1.0, "loss": 0.5, "point": 0.5, "best": 3, "score": 0.9, **changes}
    weights = {"w": torch.tensor([[0.0, values["weight"]], [2.0, 3.0]])}
    state = {"progress": {"step": 3, "best": values["best"]}}
    path = checkpoint.save(folder / "checkpoints", 3, {"model": weights}, state)
    for name in ("last", "best"):
        checkpoint.set_pointer(folder / "checkpoints", name, path)
    atomic.write_json(folder / "metrics.json", {"t/test/accuracy": values["score"]})
    lines = [f'{{"step": {step}, "epoch": 1, "time": {step}, "t/train/loss": {values["loss"]}}}\n' for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    board = Board(folder / "tb")
    board.scalars(2, {"t/train/loss": values["point"], "time/tokens_per_s": 1.0})
    board.close()
    (folder / "model").mkdir()
    (folder / "model" / "fields.json").write_text("{}")
    return folder


def test_two_equal_runs_are_equal(tmp_path: Path) -> None:
    one, two = (comparison.read(make(tmp_path / name)) for name in ("a", "b"))
    assert list(comparison.find_differences(one, two)) == []
    assert one.sha256 == two.sha256
    assert str(one) == "2 tensors, 6 states, 2 numbers and 1 TensorBoard points"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"weight": 1.5},
            "last model w[0, 1] is 1.0 in the uninterrupted run and 1.5 in the resumed one (1 of 4 values ",
        ),
        (
            {"weight": float("nan")},
            "last model w[0, 1] is 1.0 in the uninterrupted run and nan in the resumed one (1 of 4 ",
        ),
        (
            {"loss": 0.25},
            "metrics.jsonl, step 1: t/train/loss is [0.5, 1] in the uninterrupted run and [0.25, 1] in the resumed one",
        ),
        (
            {"point": 0.25},
            "TensorBoard, step 2: train: learning/t/loss is 0.5 in the uninterrupted run and 0.25 in the resumed one",
        ),
        ({"best": 4}, "state of the last progress.best is 3 in the uninterrupted run and 4 in the resumed one"),
        ({"score": 0.8}, "metrics.json: t/test/accuracy is 0.9 in the uninterrupted run and 0.8 in the resumed one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_the_first_difference_comes_with_both_values(change: dict[str, float], sentence: str, tmp_path: Path) -> None:
    one, two = comparison.read(make(tmp_path / "a")), comparison.read(make(tmp_path / "b", **change))
    differences = list(comparison.find_differences(one, two))
    assert differences[0].startswith(sentence)
    assert one.sha256 != two.sha256


def test_negative_zero_is_not_zero() -> None:
    one, two = torch.tensor(0.0), torch.tensor(-0.0)
    assert (
        comparison._compare_tensors(one, two)
        == "[] is 0.0 in the uninterrupted run and -0.0 in the resumed one (1 of 1 values differ)"
    )


def test_the_same_not_a_number_is_the_same() -> None:
    assert comparison._compare_tensors(torch.tensor([float("nan")]), torch.tensor([float("nan")])) is None


def test_missing_and_added_values_and_other_shapes_are_reported(tmp_path: Path) -> None:
    uninterrupted = comparison.read(make(tmp_path / "a"))
    changes: dict[str, Any] = {"tensors": {"last model w": torch.zeros(2)}, "files": {"x.json": "0"}}
    differences = list(comparison.find_differences(uninterrupted, dataclasses.replace(uninterrupted, **changes)))
    assert differences == [
        "last model w is torch.float32 (2, 2) in the uninterrupted run, torch.float32 (2,) in the resumed one",
        "best model w is missing from the resumed run",
        "model/fields.json is missing from the resumed run",
        "model/x.json is in the resumed run only",
    ]


def test_duplicates_and_leftovers_are_reported(tmp_path: Path) -> None:
    uninterrupted, folder = comparison.read(make(tmp_path / "a")), make(tmp_path / "b")
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "epoch": 1, "time": 3, "t/train/loss": 0.5}\n')
    board = Board(tmp_path / "other")
    board.scalars(2, {"t/train/loss": 0.5})
    board.close()
    (duplicate,) = (tmp_path / "other" / "train").iterdir()
    duplicate.rename(folder / "tb" / "train" / duplicate.name.replace("tfevents.", "tfevents.9"))
    for name in (".tmp-1-aa", "checkpoints/.tmp-2-bb", "checkpoints/step-00000001.corrupt"):
        (folder / name).mkdir()
    damaged: RunDigest = comparison.read(folder)
    assert list(comparison.find_differences(uninterrupted, damaged)) == [
        "t/train/loss at step 2 in metrics.jsonl occurs more than once",
        "train: learning/t/loss at step 2 on TensorBoard occurs more than once",
        ".tmp-1-aa was left behind",
        "checkpoints/.tmp-2-bb was left behind",
        "checkpoints/step-00000001.corrupt was left behind",
    ]


def test_a_run_without_checkpoints_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no last checkpoint"):
        comparison.read(tmp_path)
