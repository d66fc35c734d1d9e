"""The conformance classes pass for correct plugins, and fail with a sentence for others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqkit import recipe, testing
from seqkit.fields import Label, Tokens
from seqkit.interfaces import Batch, Encoded, Head, State
from seqkit.metrics import accuracy
from seqkit.registry import registry
from seqkit.settings import TrainSettings
from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance
from seqkit.types import Choice, Example, Field, Prediction, Share, Task
from seqkit.verification.recipe_contracts import sample_task
from tests.verification.test_contracts import D, Simple


class TestSentiment(TaskConformance):
    task = "sentiment"
    options = {"sizes": [40, 10, 10]}  # noqa: RUF012


class TestCharlm(TaskConformance):
    task = "charlm"


class TestClassifyByAttention(HeadConformance):
    task = "sentiment"
    options = {"sizes": [40, 10, 10]}  # noqa: RUF012
    head = {"use": "classify", "pool": "attention"}  # noqa: RUF012


class TestLSTM(EncoderConformance):
    encoder = "lstm"
    options = {"hidden": 8, "layers": 2, "bidirectional": True}  # noqa: RUF012


class Leaky(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        encoded = super().forward(x, lengths, state)
        encoded.steps = encoded.steps + 0.1
        return encoded


def test_a_broken_encoder_fails_with_the_contract_and_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: Leaky() if dim == D else None)

    class Broken(EncoderConformance):
        encoder = "leaky"

    with pytest.raises(AssertionError, match="must be zero"):
        Broken().test_it_says_how_wide_it_is()

    class Backwards(Simple):
        def __init__(self) -> None:
            super().__init__(bidirectional=True)

    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: Backwards())
    with pytest.raises(AssertionError, match="the content of the padding does not matter"):
        Broken().test_answers_do_not_move()


class Correct(Head):
    """A head that keeps every contract, with dropout; its subclasses break one each."""

    accepts = (Label,)

    def __init__(self, dim: int, target: Field, layer: nn.Module, /, *, dropout: Share = 0.5) -> None:
        super().__init__()
        self.target = target
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size)

    def logits(self, encoded: Encoded) -> Tensor:
        out: Tensor = self.out(self.drop(encoded.last))
        return out

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        return nn.functional.cross_entropy(self.logits(encoded), batch.y, reduction="sum"), torch.tensor(batch.size)

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(self.target.decode(row.argmax().numpy())) for row in self.logits(encoded)]


class Counting(Correct):
    steps = 0

    def logits(self, encoded: Encoded) -> Tensor:
        self.steps += self.training
        return super().logits(encoded) * (1.0 + self.steps)


class IntegerCount(Correct):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().loss(encoded, batch)[0], batch.size  # type: ignore[return-value]


class VectorLoss(Correct):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total[None], count


class InfiniteLoss(Correct):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total / 0.0, count


class NoGradient(Correct):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total * 0.0, count


class TensorScores(Correct):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(prediction.value, scores=encoded.last[0]) for prediction in super().predict(encoded, batch)]


class WrongValue(Correct):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(3.5) for _ in range(batch.size)]


class MissingPrediction(Correct):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return super().predict(encoded, batch)[:-1]


LEARNS = "it_learns_from_finite_numbers"
PREDICTS = "predictions_are_values_of_the_target"
GOES_ON = "going_on_equals_not_stopping"


@pytest.mark.parametrize(
    ("head", "test", "message"),
    [
        (Correct, LEARNS, ""),
        (Correct, PREDICTS, ""),
        (Correct, GOES_ON, ""),
        (Counting, GOES_ON, "keep a counter, say, with register_buffer"),
        (IntegerCount, LEARNS, r"the count must be a tensor \(\), not int"),
        (VectorLoss, LEARNS, r"must be one number, but has shape \(1,\)"),
        (InfiniteLoss, LEARNS, "the loss of new weights is inf"),
        (NoGradient, LEARNS, "no parameter has a gradient"),
        (TensorScores, PREDICTS, r"(?s)a prediction cannot be written as JSON .*use .tolist\(\)"),
        (WrongValue, PREDICTS, "3.5 is not a value of the target field Label"),
        (MissingPrediction, PREDICTS, "5 predictions of 6 examples"),
    ],
)
def test_a_head_that_breaks_one_contract(
    monkeypatch: pytest.MonkeyPatch, head: type[Head], test: str, message: str
) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: head if name == "mine" else load(kind, name))
    tests = type("TestMine", (HeadConformance,), {"head": "mine"})()
    if message:
        with pytest.raises(AssertionError, match=message):
            getattr(tests, f"test_{test}")()
    else:
        getattr(tests, f"test_{test}")()


def test_a_head_that_accepts_no_artificial_target_needs_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: type("Odd", (Correct,), {"accepts": ()}))
    tests = type("TestMine", (HeadConformance,), {"head": {"use": "mine"}})()
    with pytest.raises(AssertionError, match="mine accepts none of the artificial targets; name a task"):
        tests.test_answers_do_not_move()


def task_of(read: Callable[[str], Iterable[Example]], **changes: Any) -> type[TaskConformance]:
    task = Task(
        **{"read": read, "input": Tokens("characters"), "target": Label(), "head": "classify", "best": "loss"} | changes
    )
    entry = recipe.TaskEntry("task", "mine", {}, Choice("classify", {}), 1.0)
    data = sample_task("task", replace(task, read=read_examples))
    case = testing._Case(
        recipe.Recipe(
            tasks={"task": entry},
            encoder=Choice("none", {}),
            dim=4,
            train=TrainSettings(),
            seed=1,
            device="cpu",
            expect={},
        ),
        data,
    )
    return type("TestMine", (TaskConformance,), {"task": "mine", "_cases": [case], "built_task": task})


def read_examples(split: str) -> Iterator[Example]:
    for number in range(8):
        yield Example("ab"[: 1 + number % 2], "xy"[number % 2], f"{split}:{number}")


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (read_examples, ""),
        (lambda split: [], "the split train has no examples"),
        (lambda split: [("a", "x")], "gives tuple, not seqkit.Example"),
        (lambda split: [Example("a", "x", "one"), Example("b", "y", "one")], "ids occur twice in train: one"),
        (lambda split: [Example("a", "x", str(random.random()))], "gives other examples the second time"),
        (lambda split: [Example("a", random.random(), "1")], "1 is another example the second time"),
        (lambda split: [Example(np.random.rand(2), "x", "1")], "1 is another example the second time"),
    ],
)
def test_a_task_that_breaks_a_contract_of_reading(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], Iterable[Example]], message: str
) -> None:
    tests = task_of(read)
    monkeypatch.setattr(recipe, "build_task", lambda entry: tests.built_task)  # type: ignore[attr-defined]
    if message:
        with pytest.raises(AssertionError, match=message):
            tests().test_reading_twice_gives_the_same()
    else:
        tests().test_reading_twice_gives_the_same()


def test_a_task_without_the_score_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = task_of(read_examples, best="max:bleu", metric=accuracy)
    with pytest.raises(AssertionError, match="best is 'bleu', and the scores are loss, accuracy"):
        tests().test_the_score_that_chooses_is_there()


class TransposedState(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        encoded = super().forward(x, lengths, state)
        state_of_batch = encoded.state
        return Encoded(
            encoded.steps, lengths, encoded.last, lambda: tuple(tensor.transpose(0, 1) for tensor in state_of_batch)
        )


class HiddenWeight(Simple):
    def __init__(self) -> None:
        super().__init__()
        self.weight = [torch.randn(())]

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x * self.weight[0], lengths, state)


class DetachedInput(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x.detach() + 0.0 * x, lengths, state)


@pytest.mark.parametrize(
    ("encoder", "test", "message"),
    [
        (Simple, "a_state_goes_by_the_batch", ""),
        (Simple, "it_comes_back_from_saved_weights", ""),
        (TransposedState, "a_state_goes_by_the_batch", "its first axis is not the batch"),
        (HiddenWeight, "it_comes_back_from_saved_weights", "something that is neither a parameter nor a buffer"),
        (DetachedInput, "it_comes_back_from_saved_weights", "no gradient reaches the input"),
        (lambda: nn.Linear(2, 2), "it_says_how_wide_it_is", "makes a Linear, not a seqkit.Encoder"),
    ],
)
def test_an_encoder_that_breaks_one_contract(
    monkeypatch: pytest.MonkeyPatch, encoder: Callable[[], nn.Module], test: str, message: str
) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: encoder())
    tests = type("TestMine", (EncoderConformance,), {"encoder": "mine"})()
    if message:
        with pytest.raises(AssertionError, match=message):
            getattr(tests, f"test_{test}")()
    else:
        getattr(tests, f"test_{test}")()
