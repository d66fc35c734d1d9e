"""Dropped recurrent weights: the same for every example of a step, by every kernel, and none outside of training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit.encoders import gru, lstm, rnn
from seqkit.kernels import by_example, dropout_weights
from seqkit.kernels.request import use

FACTORIES = {"rnn": rnn, "lstm": lstm, "gru": gru}
LENGTHS = torch.tensor([7, 4, 1])
NUMBERS = torch.tensor([10, 2**40, 0])


def encoder_of(cell: str, **options: Any) -> Any:
    torch.manual_seed(5)
    return FACTORIES[cell](4, hidden=6, weight_drop=0.5, **options)


def inputs() -> Tensor:
    return torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(1))


def trained_pass(encoder: Any, x: Tensor, lengths: Tensor, numbers: Tensor, step: int = 3) -> Tensor:
    with by_example(1, step, numbers):
        steps: Tensor = encoder.train()(x, lengths).steps
    return steps


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", FACTORIES)
def test_a_pass_is_that_of_an_encoder_whose_weights_are_zero(cell: str, bidirectional: bool) -> None:
    """The slow twin: an encoder in evaluation mode whose weights were multiplied by the mask before."""
    encoder = encoder_of(cell, layers=2, bidirectional=bidirectional)
    x = inputs()
    steps = trained_pass(encoder, x, LENGTHS, NUMBERS)
    twin = copy.deepcopy(encoder).eval()
    masks = []
    with torch.no_grad(), by_example(1, 3, NUMBERS):
        for number, layer in enumerate(twin.cells):
            masks.append(dropout_weights(torch.ones_like(layer.weight_hh_l0), 0.5, number))
            layer.weight_hh_l0.mul_(masks[-1])
    torch.testing.assert_close(steps, twin(x, LENGTHS).steps)
    assert all(set(mask.unique().tolist()) == {0.0, 2.0} for mask in masks)
    assert not torch.equal(masks[0], masks[1])

    steps.square().sum().backward()
    for layer, mask in zip(encoder.cells, masks, strict=True):
        assert layer.weight_hh_l0.grad is not None
        assert not layer.weight_hh_l0.grad[mask == 0].any()
        assert layer.weight_hh_l0.grad[mask > 0].any()
        assert layer.weight_ih_l0.grad.any()


@pytest.mark.parametrize("cell", FACTORIES)
@pytest.mark.parametrize("kernel", ["padded", "native", "stepwise"])
def test_every_kernel_drops_the_same(cell: str, kernel: Any) -> None:
    encoder, x = encoder_of(cell), inputs()
    results = []
    for request in ("padded", kernel):
        encoder.zero_grad()
        with use(request):
            steps = trained_pass(encoder, x, LENGTHS, NUMBERS)
            steps.square().sum().backward()
        results.append((steps, encoder.cells[0].weight_hh_l0.grad.clone()))
    torch.testing.assert_close(results[0], results[1])


def test_parts_of_a_batch_drop_what_the_batch_drops() -> None:
    encoder, x = encoder_of("lstm"), inputs()
    together = trained_pass(encoder, x, LENGTHS, NUMBERS)
    for rows in (slice(0, 1), slice(1, 3)):
        longest = int(LENGTHS[rows].max())
        part = trained_pass(encoder, x[rows, :longest], LENGTHS[rows], NUMBERS[rows])
        torch.testing.assert_close(part, together[rows, :longest])


def test_another_step_drops_others_and_evaluation_none() -> None:
    encoder, x = encoder_of("gru"), inputs()
    one, other, again = (trained_pass(encoder, x, LENGTHS, NUMBERS, step) for step in (3, 4, 3))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    plain = gru(4, hidden=6)
    plain.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder.eval()(x, LENGTHS).steps, plain.eval()(x, LENGTHS).steps)


def test_outside_of_training_by_seqkit_torch_draws() -> None:
    encoder, x = encoder_of("rnn"), inputs()
    encoder.train()
    torch.manual_seed(1)
    one = encoder(x, LENGTHS).steps
    torch.manual_seed(1)
    assert torch.equal(encoder(x, LENGTHS).steps, one)
    assert not torch.equal(encoder(x, LENGTHS).steps, one)


@pytest.mark.parametrize("share", [0.1, 0.7])
def test_the_share_is_that_asked_for(share: float) -> None:
    with by_example(7, 11, torch.tensor([1])):
        weights = dropout_weights(torch.ones(400, 500), share, 0)
    assert float((weights == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(weights.mean()) == pytest.approx(1.0, abs=0.02)


def test_the_bits_are_those_of_the_slow_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(12, 5)
    with by_example(1, 2, torch.tensor([1])):
        native = dropout_weights(weights, 0.3, 4)
        monkeypatch.setattr("seqkit.kernels.draws.runs_native", lambda device: False)
        assert torch.equal(dropout_weights(weights, 0.3, 4), native)
