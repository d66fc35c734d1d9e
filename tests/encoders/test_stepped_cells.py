"""`jordan` and `slstm`: each cell against its equations, and what an encoder must keep."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from seqkit.encoders import jordan, slstm
from seqkit.encoders.stepped_cells import JordanCell, SLSTMCell
from seqkit.errors import UsageError
from seqkit.testing import EncoderConformance


def test_jordan_computes_its_equations() -> None:
    torch.manual_seed(0)
    cell = JordanCell(3, 4, decay=0.25)
    x, s = torch.randn(6, 2, 3), torch.randn(2, 4)
    y, (states,) = cell(x, (s,))
    for t in range(6):
        h = torch.tanh(x[t] @ cell.into.weight.t() + cell.into.bias + s @ cell.back.weight.t())
        output = torch.tanh(h @ cell.out.weight.t() + cell.out.bias)
        s = 0.25 * s + output
        torch.testing.assert_close(y[t], output)
        torch.testing.assert_close(states[t], s)


@pytest.mark.parametrize("heads", [1, 3])
def test_slstm_computes_its_equations_without_logarithms(heads: int) -> None:
    """With gates as they are written, in double precision, where the exponentials of small numbers do not overflow."""
    torch.manual_seed(0)
    cell, width = SLSTMCell(3, 6, heads, forget_bias=1.0), 6 // heads
    x = torch.randn(7, 2, 3)
    y, states = cell(x, None)
    back = torch.zeros(6, 4, 6, dtype=torch.float64)  # of all numbers of h, for each gate
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        back[rows, :, rows] = cell.back[head].detach().double().view(width, 4, width)
    into, bias = cell.into.weight.detach().double(), cell.into.bias.detach().double()
    h, c, n = (torch.zeros(2, 6, dtype=torch.float64) for _ in range(3))
    for t in range(7):
        gates = (x[t].double() @ into.t() + bias).view(2, 4, 6) + torch.einsum("bi,igj->bgj", h, back)
        z, i, f, o = gates[:, 0].tanh(), gates[:, 1].exp(), gates[:, 2].sigmoid(), gates[:, 3].sigmoid()
        c, n = f * c + i * z, f * n + i
        h = o * c / n
        torch.testing.assert_close(y[t].double(), h, rtol=1e-4, atol=1e-5)
        scale = states[3][t].double().exp()
        torch.testing.assert_close(states[1][t].double() * scale, c, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(states[2][t].double() * scale, n, rtol=1e-4, atol=1e-5)
    assert bias[12:18].tolist() == [1.0] * 6


def test_slstm_stays_finite_where_its_exponentials_would_not() -> None:
    cell = SLSTMCell(3, 6, 1, forget_bias=1.0)
    x = (1000.0 * torch.randn(20, 2, 3)).requires_grad_()
    y, _ = cell(x, None)
    y.sum().backward()
    assert bool(y.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_heads_are_equally_large() -> None:
    with pytest.raises(UsageError, match="heads: 4 parts of 6 hidden numbers are not equally large"):
        slstm(3, hidden=6, heads=4)


@pytest.mark.parametrize("name", ["jordan", "slstm"])
def test_it_is_not_exported_and_says_why(name: str) -> None:
    encoder = {"jordan": jordan, "slstm": slstm}[name](3, hidden=4).eval()
    with pytest.raises(Exception, match=f"{name} cannot be exported: it computes steps in rounds"):
        torch.export.export(encoder, (torch.randn(2, 4, 3), torch.tensor([4, 2])), strict=False)


class TestJordan(EncoderConformance):
    encoder = "jordan"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2}


class TestJordanBothWays(EncoderConformance):
    encoder = "jordan"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True, "decay": 0.5}


class TestSLSTM(EncoderConformance):
    encoder = "slstm"
    options: ClassVar[dict[str, Any]] = {
        "hidden": 6,
        "heads": 2,
        "layers": 2,
        "residual": True,
        "layer_norm": True,
        "dropout": 0.2,
    }


class TestSLSTMBothWays(EncoderConformance):
    encoder = "slstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True}
