"""The training state: a checkpoint brings all of it back, and its counters say what is due after a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit.data.epoch import EpochPlan, steps_per_epoch
from seqkit.data.task_data import TaskData
from seqkit.errors import RunError
from seqkit.runs import checkpoint
from seqkit.training.state import TrainingState, load_best
from seqkit.types import Choice
from tests.helpers import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


@pytest.mark.parametrize(
    "changes",
    [{"batch": 7}, {"batch": 7, "accumulate": 2}, {"tokens": 23}, {"tokens": 23, "accumulate": 3, "pool": 2}],
    ids=str,
)
def test_the_steps_of_an_epoch_are_counted_without_planning_it(
    data: TaskData, text: TaskData, changes: dict[str, Any]
) -> None:
    settings = small.settings(steps=None, epochs=3, **changes)
    for tasks in ({"steps": data}, {"text": text}, {"steps": data, "text": text}):
        plan = EpochPlan(tasks, settings, seed=5, epoch=0)
        assert steps_per_epoch(tasks, settings, seed=5) == len(plan)


def test_a_checkpoint_brings_everything_back(text: TaskData, tmp_path: Path) -> None:
    settings = small.settings(average=0.9, steps=6, save_every=5, log_every=4, evaluate_every=100, keep=9)
    run = small.create_run(tmp_path / "run")
    small.train(small.model(text, dropout=0.3), text, settings, run)
    (path, _) = checkpoint.steps(run.checkpoints)
    assert checkpoint.step_of(path) == 5
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = TrainingState.create(small.model(text), {"text": text}, settings, seed=1)
        torch.manual_seed(seed)  # a random state that has to be replaced
        state.load(path)
        states.append((state, torch.rand(3)))
    (one, numbers), (other, other_numbers) = states
    assert torch.equal(numbers, other_numbers)
    assert one.counters == other.counters
    assert one.counters.step == 5
    assert float(one.loss_sums.tensors["text"][1]) > 0, "the sums since the log of step 4"
    assert torch.equal(one.loss_sums.tensors["text"], other.loss_sums.tensors["text"])
    assert [torch.equal(a, b) for a, b in zip(one.carried["text"], other.carried["text"], strict=True)] == [True]
    assert one.averaged_weights is not None
    assert any(not torch.equal(one.averaged_weights.weights[name], p) for name, p in one.model.named_parameters())
    again = small.create_run(tmp_path / "again")
    one.save(again)
    saved, saved_numbers = checkpoint.load(again.checkpoints / path.name)
    before, before_numbers = checkpoint.load(path)
    assert saved_numbers["progress"] == before_numbers["progress"]
    assert saved_numbers["optimizer"] == before_numbers["optimizer"]
    for stem in before.keys() - {"random"}:
        assert saved[stem].keys() == before[stem].keys()
        assert all(torch.equal(saved[stem][name], tensor) for name, tensor in before[stem].items()), stem


def test_it_is_not_saved_where_all_earlier_checkpoints_were_deleted(data: TaskData, tmp_path: Path) -> None:
    run = small.create_run(tmp_path / "run")
    run.checkpoints.rmdir()
    with pytest.raises(RunError):
        small.state(small.model(data), data).save(run)
    assert not run.checkpoints.exists()


def test_without_an_evaluation_there_is_no_best_checkpoint(data: TaskData, tmp_path: Path) -> None:
    run = small.create_run(tmp_path / "run")
    small.state(small.model(data), data).save(run)
    with pytest.raises(RunError, match="no best checkpoint"):
        load_best(run, small.model(data))


def due(state: TrainingState) -> list[str]:
    """What is due after the step that the counters say."""
    names = ("is_log_due", "is_validation_due", "is_save_due", "is_last_step")
    return [name.removeprefix("is_").removesuffix("_due") for name in names if getattr(state, name)]


def test_what_is_due_after_a_step(data: TaskData) -> None:
    state = small.state(small.model(data), data, log_every=2, evaluate_every=3, save_every=5, steps=12)
    expected = {2: ["log"], 3: ["validation"], 5: ["save"], 6: ["log", "validation"], 7: [], 10: ["log", "save"]}
    state.counters.turn = 1
    for step, names in expected.items():
        state.counters.step = step
        assert due(state) == names
        assert state.is_anything_due == bool(names)
    state.counters.step = 12
    assert due(state) == ["log", "validation", "last_step"]
    state.counters.evaluated = 12
    assert due(state) == ["log", "validation", "save", "last_step"]


def test_what_is_due_after_an_epoch(data: TaskData) -> None:
    state = small.state(
        small.model(data), data, steps=None, epochs=2, evaluate_every=None, save_every=None, log_every=100
    )
    state.counters.step = state.counters.turn = 10
    assert due(state) == []
    state.end_epoch()
    assert (state.counters.epoch, state.counters.turn) == (1, 0)
    assert due(state) == ["validation"]
    state.counters.step = 19  # epochs may differ in their number of batches
    state.end_epoch()
    assert due(state) == ["log", "validation", "last_step"]


def test_the_learning_rate_is_a_function_of_the_step(data: TaskData) -> None:
    schedule, optimizer = Choice("linear", {"warmup": 4}), Choice("adamw", {"lr": 0.01})
    state = small.state(small.model(data), data, schedule=schedule, optimizer=optimizer, steps=12)
    assert state.set_learning_rate() == pytest.approx(0.0025)
    state.counters.step = 8
    assert state.set_learning_rate() == pytest.approx(0.005)
    assert [group["lr"] for group in state.optimizer.param_groups] == [pytest.approx(0.005)] * 2
