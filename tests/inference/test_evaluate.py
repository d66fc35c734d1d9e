"""Evaluation: the same scores in any number of parts, and which of two scores is the better one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit import Example
from seqkit.data import evaluation, store
from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted
from seqkit.inference.evaluate import evaluate
from seqkit.interfaces import Batch
from seqkit.metrics import is_better, lower_is_better, score_name
from seqkit.model import Model
from tests.helpers import small


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


def test_an_evaluation_in_parts_has_the_same_scores(data: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small.model(data)
    expected = evaluate(model, data, "train")
    messages: list[str] = []
    with monkeypatch.context() as patch:
        small.limit_memory(patch, 20)
        result = evaluate(model, data, "train", tell=messages.append)
    assert messages
    assert all(message.startswith("evaluation: out of memory") for message in messages)
    assert result.scores == {name: pytest.approx(value, rel=1e-6) for name, value in expected.scores.items()}
    assert result.ids == expected.ids
    assert result.targets == expected.targets
    for prediction, expected_prediction in zip(result.predictions, expected.predictions, strict=True):
        assert prediction.value == expected_prediction.value
        assert prediction.confidence == pytest.approx(expected_prediction.confidence, abs=1e-6)


def test_long_sequences_in_windows_may_be_split_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows leave the batch as they end; each part of the rows carries its own states."""
    monkeypatch.setattr(evaluation, "EVALUATION_WINDOW", 4)
    source = small.stream(tmp_path)

    def read(split: str) -> Iterator[Example]:
        for number, length in enumerate((23, 5, 17, 2, 9, 14)):
            yield Example(("to be or not to be that is " * 2)[:length], None, f"{split}:{number}")

    task = dataclasses.replace(source.task, read=read, window=None)
    prepared = store.prepare(task, key={"windows": 1}, cache=tmp_path / "more")
    sequences = TaskData("text", task, prepared.input, prepared.target, prepared.splits)
    model = small.model(sequences)
    expected = evaluate(model, sequences, "dev")
    with monkeypatch.context() as patch:
        attempts = small.limit_memory(patch, 9)
        result = evaluate(model, sequences, "dev")
    assert max(attempts) > 9
    assert result.scores == {name: pytest.approx(value, rel=1e-6) for name, value in expected.scores.items()}


def test_an_evaluation_that_lacks_memory_does_not_split_training_batches(
    data: TaskData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Model.loss

    def loss(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        if not self.training and batch.size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, task, batch, state)

    monkeypatch.setattr(Model, "loss", loss)
    run = small.create_run(tmp_path / "run")
    counters = small.train(small.model(data), data, small.settings(), run)
    assert counters.fits == {}
    assert "evaluation: out of memory" in (run.folder / "run.log").read_text()


def test_it_can_be_interrupted_between_batches(data: TaskData) -> None:
    class Stop:
        checks = 0

        def check(self, message: str) -> None:
            self.checks += 1
            if self.checks == 3:
                raise Interrupted(message)

    stop: Any = Stop()
    with pytest.raises(Interrupted, match="during an evaluation"):
        evaluate(small.model(data), data, "train", batch=4, stop=stop)


def test_the_mode_of_the_model_is_restored(data: TaskData) -> None:
    model = small.model(data)
    for is_training in (True, False):
        evaluate(model.train(is_training), data, "dev")
        assert model.training == is_training


def test_not_a_number_is_never_the_best_score() -> None:
    nan = math.nan
    for best in ("accuracy", "nats"):
        assert is_better(best, nan, None), "something must be saved as the best so far"
        assert not is_better(best, nan, 0.5)
        assert is_better(best, 0.5, nan)
        assert not is_better(best, nan, nan)


@pytest.mark.parametrize(
    ("best", "name", "is_lower"),
    [("accuracy", "accuracy", False), ("nats", "nats", True), ("min:own", "own", True), ("max:nats", "nats", False)],
)
def test_a_score_is_named_and_directed(best: str, name: str, is_lower: bool) -> None:
    assert score_name(best) == name
    assert lower_is_better(best) == is_lower
    assert is_better(best, 1.0, 2.0) == is_lower
