"""Zoneout: against a plain loop, drawn by example, and carried from window to window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import pytest
import torch
from torch import Tensor, nn

from seqkit import encoders
from seqkit.encoders import zoneout
from seqkit.encoders.stepped_cells import JordanCell, LayerNormGRUCell, LayerNormLSTMCell, SLSTMCell
from seqkit.kernels import by_example, draw_uniform
from seqkit.testing import EncoderConformance

H, SHARE = 6, 0.3
LENGTHS, NUMBERS = torch.tensor([9, 2, 5, 7]), torch.tensor([11, 2**40, 8, 0])

Kept: TypeAlias = Callable[[int, int], Tensor]
"""(step, part of the state) -> (H,): how much of the old value remains."""

CELLS: dict[str, Callable[[float], nn.Module]] = {
    "jordan": lambda share: JordanCell(3, H, 0.25, zoneout=share),
    "slstm": lambda share: SLSTMCell(3, H, 2, 1.0, zoneout=share),
    "lnlstm": lambda share: LayerNormLSTMCell(3, H, 1.0, zoneout=share),
    "lngru": lambda share: LayerNormGRUCell(3, H, 0.0, zoneout=share),
}
PARTS = {"jordan": (0,), "slstm": (0, 1, 1), "lnlstm": (0, 1), "lngru": (0,)}
"""For each tensor of a state, which of the independent draws is for it."""


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """All that is drawn for zoneout, one block (T, B, H x parts) after the other."""
    recorded: list[Tensor] = []

    def draw(*arguments: Any) -> Tensor:
        recorded.append(draw_uniform(*arguments))
        return recorded[-1]

    monkeypatch.setattr(zoneout, "draw_uniform", draw)
    return recorded


def larger_weights(module: nn.Module) -> Any:
    """None that is 0 or 1 remains, and states differ from step to step."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return module


def cell_of(name: str, share: float) -> Any:
    torch.manual_seed(3)
    return larger_weights(CELLS[name](share))


def encoder_of(name: str, **options: Any) -> Any:
    torch.manual_seed(3)
    return larger_weights(getattr(encoders, name)(3, **{"hidden": H, "zoneout": SHARE, **options}))


def inputs() -> Tensor:
    return torch.randn(4, 9, 3, generator=torch.Generator().manual_seed(1))


def true_states(states: tuple[Tensor, ...]) -> list[Tensor]:
    """In double precision, and those of an sLSTM without the logarithm that they are divided by."""
    *tensors, last = (tensor.double() for tensor in states)
    return [tensors[0], *(tensor * last.exp() for tensor in tensors[1:])] if len(states) == 4 else [*tensors, last]


def loop_over_steps(name: str, x: Tensor, kept: Kept) -> tuple[Tensor, list[Tensor]]:
    """The slow twin: (T, D) -> (T, H), and the true states (T, H), by a cell without zoneout that sees step by step."""
    plain = cell_of(name, 0.0)
    state = [torch.zeros(H, dtype=torch.float64) for _ in PARTS[name]]
    outputs, states = [], []
    for t, step in enumerate(x):
        undivided = [torch.zeros(H)] if name == "slstm" else []
        y, of_steps = plain(step[None, None], tuple(tensor.float()[None] for tensor in (*state, *undivided)))
        new = [tensor[0, 0] for tensor in true_states(of_steps)]
        for number, part in enumerate(PARTS[name]):
            share = kept(t, part).double()
            state[number] = share * state[number] + (1.0 - share) * new[number]
        outputs.append(y[0, 0] if name == "jordan" else state[0].float())
        states.append(list(state))
    return torch.stack(outputs), [torch.stack(tensors) for tensors in zip(*states, strict=True)]


