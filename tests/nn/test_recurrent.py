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


def options(implementation: str) -> list[tuple[bool, int, bool, bool]]:
    """All of `OPTIONS` for what runs by default, and a few for the others."""
    return OPTIONS if implementation == "native" else OPTIONS[::5]


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
def test_outputs_states_and_gradients_are_torchs(name: str, form: str, has_state: bool, implementation: str) -> None:
    for bidirectional, num_layers, batch_first, bias in options(implementation):
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


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_lengths_are_the_same_as_packing(name: str, has_state: bool, implementation: str) -> None:
    kinds: list[Any] = [RAGGED, tuple(RAGGED), torch.tensor(RAGGED), torch.tensor(RAGGED, dtype=torch.int32)]
    for number, (bidirectional, num_layers, batch_first, bias) in enumerate(options(implementation)):
        lengths = kinds[number % len(kinds)]
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


@pytest.mark.parametrize("name", CELLS)
def test_empty_sequences_keep_their_state(name: str) -> None:
    lengths = [3, 0, 5, 0, 1]
    kept = [0, 2, 4]
    for bidirectional, has_state in product((False, True), (False, True)):
        _, module = pair(name, bidirectional=bidirectional, num_layers=2)
        x = draw_input(5, 5, batch_first=False).requires_grad_()
        hx = draw_state(module, 5) if has_state else None
        output, state = module(x, hx, lengths=lengths)
        some_state = None if hx is None else tuple(s[:, kept] for s in tensors(hx))
        some = None if some_state is None else some_state if module.mode == "LSTM" else some_state[0]
        expected, expected_state = module(x[:, kept], some, lengths=[3, 5, 1])
        assert_same([output[:, kept]], [expected])
        assert bool((output[:, [1, 3]] == 0).all())
        for actual, alone, initial in zip(
            tensors(state), tensors(expected_state), tensors(hx) or [None] * 2, strict=False
        ):
            assert_same([actual[:, kept]], [alone])
            assert_same(
                [actual[:, [1, 3]]], [torch.zeros_like(actual[:, [1, 3]]) if initial is None else initial[:, [1, 3]]]
            )
        found = gradients(module, x, hx, [output, *tensors(state)])
        assert bool((found[0][:, [1, 3]] == 0).all())
        output, state = module(x, hx, lengths=[0] * 5)
        assert bool((output == 0).all())
        assert_same(tensors(state), tensors(hx) or [torch.zeros_like(s) for s in tensors(state)])


@pytest.mark.parametrize("name", CELLS)
def test_empty_batches_and_no_steps(name: str) -> None:
    for batch_first in (False, True):
        reference, module = pair(name, batch_first=batch_first, bidirectional=True)
        empty = draw(0, 5, INPUT) if batch_first else draw(5, 0, INPUT)
        expected = tensors(reference(empty))
        for actual in (module(empty), module(empty, lengths=[])):
            assert [t.shape for t in tensors(actual)] == [t.shape for t in expected]
        no_steps = empty.transpose(0, 1)
        with pytest.raises(RuntimeError, match="Expected sequence length to be larger than 0"):
            module(no_steps)
        output, state = module(no_steps, lengths=[0] * 5)
        assert output.shape == (*no_steps.shape[:2], 2 * HIDDEN)
        assert all(bool((s == 0).all()) for s in tensors(state))


@pytest.mark.parametrize("name", CELLS)
def test_padding_is_not_read(name: str) -> None:
    _, module = pair(name, bidirectional=True, num_layers=2)
    x = draw(6, len(RAGGED), INPUT)
    is_padding = torch.arange(6)[:, None] >= torch.tensor(RAGGED)
    clean = x.clone().requires_grad_()
    dirty = x.masked_fill(is_padding[..., None], float("nan")).requires_grad_()
    results = []
    for batch in (clean, dirty):
        output, state = module(batch, lengths=RAGGED)
        results.append([output, *tensors(state), *gradients(module, batch, None, [output, *tensors(state)])])
    assert_same(*results)


@pytest.mark.parametrize("name", CELLS)
def test_dropout_draws_torchs_numbers(name: str) -> None:
    for packs, bidirectional in product((False, True), (False, True)):
        reference, module = pair(name, bidirectional=bidirectional, num_layers=3, dropout=0.4)
        x: Any = draw(6, len(RAGGED), INPUT)
        if packs:
            x = pack_padded_sequence(x, RAGGED, enforce_sorted=False)
        results = []
        for one in (reference, module):
            torch.manual_seed(9)
            results.append(tensors(one(x)))
        assert_same(*results)
        reference.eval()
        module.eval()
        assert_same(tensors(module(x)), tensors(reference(x)))


@pytest.mark.parametrize("name", CELLS)
def test_dropout_with_lengths_has_the_same_numbers_whatever_the_threads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, module = pair(name, num_layers=2, dropout=0.4)
    x, results = draw(6, len(RAGGED), INPUT), []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        torch.manual_seed(9)
        results.append(tensors(module(x, lengths=RAGGED)))
    assert not torch.equal(results[0][0], tensors(module(x, lengths=RAGGED))[0])
    assert_same(*results)


@pytest.mark.parametrize("name", CELLS)
def test_without_gradients_the_numbers_are_the_same(name: str) -> None:
    for time, batch, has_state, bidirectional in product((1, 5), (1, 4), (False, True), (False, True)):
        reference, module = pair(name, bidirectional=bidirectional, num_layers=2, batch_first=True, bias=has_state)
        x = draw(batch, time, INPUT)
        hx = draw_state(reference, batch) if has_state else None
        with torch.no_grad():
            assert_same(tensors(module(x, hx)), tensors(reference(x, hx)))
        with torch.inference_mode():
            assert_same(tensors(module(x, hx)), tensors(reference(x, hx)))
        module.requires_grad_(False)
        assert_same(tensors(module(x)), tensors(reference(x)))


@pytest.mark.parametrize("name", CELLS)
def test_derivatives_of_first_and_second_order_are_right(name: str) -> None:
    _, module = pair(name, bidirectional=True, num_layers=1)
    lengths = [3, 0, 2]
    weights = dict(module.named_parameters())
    x = draw(3, 3, INPUT).requires_grad_()
    hx = tensors(draw_state(module, 3))

    def run(x: Tensor, *states_and_weights: Tensor) -> tuple[Tensor, ...]:
        states, values = states_and_weights[: len(hx)], states_and_weights[len(hx) :]
        state = states if module.mode == "LSTM" else states[0]
        named = dict(zip(weights, values, strict=True))
        return tuple(tensors(torch.func.functional_call(module, named, (x, state), {"lengths": lengths})))

    assert torch.autograd.gradcheck(run, (x, *hx, *weights.values()), fast_mode=True)
    if name != "RNN relu":  # not differentiable twice where its argument is zero
        assert torch.autograd.gradgradcheck(run, (x, *hx, *weights.values()), fast_mode=True)
