"""Predictions for new inputs: in the order of the lines, in any number of parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit.data.task_data import TaskData
from seqkit.errors import DataError
from seqkit.inference.predict import predict
from seqkit.interfaces import Batch
from seqkit.model import Model
from tests.helpers import small


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


LINES = [(f"l:{n}", "to be or not"[: n + 1]) for n in range(12)]


def test_predictions_in_parts_are_the_same(text: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictions of a language model are the probabilities of the texts."""
    model = small.model(text)
    task_and_fields = (text.task, text.input, text.target)
    expected = list(predict(model, "text", task_and_fields, LINES))
    real, attempts = Model.encode, list[int]()

    def encode(self: Model, task: str, batch: Batch, state: Any = None) -> Any:
        attempts.append(batch.size * batch.x.shape[1])
        if attempts[-1] > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, task, batch, state)

    monkeypatch.setattr(Model, "encode", encode)
    results = list(predict(model, "text", task_and_fields, LINES))
    assert max(attempts) > 30
    assert [result[:2] for result in results] == [result[:2] for result in expected] == LINES
    for (*_, prediction), (*_, expected_prediction) in zip(results, expected, strict=True):
        assert prediction.confidence == pytest.approx(expected_prediction.confidence, rel=1e-5)


@pytest.mark.parametrize("size", [1, 5])
def test_predictions_do_not_depend_on_the_batch_size(tmp_path: Path, size: int) -> None:
    data = small.vectors(tmp_path)
    model = small.model(data)
    lines = [(f"l:{n}", str([[0.5 * n, -1.0, 2.0]] * (n % 4 + 1))) for n in range(9)]
    task_and_fields = (data.task, data.input, data.target)
    expected = predict(model, "steps", task_and_fields, lines)
    for result, one in zip(predict(model, "steps", task_and_fields, lines, batch=size), expected, strict=True):
        assert result[:2] == one[:2]
        assert result[2].value == one[2].value
        assert result[2].confidence == pytest.approx(one[2].confidence, abs=1e-6)


def test_all_lines_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    data = small.vectors(tmp_path)
    lines = [("l:1", "[[1, 2, 3]]"), ("l:2", "nonsense"), ("l:3", "[[1, 2]]")]
    with pytest.raises(DataError) as caught:
        list(predict(small.model(data), "steps", (data.task, data.input, data.target), lines))
    assert [problem.where for problem in caught.value.problems] == ["l:2", "l:3"]
