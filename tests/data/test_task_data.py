"""One task's data as batches: padding on the right, targets, next-step sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqkit.fields import Label, Tags, Tokens
from seqkit.types import END, START, Limit, Task
from tests.helpers.letters import TEXTS, next_characters, prepare, reader


def test_padding_is_on_the_right_and_lengths_are_true(tmp_path: Path) -> None:
    rows = [(text, [c.upper() for c in text]) for text in TEXTS]
    task = Task(read=reader(rows), input=Tokens("characters"), target=Tags(), head="tag", best="accuracy")
    data = prepare(task, tmp_path)
    batch = data.batch("train", np.array([2, 1, 0]))
    assert batch.lengths.tolist() == [1, 7, 3]
    assert batch.x.shape == (3, 7)
    assert list(batch.ids) == ["train.tsv:3", "train.tsv:2", "train.tsv:1"]
    assert batch.mask.tolist() == (batch.x != 0).tolist()
    assert batch.y is not None
    assert batch.y.shape == (3, 7)
    assert data.target.decode(batch.y[2, :3].numpy()) == ["A", "B", "C"]
    assert data.targets("train") == [target for _, target in rows]


def test_a_fixed_target_has_one_row_an_example(tmp_path: Path) -> None:
    rows = [(text, "long" if len(text) > 3 else "short") for text in TEXTS]
    task = Task(read=reader(rows), input=Tokens("characters"), target=Label(), head="classify", best="accuracy")
    data = prepare(task, tmp_path)
    batch = data.batch("train", np.array([0, 1]))
    assert batch.y is not None
    assert batch.y.shape == (2,)
    assert batch.y_lengths is None
    assert [data.target.decode(y.numpy()) for y in batch.y] == ["short", "long"]


def test_a_complete_sequence_is_predicted_from_its_start_to_its_end(tmp_path: Path) -> None:
    data = next_characters(tmp_path)
    batch = data.batch("train", np.array([0, 1]))
    ids = data.input.encode("abc").tolist()
    assert batch.x[0].tolist() == [START, *ids, 0, 0, 0, 0]
    assert batch.y is not None
    assert batch.y[0].tolist() == [*ids, END, -1, -1, -1, -1]
    assert batch.lengths.tolist() == [4, 8]
    assert data.lengths("train")[:2].tolist() == [4, 8]


def test_every_symbol_of_a_piece_is_scored_once(tmp_path: Path) -> None:
    data = next_characters(tmp_path, window=3)
    batch = data.batch("dev", np.array([1]))
    ids = data.input.encode("abcdefg").tolist()
    assert batch.x[0].tolist() == [START, *ids[:-1]]
    assert batch.y is not None
    assert batch.y[0].tolist() == ids


def test_a_window_is_refused_for_targets_that_do_not_follow_from_the_input(tmp_path: Path) -> None:
    task = Task(
        read=reader([("ab", "x")]),
        input=Tokens("characters"),
        target=Label(),
        head="classify",
        best="accuracy",
        window=3,
    )
    with pytest.raises(TypeError, match="next-symbol"):
        prepare(task, tmp_path)


def test_windows_keep_all_steps(tmp_path: Path) -> None:
    rows = [(text, "long" if len(text) > 3 else "short") for text in TEXTS]
    task = Task(
        read=reader(rows), input=Tokens("characters"), target=Label(), head="classify", best="accuracy",
        limit=Limit(3, "window"),
    )  # fmt: skip
    data = prepare(task, tmp_path)
    split = data.splits["test"]
    assert sum(split.x.lengths) >= sum(map(len, TEXTS))
    assert sorted(set(split.origin.tolist())) == list(range(len(TEXTS)))
