"""`regress` with a number at each step and with the next values, against the same numbers computed one by one."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from seqkit.errors import UsageError
from seqkit.fields import NextValues, Scaling, StepValues, Values, Vectors
from seqkit.heads import regress
from seqkit.interfaces import Batch, Encoded
from seqkit.testing import HeadConformance

LENGTHS = torch.tensor([4, 1, 3])
B, T, H = 3, 4, 5


def encoded(seed: int = 0) -> Encoded:
    steps = torch.randn(B, T, H, generator=torch.Generator().manual_seed(seed))
    steps[torch.arange(T)[None] >= LENGTHS[:, None]] = 0.0
    return Encoded(steps, LENGTHS, steps[torch.arange(B), LENGTHS - 1], tuple)


def losses(kind: str, mean: float, y: float, log_variance: float) -> float:
    error = mean - y
    if kind == "mse":
        return error**2
    if kind == "mae":
        return abs(error)
    if kind == "huber":
        return 0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5
    return 0.5 * (math.log(2 * math.pi) + log_variance + error**2 / math.exp(log_variance))


@pytest.mark.parametrize("width", [None, 2])
@pytest.mark.parametrize("kind", ["mse", "mae", "huber", "gaussian"])
def test_numbers_at_each_step_are_learned_and_predicted_step_by_step(kind: Any, width: int | None) -> None:
    dice = np.random.default_rng(0)
    values = [dice.normal(size=(n,) if width is None else (n, width)) * 4 + 9 for n in LENGTHS.tolist()]
    target = StepValues(width).fit(values)
    head: Any = regress(H, target, None, loss=kind)
    y = torch.zeros(B, T, target.size)
    for row, value in enumerate(values):
        y[row, : len(value)] = torch.from_numpy(target.encode(value.tolist()))
    y[0, 2, 0] = torch.nan  # not known
    batch = Batch(torch.zeros(B, T, 1), LENGTHS, y, LENGTHS)
    loss, count = head.loss(encoded(), batch)
    expected, terms = 0.0, 0
    for row in range(B):
        for step in range(int(LENGTHS[row])):
            out = head.out(encoded().steps[row, step]).detach()
            for k in range(target.size):
                if not math.isnan(float(y[row, step, k])):
                    log_variance = float(out[target.size + k]) if kind == "gaussian" else 0.0
                    expected, terms = (
                        expected + losses(kind, float(out[k]), float(y[row, step, k]), log_variance),
                        terms + 1,
                    )
    assert int(count) == terms
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    predictions = head.predict(encoded(), batch)
    for row, prediction in enumerate(predictions):
        assert np.shape(prediction.value) == values[row].shape
        for step, value in enumerate(prediction.value):
            out = head.out(encoded().steps[row, step])[: target.size].detach().numpy()
            assert np.allclose(value, np.squeeze(target.decode(out)[0] if width else target.decode(out)), atol=1e-4)


def test_a_missing_number_has_no_gradient() -> None:
    head: Any = regress(H, StepValues().fit([[1.0, 2.0]]), None)
    x = encoded()
    x.steps.requires_grad_()
    y = torch.full((B, T, 1), torch.nan)
    y[0, 1] = 1.0
    loss, count = head.loss(x, Batch(torch.zeros(B, T, 1), LENGTHS, y, LENGTHS))
    loss.backward()
    assert int(count) == 1
    assert x.steps.grad is not None
    assert bool(x.steps.grad[0, 1].any())
    x.steps.grad[0, 1] = 0.0
    assert not bool(x.steps.grad.any())


def test_every_step_learns_the_same_number_at_each_step() -> None:
    target = Values().fit([1.0, 2.0, 6.0])
    head: Any = regress(H, target, None, every_step=True)
    y = torch.tensor([[0.5], [-1.0], [2.0]])
    loss, count = head.loss(encoded(), Batch(torch.zeros(B, T, 1), LENGTHS, y))
    out = head.out(encoded().steps)[..., 0].detach()
    expected = sum(float((out[b, t] - y[b, 0]) ** 2) for b in range(B) for t in range(int(LENGTHS[b])))
    assert int(count) == int(LENGTHS.sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    prediction = head.predict(encoded(), Batch(torch.zeros(B, T, 1), LENGTHS))[2]
    assert prediction.scores["steps"][-1] == prediction.value
    assert len(prediction.scores["steps"]) == 3
    assert head.needs_causal


def test_next_values_are_given_in_the_units_of_the_series() -> None:
    source = Vectors(2, standardise=True, scaling=Scaling("mean", "deviation")).fit(
        [np.array([[0.0, 5.0], [4.0, 9.0]])]
    )
    target = NextValues(3, history=4).of(source)
    head: Any = regress(H, target, None, loss="gaussian")
    offset, divisor = torch.tensor([[1.0, 2.0]] * B), torch.tensor([[3.0, 0.5]] * B)
    batch = Batch(torch.zeros(B, T, 2), LENGTHS, extra={"offset": offset, "divisor": divisor})
    prediction = head.predict(encoded(), batch)[0]
    out = head.out(encoded().last[0]).detach().numpy()
    mean, log_variance = out[:6].reshape(3, 2), out[6:].reshape(3, 2)
    for h in range(3):
        for c in range(2):
            rows = mean[h, c] * float(divisor[0, c]) + float(offset[0, c])  # standardised
            deviation = source.scale.deviation[c]  # type: ignore[union-attr]
            assert prediction.value[h][c] == pytest.approx(rows * deviation + source.scale.mean[c], abs=1e-4)  # type: ignore[union-attr]
            sd = math.exp(0.5 * log_variance[h, c]) * float(divisor[0, c]) * deviation
            assert prediction.scores["sd"][h][c] == pytest.approx(sd, rel=1e-3)


def test_next_values_cannot_be_learned_at_every_step() -> None:
    target = NextValues(3).of(Vectors(1))
    with pytest.raises(UsageError, match="every_step"):
        regress(H, target, None, every_step=True)


class TestRegress(HeadConformance):
    head = "regress"


class TestGaussian(HeadConformance):
    head: ClassVar[Any] = {"use": "regress", "loss": "gaussian", "pool": "mean"}
    encoders = ({"use": "lstm", "hidden": 12},)


class TestEveryStep(HeadConformance):
    head: ClassVar[Any] = {"use": "regress", "every_step": True, "pool": "max"}
    encoders = ({"use": "gru", "hidden": 8},)

    def _make_cases(self) -> Any:
        return (case for case in super()._make_cases() if not isinstance(case.data.target, NextValues))
