"""Dropout of recurrent encoders: every kernel drops the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit.encoders import gru, lstm
from seqkit.kernels import by_example, use
from tests.helpers.native import require_native


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [lstm, gru])
def test_kernels_drop_the_same(cell: Any, bidirectional: bool, locked: bool) -> None:
    require_native()
    torch.manual_seed(2)
    encoder = cell(
        5,
        hidden=6,
        layers=3,
        bidirectional=bidirectional,
        locked=locked,
        dropout=0.4,
        input_dropout=0.2,
        output_dropout=0.3,
    )
    x, lengths = torch.randn(4, 7, 5), torch.tensor([7, 2, 1, 5])

    def run(kernels: Any, rows: list[int], time: int = 7) -> tuple[Tensor, Tensor]:
        """(B, T, H) of some rows, and the gradient of a weight."""
        encoder.zero_grad()
        with use(kernels), by_example(1, 2, torch.tensor([3, 8, 5, 1])[rows]):
            steps = encoder(x[rows, :time], lengths[rows]).steps
        steps.square().sum().backward()
        return steps.detach(), encoder.cells[0].weight_ih_l0.grad.clone()

    expected = run("padded", [0, 1, 2, 3])
    assert float((expected[0] == 0).double().mean()) > 0.2
    for kernels in ("native", "stepwise"):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(run(kernels, [0, 1, 2, 3]), expected, strict=True))
        halves = run(kernels, [0, 3]), run(kernels, [1, 2], 2)
        assert torch.allclose(halves[0][0], expected[0][[0, 3]], atol=1e-5)
        assert torch.allclose(halves[1][0], expected[0][[1, 2], :2], atol=1e-5)
        assert torch.allclose(halves[0][1] + halves[1][1], expected[1], atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", [lstm, gru])
def test_random_first_states_are_drawn_by_example_in_training_alone(cell: Any, bidirectional: bool) -> None:
    require_native()
    torch.manual_seed(3)
    encoder = cell(5, hidden=6, layers=2, bidirectional=bidirectional, dropout=0.3, initial="random")
    zero = cell(5, hidden=6, layers=2, bidirectional=bidirectional, dropout=0.3)
    zero.load_state_dict(encoder.state_dict())
    x, lengths = torch.randn(1, 7, 5).expand(4, -1, -1), torch.tensor([7, 7, 3, 7])

    def run(kernels: Any, numbers: list[int], step: int = 2) -> Tensor:
        with use(kernels), by_example(1, step, torch.tensor(numbers)):
            steps: Tensor = encoder(x[: len(numbers)], lengths[: len(numbers)]).steps
        return steps.detach()

    expected = run("native", [4, 5, 6, 4])
    assert torch.equal(expected[0], expected[3])
    assert not torch.allclose(expected[0], expected[1], atol=1e-4)
    assert not torch.allclose(expected[:2], run("native", [4, 5], step=3), atol=1e-4)
    for kernels in ("padded", "stepwise"):
        assert torch.allclose(run(kernels, [4, 5, 6, 4]), expected, atol=1e-5)
    assert torch.allclose(run("native", [4, 5]), expected[:2], atol=1e-5)
    assert torch.equal(encoder.eval()(x, lengths).steps, zero.eval()(x, lengths).steps)
    first = encoder.train()._initial_states(x, None)
    values = torch.stack([torch.stack(state) for state in first])
    assert 0.05 < float(values.abs().max()) <= 0.1
    assert float(values.mean().abs()) < 0.02
