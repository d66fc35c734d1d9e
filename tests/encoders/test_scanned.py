"""`minlstm`, `mingru`, `lru`: the scan against a loop, cells against their equations, what an encoder must keep."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seqkit.encoders import lru, mingru, minlstm
from seqkit.encoders.scanned import LRUCell, MinGRUCell, MinLSTMCell
from seqkit.errors import UsageError
from seqkit.kernels import linear_scan
from seqkit.testing import EncoderConformance


def step_by_step(a: Tensor, b: Tensor, first: Tensor) -> Tensor:
    """The recurrence as it is written."""
    h, steps = first, []
    for t in range(len(b)):
        h = (a if a.dim() == 1 else a[t]) * h + b[t]
        steps.append(h)
    return torch.stack(steps)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("kind", ["each step", "constant", "complex"])
def test_the_scan_is_the_loop_and_so_is_its_gradient(steps: int, kind: str) -> None:
    torch.manual_seed(steps)
    dtype = torch.complex128 if kind == "complex" else torch.float64
    a = torch.rand((4,) if kind != "each step" else (steps, 2, 4), dtype=torch.float64).to(dtype)
    if kind == "complex":
        a = a * torch.exp(1j * torch.rand(4, dtype=torch.float64) * 6)
    b, first = torch.randn(steps, 2, 4, dtype=dtype), torch.randn(2, 4, dtype=dtype)
    weights = torch.randn(steps, 2, 4, dtype=dtype)
    results = []
    for run in (linear_scan, step_by_step):
        inputs = [tensor.clone().requires_grad_() for tensor in (a, b, first)]
        h = run(*inputs)
        (h * weights).sum().abs().backward()  # type: ignore[no-untyped-call]
        results.append((h, *[tensor.grad for tensor in inputs]))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_second_derivatives_of_the_scan_are_those_of_the_loop(steps: int) -> None:
    """A penalty on the gradient, which would otherwise drop out without a word."""
    torch.manual_seed(steps)
    a, b = torch.rand(steps, 2, 3, dtype=torch.float64), torch.randn(steps, 2, 3, dtype=torch.float64)
    first = torch.randn(2, 3, dtype=torch.float64)
    results = []
    for run in (linear_scan, step_by_step):
        inputs = [tensor.clone().requires_grad_() for tensor in (a, b, first)]
        grads = torch.autograd.grad(run(*inputs).square().sum(), inputs, create_graph=True)
        penalty = torch.stack([grad.square().sum() for grad in grads]).sum()
        results.append(torch.autograd.grad(penalty, inputs))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_a_step_does_not_depend_on_how_many_follow() -> None:
    a, b = torch.rand(13, 2, 4), torch.randn(13, 2, 4)
    assert torch.equal(linear_scan(a, b)[:5], linear_scan(a[:5], b[:5]))


def test_minlstm_computes_its_equations() -> None:
    torch.manual_seed(0)
    cell = MinLSTMCell(3, 4, forget_bias=1.0).double()
    x, h = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    y, (states,) = cell(x, (h,))
    weights, biases = cell.gates.weight.chunk(3), cell.gates.bias.chunk(3)
    for t in range(6):
        forget, new, candidate = (x[t] @ w.t() + b for w, b in zip(weights, biases, strict=True))
        f, i = forget.sigmoid(), new.sigmoid()
        h = f / (f + i) * h + i / (f + i) * candidate
        torch.testing.assert_close(y[t], h, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(states[t].double(), h, rtol=1e-5, atol=1e-6)
    assert cell.gates.bias[:4].tolist() == [1.0] * 4


def test_mingru_computes_its_equations() -> None:
    torch.manual_seed(0)
    cell = MinGRUCell(3, 4, update_bias=2.0)
    x, h = torch.randn(6, 2, 3), torch.randn(2, 4)
    y, (states,) = cell(x, (h,))
    weights, biases = cell.gates.weight.chunk(2), cell.gates.bias.chunk(2)
    for t in range(6):
        z, candidate = (x[t] @ w.t() + b for w, b in zip(weights, biases, strict=True))
        h = z.sigmoid() * h + (1 - z.sigmoid()) * candidate
        torch.testing.assert_close(y[t], h)
        torch.testing.assert_close(states[t], h)
    assert cell.gates.bias[:4].tolist() == [2.0] * 4
    assert mingru(3, hidden=4).out_dim == 4


def test_lru_computes_its_equations() -> None:
    torch.manual_seed(0)
    cell = LRUCell(3, 4, 5, (0.5, 0.9), 3.0)
    radius = cell.eigenvalues().detach().abs()
    assert float(radius.min()) >= 0.5 - 1e-6
    assert float(radius.max()) <= 0.9 + 1e-6
    torch.testing.assert_close(cell.scale.detach().exp(), (1 - radius**2).sqrt())
    x, first = torch.randn(6, 2, 3), (torch.randn(2, 5), torch.randn(2, 5))
    y, (real, imag) = cell(x, first)
    h = torch.complex(*first)
    into, out = torch.complex(*cell.into), torch.complex(*cell.out)
    for t in range(6):
        h = cell.eigenvalues() * h + cell.scale.exp() * (x[t].to(into.dtype) @ into.t())
        read = torch.nn.functional.gelu((h @ out.t()).real + cell.skip(x[t]))
        value, gate = cell.mix(read).chunk(2, dim=-1)
        torch.testing.assert_close(y[t], value * gate.sigmoid(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.complex(real[t], imag[t]), h, rtol=1e-4, atol=1e-5)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UsageError, match=r"min_radius: 0\.9 should be below max_radius, 0\.5"):
        lru(3, max_radius=0.5)
    x, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    with pytest.raises(ValueError, match="state carried on has shapes"):
        minlstm(3, hidden=4)(x, lengths, (torch.zeros(2, 1, 5),))
    with pytest.raises(ValueError, match="cannot be carried on in two directions"):
        minlstm(3, hidden=4, bidirectional=True)(x, lengths, (torch.zeros(2, 2, 4),))
    with pytest.raises(ValueError, match="that of row 1 is 5"):
        lru(3)(x, torch.tensor([4, 5]))


def test_it_is_not_exported_and_says_why() -> None:
    encoder, example = minlstm(3, hidden=4).eval(), (torch.randn(2, 4, 3), torch.tensor([4, 2]))
    with pytest.raises(Exception, match="minlstm cannot be exported: it computes steps in rounds"):
        torch.export.export(encoder, example, strict=False)


class TestMinLSTM(EncoderConformance):
    encoder = "minlstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2}


class TestBothWays(EncoderConformance):
    encoder = "minlstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True}


class TestMinGRU(EncoderConformance):
    encoder = "mingru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2}


class TestMinGRUBothWays(EncoderConformance):
    encoder = "mingru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True}


class TestLRU(EncoderConformance):
    encoder = "lru"
    options: ClassVar[dict[str, Any]] = {
        "hidden": 6,
        "state": 4,
        "layers": 2,
        "residual": True,
        "layer_norm": True,
        "input_dropout": 0.2,
    }


class TestLRUBothWays(EncoderConformance):
    encoder = "lru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True}
