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
