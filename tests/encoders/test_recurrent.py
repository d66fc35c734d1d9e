"""Encoders against their slow twins, and what their options promise."""

from __future__ import annotations

import copy
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from seqkit import encoders, kernels
from seqkit.encoders import gru, lstm, none, rnn
from seqkit.encoders.option_types import Initialiser
from seqkit.encoders.recurrent import Recurrent
from seqkit.interfaces import Encoded, Encoder
from seqkit.layers.initialisers import initialise_matrix
from tests.helpers.native import require_native
from tests.reference import encoders as twin

LENGTHS = torch.tensor([5, 1, 7, 3])
T, D, H = 7, 4, 3

CELLS: dict[str, Callable[..., Encoder]] = {
    "rnn": rnn,
    "relu": lambda dim, **options: rnn(dim, nonlinearity="relu", **options),
    "lstm": lstm,
    "gru": gru,
}
SHAPES: dict[str, dict[str, Any]] = {
    "one": {},
    "two": {"layers": 2},
    "both": {"bidirectional": True},
    "deep": {"layers": 3, "bidirectional": True, "residual": True, "layer_norm": True, "initial": "learned"},
    "residual": {"layers": 2, "residual": True},
    "highway": {"layers": 2, "highway": True},
    "highway-deep": {"layers": 3, "bidirectional": True, "highway": True, "layer_norm": True},
    "normed": {"layers": 2, "layer_norm": True, "initial": "learned"},
}


