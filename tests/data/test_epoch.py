"""The plan of an epoch: a pure function of seed and epoch, reached at any position."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqkit.data.epoch import EpochPlan, Turns, steps_per_epoch
from seqkit.data.stream import Stream
from seqkit.fields import Tags, Tokens
from seqkit.settings import TrainSettings
from seqkit.types import Task
from tests.helpers.letters import next_characters, prepare, reader


@pytest.mark.parametrize("window", [1, 3, 100])
def test_lanes_see_each_step_of_the_stream_once_with_the_next_as_target(tmp_path: Path, window) -> None:
    data = next_characters(tmp_path, window=window)
    settings = TrainSettings(batch=4)
    epoch = EpochPlan(data={"lm": data}, settings=settings, seed=3, epoch=2)
    stream = Stream(data.splits["train"].x)
    rows: list[list[int]] = [[] for _ in range(4)]
    follows: list[list[int]] = [[] for _ in range(4)]
    for number, turn in enumerate(epoch.turns):
        (batch,) = epoch.batches(turn)
        assert batch.carry == (number > 0)
        assert (batch.lengths == batch.x.shape[1]).all()
        for lane in range(4):
            rows[lane] += batch.x[lane].tolist()
            follows[lane] += batch.y[lane].tolist()
    length = stream.total // 4
    for lane in range(4):
        assert len(rows[lane]) == length
        assert rows[lane][1:] == follows[lane][:-1]
    joined = [symbol for row in rows for symbol in row]
    ring = stream.read(0, stream.total).tolist() * 2
    assert any(ring[k : k + len(joined)] == joined for k in range(stream.total))


def test_the_plan_of_an_epoch_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    data = {"a": next_characters(tmp_path), "b": next_characters(tmp_path, window=2)}

    def batches(seed: int, epoch: int):
        plan = EpochPlan(data, TrainSettings(batch=2), seed=seed, epoch=epoch)
        return [(turn.task, [batch.x.tolist() for batch in plan.batches(turn)]) for turn in plan.turns]

    assert batches(1, 0) == batches(1, 0)
    assert batches(1, 0) != batches(1, 1)
    assert batches(1, 0) != batches(2, 0)
    assert {task for task, _ in batches(1, 0)} == {"a", "b"}


@pytest.mark.parametrize("kind", ["tags", "next"])
def test_few_shapes_hold_the_same_examples(tmp_path: Path, kind) -> None:
    texts = ["abcdefghi"[: 1 + k % 9] + "x" * (k % 4) for k in range(60)]
    if kind == "next":
        data = next_characters(tmp_path, texts=texts)
    else:
        rows = [(text, list(text.upper())) for text in texts]
        task = Task(read=reader(rows), input=Tokens("characters"), target=Tags(), head="tag", best="accuracy")
        data = prepare(task, tmp_path)

    def batches(settings: TrainSettings, epoch: int) -> list:
        plan = EpochPlan({"a": data}, settings, seed=1, epoch=epoch)
        return [batch for turn in plan.turns for batch in plan.batches(turn)]

    plain, few = TrainSettings(batch=4, pool=3), TrainSettings(batch=4, pool=3, shapes=3)
    shapes = {batch.x.shape[1] for epoch in range(3) for batch in batches(few, epoch)}
    assert len(shapes) == 3 < len({batch.x.shape[1] for batch in batches(plain, 0)})
    for bare, padded in zip(batches(plain, 1), batches(few, 1), strict=True):
        longest = bare.x.shape[1]
        assert list(bare.ids) == list(padded.ids)
        assert padded.lengths.tolist() == bare.lengths.tolist()
        assert padded.y.shape == padded.x.shape
        assert padded.x[:, :longest].tolist() == bare.x.tolist()
        assert padded.y[:, :longest].tolist() == bare.y.tolist()
        assert not padded.x[:, longest:].any()


def test_any_position_of_an_epoch_is_reached_at_once(tmp_path: Path) -> None:
    epoch = EpochPlan({"a": next_characters(tmp_path)}, TrainSettings(batch=2), seed=1, epoch=0)
    full = [batch.x.tolist() for _, batches in epoch.batches_from(0, torch.device("cpu")) for batch in batches]
    rest = [batch.x.tolist() for _, batches in epoch.batches_from(2, torch.device("cpu")) for batch in batches]
    assert rest == full[2:]


def test_accumulation_takes_the_batches_of_one_step_from_one_task(tmp_path: Path) -> None:
    data = {"a": next_characters(tmp_path), "b": next_characters(tmp_path, window=2)}
    epoch = EpochPlan(data, TrainSettings(batch=2, accumulate=2), seed=1, epoch=0)
    singles = EpochPlan(data, TrainSettings(batch=2), seed=1, epoch=0)
    assert sum(len(turn.batches) for turn in epoch.turns) == len(singles.turns)
    assert max(len(turn.batches) for turn in epoch.turns) == 2


@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"tokens": 9}, {"tokens": 20, "accumulate": 2}])
def test_steps_per_epoch_is_the_length_of_the_plan(tmp_path: Path, options: dict[str, int]) -> None:
    data = {"a": next_characters(tmp_path), "b": next_characters(tmp_path, window=2)}
    settings = TrainSettings(batch=2, **options)  # type: ignore[arg-type]
    plan = EpochPlan(data, settings, seed=1, epoch=0)
    assert steps_per_epoch(data, settings, seed=1) == len(plan) == len(plan.turns)


def test_turns_are_made_on_access() -> None:
    batches = {"a": range(5), "b": [np.array([k]) for k in range(2)]}
    turns = Turns(batches, np.array([0, 1, 0, 0]), accumulate=2)
    assert [turn.task for turn in turns] == ["a", "b", "a", "a"]
    assert [[int(np.ravel(batch)[0]) for batch in turn.batches] for turn in turns] == [[0, 1], [0, 1], [2, 3], [4]]
    assert turns[-1] == turns[3]
    assert [turn.batches for turn in turns[2:]] == [(2, 3), (4,)]
    with pytest.raises(IndexError):
        turns[4]