def assert_is_loop(name: str, x: Tensor, y: Tensor, states: tuple[Tensor, ...], kept: Kept) -> None:
    """(T, D), (T, H), the states (T, H) of a cell: they are those of the slow twin."""
    outputs, expected = loop_over_steps(name, x, kept)
    torch.testing.assert_close(y, outputs, rtol=1e-4, atol=1e-5)
    for actual, tensor in zip(true_states(states), expected, strict=True):
        torch.testing.assert_close(actual, tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_in_evaluation_a_state_is_the_expectation(name: str) -> None:
    x = inputs()[0]
    y, states = cell_of(name, SHARE).eval()(x[:, None], None)
    assert_is_loop(name, x, y[:, 0], tuple(tensor[:, 0] for tensor in states), lambda t, part: torch.full((H,), SHARE))


@pytest.mark.parametrize("name", CELLS)
def test_in_training_it_keeps_what_was_drawn(name: str, draws: list[Tensor]) -> None:
    """In two windows: the first step of the second one may keep what was carried."""
    cell, x = cell_of(name, SHARE).train(), inputs().transpose(0, 1)
    first, state = cell(x[:4], None)
    second, states = cell(x[4:], tuple(tensor[-1] for tensor in state))
    drawn = torch.cat(draws) < SHARE
    assert len(draws) == 2
    for row in range(4):
        y = torch.cat([first, second])[:, row]
        both = tuple(torch.cat(tensors)[:, row] for tensors in zip(state, states, strict=True))
        assert_is_loop(name, x[:, row], y, both, lambda t, part, row=row: drawn[t, row, part * H : (part + 1) * H])
    kept = drawn[4, :, :H]
    assert bool(kept.any())
    assert torch.equal(states[0][0][kept], state[0][-1][kept])


@pytest.mark.parametrize("name", CELLS)
def test_as_many_are_kept_as_the_share_says(name: str) -> None:
    cell, x = cell_of(name, SHARE).train(), torch.randn(200, 10, 3)
    _, states = cell(x, None)
    kept = [(tensor[1:] == tensor[:-1]).float() for tensor in states]
    assert [float(tensor.mean()) for tensor in kept] == pytest.approx([SHARE] * len(kept), abs=0.02)
    if PARTS[name] == (0, 1):
        assert float((kept[0] * kept[1]).mean()) == pytest.approx(SHARE**2, abs=0.02)
    if name == "slstm":
        assert torch.equal(kept[1], kept[2])


def trained_pass(encoder: Any, rows: list[int], *, time: int | None = None, step: int = 3) -> tuple[Any, list[Tensor]]:
    """Some examples in training, and the gradients of all weights. What is padding is NaN."""
    steps = int(LENGTHS[rows].max()) if time is None else time
    x = nn.functional.pad(inputs()[rows], (0, 0, 0, max(0, steps - 9)))[:, :steps]
    x = x.masked_fill((torch.arange(steps)[None] >= LENGTHS[rows][:, None])[..., None], torch.nan)
    encoder.train().zero_grad()
    with by_example(1, step, NUMBERS[rows]):
        encoded = encoder(x, LENGTHS[rows])
    encoded.steps.square().sum().backward()
    return encoded, [parameter.grad.clone() for parameter in encoder.parameters()]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_an_example_keeps_the_same_alone_and_among_others(name: str, bidirectional: bool) -> None:
    encoder = encoder_of(name, layers=2, bidirectional=bidirectional, dropout=0.2)
    together, gradients = trained_pass(encoder, [0, 1, 2, 3])
    for parts in ([[0], [1], [2], [3]], [[3, 1], [2, 0]], [[1, 2, 3, 0]]):
        sums = [torch.zeros_like(gradient) for gradient in gradients]
        for rows in parts:
            part, of_part = trained_pass(encoder, rows, time=12 if 3 in rows else None)
            sums = [total + gradient for total, gradient in zip(sums, of_part, strict=True)]
            for place, row in enumerate(rows):
                length = int(LENGTHS[row])
                torch.testing.assert_close(part.steps[place, :length], together.steps[row, :length])
                torch.testing.assert_close(part.last[place], together.last[row])
                for actual, expected in zip(part.state, together.state, strict=True):
                    torch.testing.assert_close(actual[place], expected[row])
        torch.testing.assert_close(sums, gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CELLS)
def test_each_example_step_layer_and_direction_keeps_others(name: str, draws: list[Tensor]) -> None:
    encoder = encoder_of(name, layers=2, bidirectional=True)
    trained_pass(encoder, [0, 1, 2, 3])
    trained_pass(encoder, [0, 1, 2, 3], step=4)
    assert [tuple(block.shape) for block in draws] == [(9, 4, H * (PARTS[name][-1] + 1))] * 8
    assert len({tuple(row.tolist()) for block in draws for row in block.flatten(0, 1)}) == 8 * 9 * 4


@pytest.mark.parametrize("name", CELLS)
def test_in_evaluation_nothing_is_drawn_and_windows_do_not_matter(name: str, draws: list[Tensor]) -> None:
    encoder, x = encoder_of(name, layers=2).eval(), inputs()
    expected = encoder(x, torch.tensor([9] * 4))
    state, pieces = None, []
    for piece in x.split([1, 5, 3], dim=1):
        encoded = encoder(piece, torch.tensor([piece.shape[1]] * 4), state)
        state = encoded.state
        pieces.append(encoded.steps)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected.steps)
    torch.testing.assert_close(state, expected.state)
    assert not draws
    plain = encoder_of(name, layers=2, zoneout=0.0).eval()
    assert not torch.allclose(plain(x, LENGTHS).steps, encoder(x, LENGTHS).steps, atol=1e-3)


