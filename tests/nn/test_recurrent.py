"""The recurrent modules against torch's own, as drop-ins: outputs, states and gradients over all options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import seqkit.nn
from seqkit.kernels import use
from tests.helpers.native import require_native

CELLS: dict[str, tuple[type[nn.RNNBase], type[nn.RNNBase], dict[str, str]]] = {
    "LSTM": (nn.LSTM, seqkit.nn.LSTM, {}),
    "GRU": (nn.GRU, seqkit.nn.GRU, {}),
    "RNN": (nn.RNN, seqkit.nn.RNN, {}),
    "RNN relu": (nn.RNN, seqkit.nn.RNN, {"nonlinearity": "relu"}),
}
INPUT, HIDDEN = 3, 4
RAGGED = [5, 1, 6, 3, 6, 2, 1, 4, 6, 4, 1, 2, 5, 3, 2, 6, 1]
OPTIONS = list(product((False, True), (1, 2), (False, True), (False, True)))
"""bidirectional, num_layers, batch_first, bias."""


@pytest.fixture(params=["native", "stepwise", "padded"], autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each implementation, with two groups of sequences if a layer has one direction."""
    if request.param == "native":
        require_native()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with use(request.param):
        yield request.param


def pair(name: str, **options: Any) -> tuple[nn.RNNBase, nn.RNNBase]:
    """torch's module and ours, with the same weights in double precision."""
    torchs, ours, more = CELLS[name]
    torch.manual_seed(len(name))
    reference = torchs(INPUT, HIDDEN, **options, **more).double()
    module = ours(INPUT, HIDDEN, **options, **more).double()
    module.load_state_dict(reference.state_dict())
    return reference, module


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draw_input(batch: int, time: int, *, batch_first: bool) -> Tensor:
    """Not contiguous."""
    wide = draw(batch, time, 2 * INPUT) if batch_first else draw(time, batch, 2 * INPUT)
    return wide[..., ::2]


def draw_state(module: nn.RNNBase, *batch: int) -> Any:
    layers = module.num_layers * (1 + module.bidirectional)
    states = tuple(draw(layers, *batch, HIDDEN, seed=2 + k).requires_grad_() for k in range(2))
    return states if module.mode == "LSTM" else states[0]


def tensors(value: Any) -> list[Tensor]:
    """All tensors of an output, a state, or a packed sequence."""
    if value is None:
        return []
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [tensor for item in value for tensor in tensors(item)]


def gradients(module: nn.RNNBase, x: Tensor, hx: Any, results: Sequence[Tensor]) -> list[Tensor]:
    """Of one number that depends on every entry of the results differently."""
    total = sum(
        ((result * draw(*result.shape, seed=50 + n)).sum() for n, result in enumerate(results)), start=torch.zeros(())
    )
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, [x, *tensors(hx), *module.parameters()]))


def assert_same(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("form", ["full", "one sequence", "packed", "packed, longest first"])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_states_and_gradients_are_torchs(name: str, form: str, has_state: bool) -> None:
    for bidirectional, num_layers, batch_first, bias in OPTIONS:
        reference, module = pair(
            name, bidirectional=bidirectional, num_layers=num_layers, batch_first=batch_first, bias=bias
        )
        batch = () if form == "one sequence" else (len(RAGGED),)
        hx = draw_state(reference, *batch) if has_state else None
        lengths = sorted(RAGGED, reverse=True) if form.endswith("first") else RAGGED
        x = draw(6, INPUT) if not batch else draw_input(len(RAGGED), 6, batch_first=batch_first)
        x.requires_grad_()

        def run(one: nn.RNNBase, x: Tensor = x, hx: Any = hx, lengths: list[int] = lengths) -> list[Tensor]:
            given: Any = x
            if form.startswith("packed"):
                is_sorted = form.endswith("first")
                given = pack_padded_sequence(x, lengths, batch_first=one.batch_first, enforce_sorted=is_sorted)
            output, state = one(given, hx)
            if isinstance(given, PackedSequence):
                assert isinstance(output, PackedSequence)
                assert output.batch_sizes is given.batch_sizes
                assert output.unsorted_indices is given.unsorted_indices
            results = [*tensors(output), *tensors(state)]
            return [*results, *gradients(one, x, hx, results)]

        assert_same(run(module), run(reference))


@pytest.mark.parametrize("kind", ["list", "int32 tensor"])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_lengths_are_the_same_as_packing(name: str, has_state: bool, kind: str) -> None:
    lengths: Any = {
        "list": RAGGED,
        "int32 tensor": torch.tensor(RAGGED, dtype=torch.int32),
    }[kind]
    for bidirectional, num_layers, batch_first, bias in OPTIONS:
        reference, module = pair(
            name, bidirectional=bidirectional, num_layers=num_layers, batch_first=batch_first, bias=bias
        )
        hx = draw_state(reference, len(RAGGED)) if has_state else None
        x = draw_input(len(RAGGED), 8, batch_first=batch_first)  # two steps longer than the longest
        x.requires_grad_()
        packed = pack_padded_sequence(x, RAGGED, batch_first=batch_first, enforce_sorted=False)
        packed_output, expected_state = reference(packed, hx)
        expected, _ = pad_packed_sequence(packed_output, batch_first=batch_first, total_length=8)
        output, state = module(x, hx, lengths=lengths)
        for one, results in ((reference, [expected, *tensors(expected_state)]), (module, [output, *tensors(state)])):
            results += gradients(one, x, hx, results)
            if one is reference:
                expected_results = results
        assert_same(results, expected_results)