@pytest.fixture(params=["padded", "native"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each test runs with torch's own layers over the padded batch, and with native rows without padding."""
    if request.param == "native":
        require_native()
    with kernels.use(request.param):
        yield request.param


def make(cell: str, *, dim: int = D, dtype: torch.dtype = torch.float64, **options: Any) -> Recurrent:
    """An encoder all of whose numbers are random, biases, norms and learned states too."""
    torch.manual_seed(3)
    encoder = CELLS[cell](dim, hidden=H, **options)
    assert isinstance(encoder, Recurrent)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return encoder.to(dtype)


def data(dtype: torch.dtype = torch.float64, dim: int = D) -> Tensor:
    return torch.randn(len(LENGTHS), T, dim, dtype=dtype, generator=torch.Generator().manual_seed(5))


def weigh(*tensors: Tensor) -> Tensor:
    """One number that depends on every entry differently."""
    total = tensors[0].new_zeros(())
    for number, tensor in enumerate(tensors):
        weights = torch.sin(torch.arange(tensor.numel(), dtype=tensor.dtype) + number)
        total = total + (tensor * weights.view(tensor.shape)).sum()
    return total


def real_outputs(encoded: Encoded, row: int) -> list[Tensor]:
    length = int(LENGTHS[row])
    return [encoded.steps[row, :length], encoded.last[row], *(tensor[row] for tensor in encoded.state)]


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_batch_equals_each_sequence_alone_by_the_papers_equations(cell: str, shape: str) -> None:
    encoder, x = make(cell, **SHAPES[shape]), data()
    encoded = encoder(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = twin.encode(encoder, x[row, :length])
        for got, want in zip(real_outputs(encoded, row), [expected.steps, expected.last, *expected.state], strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
        assert not encoded.steps[row, length:].any()


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_those_of_the_twin(cell: str, shape: str) -> None:
    encoder = make(cell, **SHAPES[shape])
    x, x_twin = data().requires_grad_(), data().requires_grad_()
    encoded = encoder(x, LENGTHS)
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    total = sum(weigh(*real_outputs(encoded, row)) for row in range(len(LENGTHS)))
    got = torch.autograd.grad(total, (x, *parameters))
    expected = [twin.encode(encoder, x_twin[row, :length]) for row, length in enumerate(LENGTHS.tolist())]
    want = torch.autograd.grad(
        sum(weigh(single.steps, single.last, *single.state) for single in expected), (x_twin, *parameters)
    )
    for name, got_grad, want_grad in zip(("x", *names), got, want, strict=True):
        assert want_grad.any(), name
        torch.testing.assert_close(
            got_grad, want_grad, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("shape", ["one", "deep", "highway-deep"])
@pytest.mark.parametrize("cell", CELLS)
def test_single_precision_follows_the_twin_too(cell: str, shape: str) -> None:
    """In float32 another implementation runs (oneDNN has an LSTM of its own), so it is held to the twin again."""
    encoder, x = make(cell, dtype=torch.float32, **SHAPES[shape]), data(torch.float32)
    encoded = encoder(x, LENGTHS)
    exact = copy.deepcopy(encoder).double()
    for row, length in enumerate(LENGTHS.tolist()):
        expected = twin.encode(exact, x[row, :length].double())
        for got, want in zip(real_outputs(encoded, row), [expected.steps, expected.last, *expected.state], strict=True):
            torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("implementation")
def test_equal_lengths_need_no_mask_and_give_the_same() -> None:
    encoder, x = make("lstm", **SHAPES["deep"]), data()
    full = encoder(x[[2]], torch.tensor([T]))
    mixed = encoder(x, LENGTHS)
    for got, want in zip([full.steps, full.last, *full.state], [mixed.steps, mixed.last, *mixed.state], strict=True):
        torch.testing.assert_close(got[0], want[2], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("shape", ["one", "residual", "highway", "normed"])
@pytest.mark.parametrize("cell", CELLS)
def test_two_parts_with_the_state_carried_equal_the_whole(cell: str, shape: str) -> None:
    """Each row is cut at its own place: the state is the one after each sequence's own last step."""
    encoder, x = make(cell, **SHAPES[shape]), data()
    cuts = torch.tensor([2, 1, 6, 3])
    uncut = encoder(x, torch.full((4,), T))
    first = encoder(x, cuts)
    rest = T - cuts
    tail = torch.zeros(4, int(rest.max()), D, dtype=x.dtype)
    for row, cut in enumerate(cuts.tolist()):
        tail[row, : T - cut] = x[row, cut:]
    second = encoder(tail, rest, first.state)
    for row, cut in enumerate(cuts.tolist()):
        joined = torch.cat([first.steps[row, :cut], second.steps[row, : T - cut]])
        torch.testing.assert_close(joined, uncut.steps[row], rtol=0, atol=1e-12)
        for got, want in zip(second.state, uncut.state, strict=True):
            torch.testing.assert_close(got[row], want[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", ["one", "both", "deep", "highway-deep", "normed"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_step_at_a_time_is_the_same_cell(cell: str, shape: str) -> None:
    """Without gradients, a single step takes a faster path."""
    encoder, x, length = make(cell, **SHAPES[shape]), data(), torch.ones(len(LENGTHS), dtype=torch.int64)
    state = None
    for t in range(3):
        want = encoder(x[:, t : t + 1], length, state)
        with torch.no_grad():
            got = encoder(x[:, t : t + 1], length, state)
        assert got.steps.shape == want.steps.shape
        pairs = zip([got.steps, got.last, *got.state], [want.steps, want.last, *want.state], strict=True)
        for got_tensor, want_tensor in pairs:
            torch.testing.assert_close(got_tensor, want_tensor, rtol=0, atol=1e-12)
        state = want.state if encoder.directions == 1 else None


def test_a_state_cannot_be_carried_in_two_directions() -> None:
    encoder = make("lstm", bidirectional=True)
    state = encoder(data(), LENGTHS).state
    with pytest.raises(ValueError, match="two directions"):
        encoder(data(), LENGTHS, state)


@pytest.mark.parametrize("damage", [lambda s: s[:1], lambda s: tuple(tensor[:2] for tensor in s)])
def test_a_state_of_another_shape_is_refused(damage: Callable[[Any], Any]) -> None:
    encoder = make("lstm")
    with pytest.raises(ValueError, match="the state carried on has shapes"):
        encoder(data(), LENGTHS, damage(encoder(data(), LENGTHS).state))


def test_lengths_of_another_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths must be"):
        make("gru")(data(), LENGTHS[:2])


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_nothing_behind_the_end_reaches_values_or_gradients(cell: str, bidirectional: bool) -> None:
    """NaN in the padding: were it multiplied by zero anywhere, it would show."""
    encoder = make(cell, layers=2, bidirectional=bidirectional)
    clean, dirty = data(), data()
    inside = torch.arange(T)[None] < LENGTHS[:, None]
    clean[~inside], dirty[~inside] = 0.0, torch.nan
    results = []
    for x in (clean.requires_grad_(), dirty.requires_grad_()):
        encoded = encoder(x, LENGTHS)
        total = weigh(encoded.steps, encoded.last, *encoded.state)
        results.append([encoded.steps, *torch.autograd.grad(total, (x, *encoder.parameters()))])
    assert not results[1][1][~inside].any()
    assert results[1][1][inside].any()
    for clean_result, dirty_result in zip(*results, strict=True):
        torch.testing.assert_close(clean_result, dirty_result, rtol=0, atol=0)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("option", ["dropout", "input_dropout", "output_dropout"])
def test_dropout_acts_where_it_says_and_only_in_training(option: str) -> None:
    encoder = make("gru", layers=2, **{option: 0.5})
    plain = make("gru", layers=2)
    x, full = data(), torch.full((4,), T)
    assert torch.equal(encoder.eval()(x, full).steps, plain.eval()(x, full).steps)
    assert not torch.allclose(encoder.train()(x, full).steps, plain.train()(x, full).steps)
    dropped = float((encoder(x, full).steps == 0).double().mean())
    assert (0.2 < dropped < 0.8) if option == "output_dropout" else dropped == 0.0


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("locked", [True, False])
def test_locked_dropout_drops_the_same_values_at_each_step(locked: bool) -> None:
    torch.manual_seed(0)
    encoder = lstm(D, hidden=64, output_dropout=0.25, locked=locked)
    dropped = encoder(data(torch.float32), torch.full((4,), T)).steps == 0
    assert dropped.any()
    constant = bool((dropped == dropped[:, :1]).all())
    assert constant is locked
    if locked:
        assert not (dropped[0, 0] == dropped[1, 0]).all(), "each sequence has its own mask"
        assert 0.1 < float(dropped.double().mean()) < 0.4


def test_locked_input_dropout_keeps_the_expected_size() -> None:
    torch.manual_seed(0)
    encoder = rnn(2000, hidden=2, input_dropout=0.3, locked=True)
    assert isinstance(encoder, Recurrent)
    values = encoder._drop(torch.ones(3, 2, 2000), 0.3)
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert float(values.mean()) == pytest.approx(1.0, abs=0.05)


def test_by_default_recurrent_weights_start_orthogonal_and_the_forget_bias_at_1() -> None:
    encoder = lstm(5, hidden=8, layers=2)
    assert isinstance(encoder, Recurrent)
    for cell in encoder.cells:
        _, r, b, c = cell.all_weights[0]
        for gate in torch.split(r, 8):
            torch.testing.assert_close(gate @ gate.t(), torch.eye(8), rtol=0, atol=1e-5)
        assert torch.split(b, 8)[1].eq(1.0).all()
        assert not torch.cat([b[:8], b[16:], c]).any()
    assert encoder.initial is None


def test_forget_bias_sets_the_bias() -> None:
    encoder = lstm(5, hidden=4, forget_bias=-2.5, input_bias=3.5)
    assert isinstance(encoder, Recurrent)
    _, _, b, c = encoder.cells[0].all_weights[0]
    assert (b + c)[4:8].eq(-2.5).all()
    assert (b + c)[:4].eq(3.5).all()
    assert (b + c)[8:].eq(0).all()


def test_update_bias_sets_the_bias_and_draws_nothing() -> None:
    torch.manual_seed(1)
    plain = gru(5, hidden=4)
    torch.manual_seed(1)
    encoder = gru(5, hidden=4, update_bias=3.0)
    assert isinstance(encoder, Recurrent)
    _, _, b, c = encoder.cells[0].all_weights[0]
    assert (b + c)[4:8].eq(3.0).all()
    assert (b + c)[:4].eq(0).all()
    differ = {
        name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, plain.state_dict()[name])
    }
    assert differ == {"cells.0.bias_ih_l0"}


@pytest.mark.usefixtures("implementation")
def test_learned_start_begins_at_zero_and_learns() -> None:
    encoder, plain = gru(D, hidden=H, initial="learned"), gru(D, hidden=H)
    plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if name != "initial"})
    x = data(torch.float32)
    torch.testing.assert_close(encoder(x, LENGTHS).steps, plain(x, LENGTHS).steps)
    assert isinstance(encoder, Recurrent)
    assert encoder.initial is not None
    encoder(x, LENGTHS).last.sum().backward()
    assert encoder.initial.grad is not None
    assert encoder.initial.grad.all()


@pytest.mark.parametrize("name", get_args(Initialiser))
def test_every_initialiser_fills_weights_as_named(name: Initialiser) -> None:
    torch.manual_seed(1)
    weight = torch.full((300, 200), torch.nan)
    initialise_matrix(weight, name)
    spread = {
        "xavier_uniform": (2 / 500) ** 0.5,
        "xavier_normal": (2 / 500) ** 0.5,
        "kaiming_uniform": (2 / 200) ** 0.5,
        "kaiming_normal": (2 / 200) ** 0.5,
        "uniform": (1 / 300 / 3) ** 0.5,
        "normal": (1 / 200) ** 0.5,
    }
    if name == "orthogonal":
        torch.testing.assert_close(weight.t() @ weight, torch.eye(200), rtol=0, atol=1e-4)
    elif name == "identity":
        assert torch.equal(weight, torch.eye(300, 200))
    elif name == "zeros":
        assert not weight.any()
    else:
        assert float(weight.std()) == pytest.approx(spread[name], rel=0.02)
        assert float(weight.mean()) == pytest.approx(0.0, abs=spread[name] / 50)


@pytest.mark.parametrize("name", get_args(Initialiser))
def test_every_initialiser_can_be_named_for_both_weights(name: Initialiser) -> None:
    encoder = gru(D, hidden=H, layers=2, input_init=name, recurrent_init=name)
    assert encoder(data(torch.float32), LENGTHS).steps.isfinite().all()


def test_an_unknown_initialiser_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown initialiser 'magic'"):
        initialise_matrix(torch.empty(2, 2), "magic")  # type: ignore[arg-type]


def test_encoders_give_their_width_and_causality() -> None:
    assert (lstm(4, hidden=6).out_dim, lstm(4, hidden=6).causal) == (6, True)
    assert (lstm(4, hidden=6, bidirectional=True).out_dim, lstm(4, hidden=6, bidirectional=True).causal) == (12, False)
    assert (none(4).out_dim, none(4).causal) == (4, True)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("cell", CELLS)
def test_a_causal_encoder_does_not_see_what_comes_later(cell: str) -> None:
    encoder, x = make(cell, layers=2), data()
    later = x.clone()
    later[:, 4:] = 9.0
    full = torch.full((4,), T)
    torch.testing.assert_close(encoder(x, full).steps[:, :4], encoder(later, full).steps[:, :4], rtol=0, atol=0)
    bidirectional = make(cell, bidirectional=True)
    assert not torch.allclose(bidirectional(x, full).steps[:, :4], bidirectional(later, full).steps[:, :4])


def test_none_passes_steps_through() -> None:
    x = data()
    encoded = none(D)(x, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.equal(encoded.steps[row, :length], x[row, :length])
        assert not encoded.steps[row, length:].any()
        assert torch.equal(encoded.last[row], x[row, length - 1])
    assert encoded.state == ()
    assert torch.equal(none(D)(x, torch.full((4,), T), encoded.state).steps, x)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("cell", CELLS)
def test_a_copy_and_a_saved_state_give_the_same(cell: str) -> None:
    encoder, x = make(cell, **SHAPES["deep"]), data()
    restored = make(cell, **SHAPES["deep"])
    with torch.no_grad():
        for parameter in restored.parameters():
            parameter.zero_()
    restored.load_state_dict(encoder.state_dict())
    want = encoder(x, LENGTHS).steps
    assert torch.equal(restored(x, LENGTHS).steps, want)
    assert torch.equal(copy.deepcopy(encoder)(x, LENGTHS).steps, want)


@pytest.mark.parametrize("name", encoders.__all__)
def test_every_option_is_documented(name: str) -> None:
    factory = getattr(encoders, name)
    if not inspect.isfunction(factory):
        return
    for option, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert f"\n        {option}: " in (factory.__doc__ or ""), option


def test_no_file_hides_a_factory_of_its_name() -> None:
    assert not set(encoders.__all__) & {module.name for module in pkgutil.iter_modules(encoders.__path__)}


def test_importing_the_factories_imports_no_torch() -> None:
    code = "import sys, seqkit.encoders, seqkit.heads, seqkit.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
