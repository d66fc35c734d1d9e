"""Losses of numbers that seqkit does not know pass the contracts of a head; wrong ones do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.fields import Label, Values
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.registry import registry
from seqkit.testing import HeadConformance
from seqkit.types import Field, Prediction


class Numbers(Head):
    """A linear map; the subclasses have a loss each."""

    accepts = (Values,)

    def __init__(self, dim: int, target: Field, layer: nn.Module, /) -> None:
        super().__init__()
        self.target: Any = target
        self.out = nn.Linear(dim, target.size)

    def numbers(self, encoded: Encoded) -> Tensor:
        out: Tensor = self.out(encoded.last)
        return out

    def losses(self, numbers: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        numbers = self.numbers(encoded)
        return self.losses(numbers, batch.y.float().reshape(numbers.shape)).sum(), torch.tensor(numbers.numel())

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [Prediction(self.target.decode(row.detach().numpy())) for row in self.numbers(encoded)]


class Pinball(Numbers):
    def losses(self, numbers: Tensor, y: Tensor) -> Tensor:
        error = y - numbers
        return torch.maximum(0.9 * error, -0.1 * error)


class Poisson(Numbers):
    def losses(self, numbers: Tensor, y: Tensor) -> Tensor:
        return nn.functional.poisson_nll_loss(numbers, y.abs(), reduction="none")


class Weighted(Numbers):
    def losses(self, numbers: Tensor, y: Tensor) -> Tensor:
        return (1.0 + y.abs()) * (numbers - y).square()


class Detached(Weighted):
    def losses(self, numbers: Tensor, y: Tensor) -> Tensor:
        return (numbers - y) * (numbers - y).detach()


class Mean(Pinball):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total / count, count


class WithPadding(Poisson):
    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return total * encoded.steps.shape[1], count


class FalselyDeclared(Weighted):
    values_loss = "mse"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (Pinball, ""),
        (Poisson, ""),
        (Weighted, ""),
        (Detached, "the gradient is not that of the loss"),
        (Mean, "the loss is a mean over the batch"),
        (WithPadding, "padding adds to the loss"),
        (FalselyDeclared, "the loss and the predictions disagree"),
    ],
)
def test_a_loss_of_its_own(monkeypatch: pytest.MonkeyPatch, head: type[Head], message: str) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: head if name == "mine" else load(kind, name))
    tests = type("TestMine", (HeadConformance,), {"head": "mine"})()
    tests.test_it_learns_from_finite_numbers()
    if message:
        with pytest.raises(AssertionError, match=message):
            tests.test_answers_do_not_move()
    else:
        tests.test_answers_do_not_move()


# ---- heads for other targets, whose losses agree with their predictions: only the gradient says that they are wrong


class Classes(Head):
    """Classification by a linear map and a second one, whose gradient the subclasses leave out or falsify."""

    accepts = (Label,)

    def __init__(self, dim: int, target: Field, layer: nn.Module, /) -> None:
        super().__init__()
        self.target: Any = target
        self.first, self.second = nn.Linear(dim, 8), nn.Linear(8, target.size)

    def hidden(self, encoded: Encoded) -> Tensor:
        return torch.tanh(self.first(encoded.last))

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        total = nn.functional.cross_entropy(self.second(self.hidden(encoded)), batch.y, reduction="sum")
        return total, torch.tensor(len(batch.y))

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        with torch.no_grad():
            probabilities = self.second(self.hidden(encoded)).softmax(dim=-1)
        return [
            Prediction(
                self.target.decode(int(row.argmax())), None, dict(zip(self.target.labels, row.tolist(), strict=True))
            )
            for row in probabilities
        ]


class DetachedHidden(Classes):
    def hidden(self, encoded: Encoded) -> Tensor:
        hidden = super().hidden(encoded)
        return 0.5 * hidden + 0.5 * hidden.detach()


class Doubled(Classes):
    """Its gradient is twice that of its loss."""

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = super().loss(encoded, batch)
        return 2.0 * total - total.detach(), count


class Clipped(Classes):
    """It falsifies what is passed back to the encoder."""

    def hidden(self, encoded: Encoded) -> Tensor:
        last = encoded.last
        return torch.tanh(self.first(last + 3.0 * (last - last.detach())))


@pytest.mark.parametrize(
    ("head", "is_right"), [(Classes, True), (DetachedHidden, False), (Doubled, False), (Clipped, False)]
)
def test_a_gradient_of_its_own(monkeypatch: pytest.MonkeyPatch, head: type[Head], is_right: bool) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: head if name == "mine" else load(kind, name))
    tests = type("TestMine", (HeadConformance,), {"head": "mine"})()
    tests.test_answers_do_not_move()
    if is_right:
        tests.test_the_gradient_is_that_of_the_loss()
    else:
        with pytest.raises(AssertionError, match="the gradient is not that of the loss"):
            tests.test_the_gradient_is_that_of_the_loss()


@pytest.mark.parametrize("head", ["classify", "tag", "crf", "language", "regress", "ctc", "attend", "generate"])
def test_the_gradients_of_the_heads(head: str) -> None:
    tests = type("TestMine", (HeadConformance,), {"head": head})()
    tests.test_the_gradient_is_that_of_the_loss()
