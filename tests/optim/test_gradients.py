"""Norms and clipping give torch's clipped numbers, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqkit.optim.gradients import clip_gradients, global_norm, scale_gradients


@pytest.mark.parametrize("max_norm", [0.01, 5.0, 1000.0, None])
def test_norm_and_clipping_equal_torchs(max_norm: float | None) -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(shape) for shape in ((30, 7), (7,), (1, 2, 3), ())]
    clipped = [gradient.clone() for gradient in gradients]
    norm, expected = global_norm(clipped), nn.utils.get_total_norm(gradients)
    assert torch.equal(norm, expected)
    clip_gradients(clipped, max_norm, norm)
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grads_with_norm_(parameters, torch.inf if max_norm is None else max_norm, expected)
    for gradient, parameter, before in zip(clipped, parameters, gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(gradient, parameter.grad)
        assert torch.equal(gradient, before) == (max_norm in (1000.0, None))


def test_without_gradients_the_norm_is_zero() -> None:
    assert global_norm([]) == 0
    clip_gradients([], 1.0, global_norm([]))


def test_scaling_is_in_place() -> None:
    gradients = [torch.ones(2), torch.ones(1)]
    scale_gradients(gradients, torch.tensor(0.5))
    assert [gradient.tolist() for gradient in gradients] == [[0.5, 0.5], [0.5]]
