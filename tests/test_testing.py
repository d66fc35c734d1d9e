"""The conformance classes pass for what is right, and fail with a sentence for what is not."""

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


class Right(Head):
    """A head that keeps every contract, dropout included; the broken ones change one thing each."""

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


class Counting(Right):
    steps = 0

    def logits(self, encoded: Encoded) -> Tensor:
        self.steps += self.training
        return super().logits(encoded) * (1.0 + self.steps)


class Plain(Right):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().loss(encoded, batch)[0], batch.size  # type: ignore[return-value]


class Each(Right):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total[None], count


class Endless(Right):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total / 0.0, count


class Still(Right):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total * 0.0, count


class Tensors(Right):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(each.value, scores=encoded.last[0]) for each in super().predict(encoded, batch)]


class Numbers(Right):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(3.5) for _ in range(batch.size)]


class Few(Right):
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return super().predict(encoded, batch)[:-1]


LEARNS = "it_learns_from_finite_numbers"
PREDICTS = "predictions_are_values_of_the_target"
GOES_ON = "going_on_equals_not_stopping"


@pytest.mark.parametrize(
    ("head", "test", "said"),
    [
        (Right, LEARNS, ""),
        (Right, PREDICTS, ""),
        (Right, GOES_ON, ""),
        (Counting, GOES_ON, "keep a counter, say, with register_buffer"),
        (Plain, LEARNS, r"the count must be a tensor \(\), not int"),
        (Each, LEARNS, r"must be one number, but has shape \(1,\)"),
        (Endless, LEARNS, "the loss of new weights is inf"),
        (Still, LEARNS, "no parameter has a gradient"),
        (Tensors, PREDICTS, r"(?s)a prediction cannot be written as JSON .*use .tolist\(\)"),
        (Numbers, PREDICTS, "3.5 is not a value of the target field Label"),
        (Few, PREDICTS, "5 predictions of 6 examples"),
    ],
)
def test_a_head_that_breaks_one_thing_is_told_which(
    monkeypatch: pytest.MonkeyPatch, head: type[Head], test: str, said: str
) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: head if name == "mine" else load(kind, name))
    tried = type("TestMine", (HeadConformance,), {"head": "mine"})()
    if said:
        with pytest.raises(AssertionError, match=said):
            getattr(tried, f"test_{test}")()
    else:
        getattr(tried, f"test_{test}")()


def test_a_head_that_accepts_nothing_we_can_make_up_needs_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: type("Odd", (Right,), {"accepts": ()}))
    tried = type("TestMine", (HeadConformance,), {"head": {"use": "mine"}})()
    with pytest.raises(AssertionError, match="mine accepts none of the artificial targets; name a task"):
        tried.test_answers_do_not_move()


def task_of(rows: Callable[[str], Iterable[Example]], **changes: Any) -> type[TaskConformance]:
    made = Task(
        **{"read": rows, "input": Tokens("characters"), "target": Label(), "head": "classify", "best": "loss"} | changes
    )
    entry = recipe.TaskEntry("task", "mine", {}, Choice("classify", {}), 1.0)
    data = sample_task("task", replace(made, read=steady))
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
    return type("TestMine", (TaskConformance,), {"task": "mine", "_cases": [case], "made": made})


def steady(split: str) -> Iterator[Example]:
    for number in range(8):
        yield Example("ab"[: 1 + number % 2], "xy"[number % 2], f"{split}:{number}")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (steady, ""),
        (lambda split: [], "the split train has no examples"),
        (lambda split: [("a", "x")], "gives tuple, not seqkit.Example"),
        (lambda split: [Example("a", "x", "one"), Example("b", "y", "one")], "ids occur twice in train: one"),
        (lambda split: [Example("a", "x", str(random.random()))], "gives other examples the second time"),
        (lambda split: [Example("a", random.random(), "1")], "1 is another example the second time"),
        (lambda split: [Example(np.random.rand(2), "x", "1")], "1 is another example the second time"),
    ],
)
def test_a_task_that_reads_badly_is_told_how(
    monkeypatch: pytest.MonkeyPatch, rows: Callable[[str], Iterable[Example]], said: str
) -> None:
    tried = task_of(rows)
    monkeypatch.setattr(recipe, "build_task", lambda entry: tried.made)  # type: ignore[attr-defined]
    if said:
        with pytest.raises(AssertionError, match=said):
            tried().test_reading_twice_gives_the_same()
    else:
        tried().test_reading_twice_gives_the_same()


def test_a_task_without_the_score_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = task_of(steady, best="max:bleu", metric=accuracy)
    with pytest.raises(AssertionError, match="best is 'bleu', and the scores are loss, accuracy"):
        tried().test_the_score_that_chooses_is_there()


class Carried(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        encoded = super().forward(x, lengths, state)
        kept = encoded.state
        return Encoded(encoded.steps, lengths, encoded.last, lambda: tuple(part.transpose(0, 1) for part in kept))


class Hidden(Simple):
    def __init__(self) -> None:
        super().__init__()
        self.secret = [torch.randn(())]

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x * self.secret[0], lengths, state)


class Cut(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        return super().forward(x.detach() + 0.0 * x, lengths, state)


@pytest.mark.parametrize(
    ("encoder", "test", "said"),
    [
        (Simple, "a_state_goes_by_the_batch", ""),
        (Simple, "it_comes_back_from_saved_weights", ""),
        (Carried, "a_state_goes_by_the_batch", "its first axis is not the batch"),
        (Hidden, "it_comes_back_from_saved_weights", "something that is neither a parameter nor a buffer"),
        (Cut, "it_comes_back_from_saved_weights", "no gradient reaches the input"),
        (lambda: nn.Linear(2, 2), "it_says_how_wide_it_is", "makes a Linear, not a seqkit.Encoder"),
    ],
)
def test_an_encoder_that_breaks_one_thing_is_told_which(
    monkeypatch: pytest.MonkeyPatch, encoder: Callable[[], nn.Module], test: str, said: str
) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: encoder())
    tried = type("TestMine", (EncoderConformance,), {"encoder": "mine"})()
    if said:
        with pytest.raises(AssertionError, match=said):
            getattr(tried, f"test_{test}")()
    else:
        getattr(tried, f"test_{test}")()
