"""Norms and clipping: torch's own numbers, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqkit.optim.gradients import clip_gradients, global_norm, scale_gradients


@pytest.mark.parametrize("longest", [0.01, 5.0, 1000.0, None])
def test_the_norm_and_what_is_clipped_to_are_torchs(longest: float | None) -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(shape) for shape in ((30, 7), (7,), (1, 2, 3), ())]
    own = [each.clone() for each in gradients]
    norm, true = global_norm(own), nn.utils.get_total_norm(gradients)
    assert torch.equal(norm, true)
    clip_gradients(own, longest, norm)
    parameters = [nn.Parameter(torch.zeros_like(each)) for each in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    nn.utils.clip_grads_with_norm_(parameters, torch.inf if longest is None else longest, true)
    for one, parameter, before in zip(own, parameters, gradients, strict=True):
        assert parameter.grad is not None
        assert torch.equal(one, parameter.grad)
        assert torch.equal(one, before) == (longest in (1000.0, None))


def test_nothing_has_no_length() -> None:
    assert global_norm([]) == 0
    clip_gradients([], 1.0, global_norm([]))


def test_scaling_is_in_place() -> None:
    gradients = [torch.ones(2), torch.ones(1)]
    scale_gradients(gradients, torch.tensor(0.5))
    assert [each.tolist() for each in gradients] == [[0.5, 0.5], [0.5]]
