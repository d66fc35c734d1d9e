"""Lengths that do not fit are one error for all kernels, and a batch of no sequences works."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqkit import encoders, kernels
from tests.helpers.native import require_native

CELLS = ("lstm", "gru", "rnn")


@pytest.fixture(params=["padded", "native", "stepwise"])
def kernel(request: pytest.FixtureRequest) -> Any:
    if request.param == "native":
        require_native()
    with kernels.use(request.param):
        yield request.param


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("with_grad", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("time", [1, 5])
@pytest.mark.parametrize("wrong", [-1, 0, 6, 2**40])
def test_lengths_that_do_not_fit(wrong: int, time: int, name: str, bidirectional: bool, with_grad: bool) -> None:
    encoder: Any = getattr(encoders, name)(3, hidden=4, bidirectional=bidirectional)
    with (
        torch.set_grad_enabled(with_grad),
        pytest.raises(ValueError, match=f"from 1 to {time}; that of row 1 is {wrong}"),
    ):
        encoder(torch.randn(3, time, 3), torch.tensor([1, wrong, 1]))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("with_grad", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("time", [0, 1, 5])
def test_a_batch_of_no_sequences(time: int, name: str, bidirectional: bool, layers: int, with_grad: bool) -> None:
    encoder: Any = getattr(encoders, name)(3, hidden=4, bidirectional=bidirectional, layers=layers)
    x = torch.randn(0, time, 3, requires_grad=with_grad)
    with torch.set_grad_enabled(with_grad):
        encoded = encoder(x, torch.zeros(0, dtype=torch.int64))
    width = 8 if bidirectional else 4
    assert encoded.steps.shape == (0, time, width)
    assert encoded.last.shape == (0, width)
    assert all(tensor.shape == (0, layers * (2 if bidirectional else 1), 4) for tensor in encoded.state)
    if with_grad:
        encoded.steps.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["minlstm", "mingru", "lru", "jordan", "slstm", "lnlstm", "lngru"])
@pytest.mark.parametrize("time", [0, 5])
def test_stacked_cells_take_a_batch_of_no_sequences(time: int, name: str, bidirectional: bool, training: bool) -> None:
    noise = {} if name in ("minlstm", "mingru", "lru") else {"zoneout": 0.2}
    encoder: Any = getattr(encoders, name)(3, hidden=4, bidirectional=bidirectional, layers=2, **noise).train(training)
    with kernels.by_example(1, 2, torch.zeros(0, dtype=torch.int64)):
        encoded = encoder(torch.randn(0, time, 3), torch.zeros(0, dtype=torch.int64))
    width = 8 if bidirectional else 4
    assert encoded.steps.shape == (0, time, width)
    assert encoded.last.shape == (0, width)
    assert all(tensor.shape[:2] == (0, 4 if bidirectional else 2) for tensor in encoded.state)
