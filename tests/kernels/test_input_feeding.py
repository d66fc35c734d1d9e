"""The decoder with input feeding whose backward pass is written out, beside the same in plain operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit.kernels import FeedingWeights, feed_readouts
from seqkit.kernels.input_feeding import feed_readouts_by_autograd

TEXTS, STEPS, EMBEDDED, HIDDEN, READOUT, MEMORY = 3, 5, 2, 4, 3, 6
ACTIVE = (3, 3, 2, 1)


def inputs(*, has_mask: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """Penalties of padded steps, a mask, and all that has gradients, in the order of `feed_readouts_by_autograd`."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    penalty = torch.zeros(TEXTS, STEPS, dtype=torch.float64)
    penalty[1, 3:], penalty[2, 1:] = -torch.inf, -torch.inf
    rows = sum(ACTIVE)
    mask = (torch.rand(rows, READOUT, generator=generator) < 0.6).double() / 0.6 if has_mask else None
    state = [draw(TEXTS, HIDDEN), draw(TEXTS, HIDDEN), draw(TEXTS, READOUT)]
    memory = [draw(TEXTS, STEPS, MEMORY), draw(TEXTS, STEPS, HIDDEN)]
    weights = [draw(4 * HIDDEN, EMBEDDED + READOUT), draw(4 * HIDDEN, HIDDEN), draw(4 * HIDDEN)]
    return (
        penalty,
        mask,
        [draw(rows, EMBEDDED), *state, *memory, *weights, draw(READOUT, MEMORY + HIDDEN), draw(READOUT)],
    )


def written_out(penalty: Tensor, mask: Tensor | None, tensors: list[Tensor]) -> Tensor:
    x, h, c, readout, steps, keys, *weights = tensors
    return feed_readouts(FeedingWeights(*weights), x, mask, (h, c, readout), (steps, keys, penalty), ACTIVE)


@pytest.mark.parametrize("has_mask", [False, True])
def test_readouts_and_gradients_are_those_of_plain_operations(has_mask: bool) -> None:
    penalty, mask, tensors = inputs(has_mask=has_mask)
    ours = written_out(penalty, mask, tensors)
    plain = feed_readouts_by_autograd(ACTIVE, penalty, mask, *tensors)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(plain.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    for got, expected in zip(
        torch.autograd.grad(ours, tensors, upstream), torch.autograd.grad(plain, tensors, upstream), strict=True
    ):
        assert expected.abs().max() > 1e-6
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_gradient_can_be_computed_twice_and_differentiated() -> None:
    penalty, mask, tensors = inputs(has_mask=True)
    ours = written_out(penalty, mask, tensors).square().sum()
    first = torch.autograd.grad(ours, tensors, retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(ours, tensors, retain_graph=True), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    plain = feed_readouts_by_autograd(ACTIVE, penalty, mask, *tensors).square().sum()

    def second(value: Tensor) -> Any:
        grads = torch.autograd.grad(value, tensors, create_graph=True)
        return torch.autograd.grad(sum(grad.square().sum() for grad in grads), tensors)

    for got, expected in zip(second(ours), second(plain), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_padding_of_the_memory_has_no_effect() -> None:
    penalty, mask, tensors = inputs(has_mask=True)
    before = written_out(penalty, mask, tensors)
    with torch.no_grad():
        for memory in tensors[4:6]:
            memory[1, 3:] = 1e6
            memory[2, 1:] = -1e6
    torch.testing.assert_close(written_out(penalty, mask, tensors), before, rtol=0, atol=0)
