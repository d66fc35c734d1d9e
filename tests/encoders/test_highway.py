"""`highway`: what a layer passes on is mixed from its output and its input by a gate, in every encoder that stacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seqkit import encoders
from seqkit import recipe as recipes
from seqkit.encoders.scanned import MinGRUCell
from seqkit.encoders.stacking import GATE_BIAS
from seqkit.errors import RecipeError, UsageError
from seqkit.interfaces import Encoder
from seqkit.nn import stack_cells
from seqkit.option_conditions import condition_notes
from seqkit.testing import EncoderConformance
from seqkit.training.transferred import encoder_layers

FACTORIES: dict[str, Callable[..., Encoder]] = {
    name: getattr(encoders, name)
    for name in encoders.__all__
    if "residual" in inspect.signature(getattr(encoders, name), eval_str=False).parameters
} | {
    "stacked": lambda dim, *, hidden, **options: stack_cells(
        "stacked", dim, lambda width: MinGRUCell(width, hidden, 1.0), hidden=hidden, **options
    )
}


def make(name: str, dim: int, **options: Any) -> Any:
    torch.manual_seed(2)
    encoder = FACTORIES[name](dim, hidden=4, highway=True, **options).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return encoder


def mixed(gate: Any, x: Tensor, y: Tensor) -> Tensor:
    """g y + (1 - g) x, number by number: (T, H) each."""
    rows = []
    for before, after in zip(x, y, strict=True):
        g = [1 / (1 + (-(weight @ before) - bias).exp()) for weight, bias in zip(gate.weight, gate.bias, strict=True)]
        rows.append(torch.stack([g[i] * after[i] + (1 - g[i]) * before[i] for i in range(len(g))]))
    return torch.stack(rows)


def test_every_encoder_with_residual_sums_has_it() -> None:
    assert set(FACTORIES) == {*encoders.__all__, "stacked"} - {"Initial", "Initialiser", "none"}


def layer_alone(name: str, encoder: Any, layer: int, x: Tensor) -> Tensor:
    """(T, D) -> (T, H): one layer with the weights of the encoder's, without what comes after it."""
    if name != "tdnn":
        single: Any = FACTORIES[name](x.shape[1], hidden=4).eval()
        single.cells[0].load_state_dict(encoder.cells[layer].state_dict())
        steps: Tensor = single(x[None], torch.tensor([len(x)])).steps[0]
        return steps
    convolution, apart = encoder.convolutions[layer], 2**layer
    wide = torch.nn.functional.pad(x.t(), (apart, apart))
    sums = [(convolution.weight * wide[:, t : t + 2 * apart + 1 : apart]).sum(dim=(1, 2)) for t in range(len(x))]
    return (torch.stack(sums) + convolution.bias).relu()


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dim", [3, 4])
def test_it_mixes_where_the_widths_agree(name: str, dim: int) -> None:
    encoder = make(name, dim, layers=2)
    assert set(encoder.highway) == ({"0", "1"} if dim == 4 else {"1"})
    x = torch.randn(5, dim)
    steps = encoder(x[None], torch.tensor([5])).steps[0]
    for layer in range(2):
        y = layer_alone(name, encoder, layer, x)
        x = mixed(encoder.highway[str(layer)], x, y) if x.shape == y.shape else y
    torch.testing.assert_close(steps, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FACTORIES)
def test_a_layer_begins_by_passing_on_most_of_its_input(name: str) -> None:
    torch.manual_seed(0)
    encoder: Any = FACTORIES[name](4, hidden=4, layers=3, highway=True)
    for gate in encoder.highway.values():
        assert gate.bias.eq(GATE_BIAS).all()
    with torch.no_grad():
        for gate in encoder.highway.values():
            gate.bias.fill_(-40.0)
    x = torch.randn(2, 5, 4)
    torch.testing.assert_close(encoder.eval()(x, torch.tensor([5, 5])).steps, x)


@pytest.mark.parametrize("name", FACTORIES)
def test_it_excludes_residual_sums(name: str) -> None:
    with pytest.raises(UsageError, match="residual and highway are two ways of passing a layer's input on"):
        FACTORIES[name](4, hidden=4, layers=2, residual=True, highway=True)


@pytest.mark.parametrize("name", [name for name in FACTORIES if name != "stacked"])
def test_a_recipe_with_both_is_refused_with_the_line(name: str) -> None:
    text = f"tasks: {{charlm: {{source: python-docs}}}}\nencoder: {{use: {name}, residual: true, highway: true}}\n"
    with pytest.raises(RecipeError) as raised:
        recipes.parse(text.encode(), "r.yaml")
    assert str(raised.value).startswith("r.yaml:2:")
    assert "encoder.highway: has no effect beside encoder.residual; set residual to false, or leave out highway" in str(
        raised.value
    )
    recipes.parse(text.replace("highway: true", "highway: false").encode(), "r.yaml")
    recipes.parse(text.replace("residual: true", "residual: false").encode(), "r.yaml")
    assert condition_notes(getattr(encoders, name))["highway"] == "Only without residual."


@pytest.mark.parametrize("name", FACTORIES)
def test_it_is_refused_where_no_widths_agree(name: str) -> None:
    with pytest.raises(UsageError, match="highway has no effect: the only layer gives 4 numbers for 3"):
        FACTORIES[name](3, hidden=4, layers=1, highway=True)


def test_a_gate_belongs_to_its_layer_when_layers_are_transferred() -> None:
    encoder: Any = encoders.gru(3, hidden=4, layers=3, highway=True, layer_norm=True)
    layers = [set(map(id, layer)) for layer in encoder_layers(encoder)]
    for number, gate in encoder.highway.items():
        assert {id(gate.weight), id(gate.bias)} <= layers[int(number)]
    assert sum(map(len, layers)) == len(list(encoder.parameters()))


class TestLSTM(EncoderConformance):
    encoder = "lstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "highway": True, "dropout": 0.2, "weight_drop": 0.2}


class TestGRUBothWays(EncoderConformance):
    encoder = "gru"
    options: ClassVar[dict[str, Any]] = {"hidden": 3, "layers": 2, "bidirectional": True, "highway": True}


class TestMinGRU(EncoderConformance):
    encoder = "mingru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "highway": True, "layer_norm": True}


class TestCausalTimeDelay(EncoderConformance):
    encoder = "tdnn"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "width": 2, "causal": True, "highway": True}