def test_without_zoneout_nothing_is_drawn(draws: list[Tensor]) -> None:
    for name in CELLS:
        trained_pass(encoder_of(name, zoneout=0.0), [0, 1])
    assert not draws


def test_what_an_slstm_divides_by_does_not_shrink_to_nothing() -> None:
    """All new memory is far smaller than the first one, of which a tenth remains at each step."""
    cell = SLSTMCell(1, 2, 1, forget_bias=-60.0, zoneout=0.1).eval()
    with torch.no_grad():
        cell.back.zero_()
        cell.into.weight[0:2] = 1.0  # candidates
        cell.into.weight[2:].zero_()
        cell.into.bias[2:4] = -300.0  # input gates
    state = (torch.zeros(1, 2), torch.full((1, 2), 0.5), torch.ones(1, 2), torch.zeros(1, 2))
    x = torch.randn(200, 1, 1, requires_grad=True)
    y, states = cell(x, state)
    c, n, h = (tensor[0].double() for tensor in (state[1], state[2], state[0]))
    for t in range(200):
        forget, new = torch.tensor(-60.0).double().sigmoid(), torch.tensor(-300.0).double().exp()
        new_c, new_n = forget * c + new * x[t, 0].double().tanh(), forget * n + new
        h = 0.1 * h + 0.9 * 0.5 * new_c / new_n
        c, n = 0.1 * c + 0.9 * new_c, 0.1 * n + 0.9 * new_n
        torch.testing.assert_close(y[t, 0].double(), h.expand(2), rtol=1e-3, atol=1e-4)
    assert float(states[2].detach().min()) >= 1.0
    y.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("name", CELLS)
def test_in_half_precision_states_are_kept_in_single(name: str) -> None:
    for training in (True, False):
        encoder, x = encoder_of(name).train(training), inputs()
        with torch.autocast("cpu", torch.bfloat16):
            encoded = encoder(x, LENGTHS)
            again = encoder(x, LENGTHS, encoded.state)
        assert {tensor.dtype for tensor in again.state} == {torch.float32}
        assert bool(again.steps.isfinite().all())


class TestJordan(EncoderConformance):
    encoder = "jordan"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "decay": 0.5, "zoneout": 0.4}


class TestSLSTM(EncoderConformance):
    encoder = "slstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "heads": 2, "layers": 2, "zoneout": 0.1}


class TestSLSTMBothWays(EncoderConformance):
    encoder = "slstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "bidirectional": True, "zoneout": 0.5}


class TestLayerNormLSTM(EncoderConformance):
    encoder = "lnlstm"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "residual": True, "zoneout": 0.3}


class TestLayerNormGRU(EncoderConformance):
    encoder = "lngru"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "layers": 2, "bidirectional": True, "zoneout": 0.2}
