"""`jordan`, `slstm`, `lnlstm`, `lngru`: each cell against its equations, and what an encoder must keep."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from seqkit import encoders
from seqkit.encoders import lngru, lnlstm, slstm
from seqkit.encoders.stepped_cells import JordanCell, LayerNormGRUCell, LayerNormLSTMCell, SLSTMCell
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


def random_numbers(cell: nn.Module) -> None:
    """No gain of 1 and no bias of 0 remains."""
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))


def normalised(values: list[Tensor], norm: nn.LayerNorm) -> list[Tensor]:
    """Ba et al. 2016, equation 15, number by number."""
    mean = sum(values, torch.tensor(0.0, dtype=torch.float64)) / len(values)
    deviation = (sum(((value - mean) ** 2 for value in values), torch.zeros(())) / len(values) + norm.eps).sqrt()
    gains = norm.weight.unbind()
    biases = [torch.zeros(())] * len(values) if norm.bias is None else norm.bias.unbind()
    return [(value - mean) / deviation * gain + b for value, gain, b in zip(values, gains, biases, strict=True)]


def product(matrix: Tensor, vector: list[Tensor]) -> list[Tensor]:
    return [sum((w * v for w, v in zip(row, vector, strict=True)), torch.zeros(())) for row in matrix]


def test_lnlstm_computes_its_equations() -> None:
    """One sequence, number by number."""
    torch.manual_seed(0)
    width, x = 3, torch.randn(5, 2, dtype=torch.float64)
    cell = LayerNormLSTMCell(2, width, forget_bias=1.0).double()
    random_numbers(cell)
    h, c = (list(torch.randn(width, dtype=torch.float64)) for _ in range(2))
    y, states = cell(x[:, None], (torch.stack(h)[None], torch.stack(c)[None]))
    for t in range(5):
        from_x = normalised(product(cell.into.weight, list(x[t])), cell.norm_into)
        from_h = normalised(product(cell.back.weight, h), cell.norm_back)
        gates = [a + b for a, b in zip(from_x, from_h, strict=True)]
        i, f, g, o = (gates[number * width : (number + 1) * width] for number in range(4))
        c = [f[k].sigmoid() * c[k] + i[k].sigmoid() * g[k].tanh() for k in range(width)]
        h = [o[k].sigmoid() * value.tanh() for k, value in enumerate(normalised(c, cell.norm_memory))]
        torch.testing.assert_close(y[t, 0], torch.stack(h))
        torch.testing.assert_close(states[0][t, 0], torch.stack(h))
        torch.testing.assert_close(states[1][t, 0], torch.stack(c))


def test_lngru_computes_its_equations() -> None:
    """One sequence, number by number."""
    torch.manual_seed(0)
    width, x = 3, torch.randn(5, 2, dtype=torch.float64)
    cell = LayerNormGRUCell(2, width, update_bias=1.0).double()
    random_numbers(cell)
    h = list(torch.randn(width, dtype=torch.float64))
    y, (states,) = cell(x[:, None], (torch.stack(h)[None],))
    for t in range(5):
        from_x, from_h = product(cell.into.weight, list(x[t])), product(cell.back.weight, h)
        gates_x = normalised(from_x[: 2 * width], cell.norm_gates)
        gates_h = normalised(from_h[: 2 * width], cell.norm_back_gates)
        gates = [(a + b).sigmoid() for a, b in zip(gates_x, gates_h, strict=True)]
        r, z = gates[:width], gates[width:]
        new_x = normalised(from_x[2 * width :], cell.norm_new)
        new_h = normalised(from_h[2 * width :], cell.norm_back_new)
        n = [(new_x[k] + r[k] * new_h[k]).tanh() for k in range(width)]
        h = [(1 - z[k]) * n[k] + z[k] * h[k] for k in range(width)]
        torch.testing.assert_close(y[t, 0], torch.stack(h))
        torch.testing.assert_close(states[t, 0], torch.stack(h))


@pytest.mark.parametrize("factory", [lnlstm, lngru])
def test_the_scale_of_inputs_and_weights_does_not_matter(factory: Any) -> None:
    torch.manual_seed(0)
    encoder, x, length = factory(3, hidden=8).eval(), torch.randn(2, 6, 3), torch.tensor([6, 4])
    expected = encoder(x, length).steps
    with torch.no_grad():
        encoder.cells[0].into.weight.mul_(2.0)
        encoder.cells[0].back.weight.mul_(50.0)
    torch.testing.assert_close(encoder(50.0 * x, length).steps, expected, rtol=1e-2, atol=1e-3)
    assert bool(encoder(1e6 * x, length).steps.isfinite().all())


def test_gates_begin_with_the_biases_that_were_asked_for() -> None:
    of_lstm: Any = lnlstm(3, hidden=4, forget_bias=2.5)
    assert of_lstm.cells[0].norm_into.bias.tolist() == [0.0] * 4 + [2.5] * 4 + [0.0] * 8
    of_gru: Any = lngru(3, hidden=4, update_bias=-1.5)
    assert of_gru.cells[0].norm_gates.bias.tolist() == [0.0] * 4 + [-1.5] * 4


@pytest.mark.parametrize("factory", [lnlstm, lngru])
def test_a_single_number_is_not_normalised(factory: Any) -> None:
    with pytest.raises(UsageError, match=r"hidden: 1 number that is normalised is always 0; set it to 2 or more"):
        factory(3, hidden=1)


@pytest.mark.parametrize("factory", [lnlstm, lngru])
def test_in_half_precision_states_are_kept_in_single(factory: Any) -> None:
    encoder, x = factory(3, hidden=4).eval(), torch.randn(2, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = encoder(x, torch.tensor([3, 3]))
        again = encoder(x, torch.tensor([3, 3]), encoded.state)
    assert {tensor.dtype for tensor in encoded.state} == {torch.float32}
    assert bool(again.steps.isfinite().all())


@pytest.mark.parametrize("name", ["jordan", "slstm", "lnlstm", "lngru"])
def test_it_is_not_exported_and_says_why(name: str) -> None:
    encoder = getattr(encoders, name)(3, hidden=4).eval()
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


class TestLayerNormLSTM(EncoderConformance):
    encoder = "lnlstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "residual": True, "layer_norm": True, "dropout": 0.2}


class TestLayerNormLSTMBothWays(EncoderConformance):
    encoder = "lnlstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "bidirectional": True, "highway": True}


class TestLayerNormGRU(EncoderConformance):
    encoder = "lngru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "highway": True, "dropout": 0.2, "locked": True}


class TestLayerNormGRUBothWays(EncoderConformance):
    encoder = "lngru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True}
