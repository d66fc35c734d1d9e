"""The native steps of a stack of layers give what the encoder gives, for any cell, width, batch and number of steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqkit.encoders import gru, lstm, rnn
from seqkit.encoders.recurrent import Recurrent
from seqkit.kernels import stack_steps, use
from seqkit.runtime import native_library
from tests.helpers.native import require_native


def encoder_of(factory: Any, dim: int, **options: Any) -> Recurrent:
    torch.manual_seed(4)
    encoder = factory(dim, **options).eval()
    assert isinstance(encoder, Recurrent)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder


CELLS = [(lstm, {}), (gru, {}), (rnn, {}), (rnn, {"nonlinearity": "relu"})]


@pytest.mark.parametrize("hidden", [1, 16, 37, 64])
@pytest.mark.parametrize(("factory", "options"), CELLS, ids=["lstm", "gru", "tanh", "relu"])
@pytest.mark.parametrize(
    "stacked",
    [
        {},
        {"layers": 3, "residual": True, "layer_norm": True, "initial": "learned"},
        {"layers": 3, "highway": True},
        {"layers": 2, "highway": True, "layer_norm": True},
    ],
    ids=["one", "residual", "highway", "highway-normed"],
)
def test_steps_are_those_of_the_encoder(factory: Any, options: Any, hidden: int, stacked: Any) -> None:
    require_native()
    encoder = encoder_of(factory, 11, hidden=hidden, **options, **stacked)
    stepper = encoder.stepper()
    assert stepper is not None
    run, start = stepper
    lengths = torch.tensor([6, 1, 4, 6, 2])
    x = torch.randn(5, 6, 11, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first = encoder(x, lengths)
        expected = encoder(x, lengths, first.state)
        steps, states = run(x, lengths.tolist(), [start] * 5)
        torch.testing.assert_close(steps, first.steps, atol=2e-5, rtol=1e-5)
        steps, states = run(x, lengths.tolist(), states)
        torch.testing.assert_close(steps, expected.steps, atol=2e-5, rtol=1e-5)
        for kind, tensor in enumerate(expected.state):
            after = torch.stack([state[kind] for state in states])
            torch.testing.assert_close(after, tensor, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("stacked", [{}, {"highway": True}], ids=["plain", "highway"])
@pytest.mark.parametrize(("factory", "options"), CELLS, ids=["lstm", "gru", "tanh", "relu"])
def test_a_sequence_has_the_same_bits_alone_in_company_and_step_by_step(
    factory: Any, options: Any, stacked: Any
) -> None:
    require_native()
    encoder = encoder_of(factory, 5, hidden=21, layers=2, **options, **stacked)
    stepper = encoder.stepper()
    assert stepper is not None
    run, start = stepper
    x = torch.randn(7, 4, 5)
    together, states = run(x, [4] * 7, [start] * 7)
    for row in range(7):
        alone, [state] = run(x[row : row + 1], [4], [start])
        assert torch.equal(alone[0], together[row])
        step = start
        for t in range(4):
            out, [step] = run(x[row : row + 1, t : t + 1], [1], [step])
            assert torch.equal(out[0, 0], together[row, t])
        assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(state, states[row], step, strict=True))


def test_several_threads_give_the_bits_of_one() -> None:
    require_native()
    encoder = encoder_of(lstm, 300, hidden=260)
    stepper = encoder.stepper()
    assert stepper is not None
    run, start = stepper
    assert run._is_large
    x, before = torch.randn(1, 2, 300), torch.get_num_threads()
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            results.append(run(x, [2], [start])[0])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*results)


def test_what_does_not_fit_is_an_error_and_not_a_read_beyond_the_end() -> None:
    require_native()
    run, start = encoder_of(lstm, 3, hidden=4).stepper() or pytest.fail("no native steps")
    x = torch.zeros(1, 2, 3)
    for state in (
        (),
        start[:1],
        (start[0][:, :2], start[1]),
        tuple(t.double() for t in start),
        (start[0][0], start[1]),
    ):
        with pytest.raises(ValueError, match="a state should be"):
            run(x, [2], [state])
    for steps, lengths in ((x[..., :2], [2]), (x.double(), [2]), (x, [3]), (x, [1, 1])):
        with pytest.raises(ValueError, match="steps should be"):
            run(steps, lengths, [start] * len(lengths))


def test_no_state_that_is_given_is_changed() -> None:
    require_native()
    run, start = encoder_of(lstm, 3, hidden=4).stepper() or pytest.fail("no native steps")
    kept = [tensor.clone() for tensor in start]
    run(torch.randn(2, 3, 3), [3, 1], [start, start])
    assert all(torch.equal(*pair) for pair in zip(start, kept, strict=True))


def test_there_are_no_native_steps_where_another_implementation_is_asked_for() -> None:
    with use("padded"):
        assert encoder_of(lstm, 3, hidden=4).stepper() is None
    assert encoder_of(lstm, 3, hidden=4, bidirectional=True).stepper() is None
    double = encoder_of(lstm, 3, hidden=4).double()
    assert stack_steps([double._cell(0)], None, residual=False, highway=[None]) is None


def test_the_library_for_streams_leaves_the_other_as_it_is() -> None:
    require_native()
    steps, other = native_library.load_native_steps(), native_library.load_native()
    assert steps.library is not None, steps.description
    assert steps.key != other.key
    assert '#include "native.cpp"' in native_library.STEP_SOURCE.read_text()
