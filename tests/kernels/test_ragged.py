"""Index arithmetic on lengths."""

from __future__ import annotations

import pytest
import torch

from seqkit import mask_of, read_back, real_steps


@pytest.mark.parametrize("lengths", [[3, 1, 2], [4, 4, 4], [1, 4, 1]])
def test_real_steps_are_those_of_a_mask(lengths: list[int]) -> None:
    steps = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(sum(lengths), 5, generator=torch.Generator().manual_seed(1))
    real, masked = real_steps(steps, torch.tensor(lengths)), steps[mask_of(torch.tensor(lengths), 4)]
    assert torch.equal(real, masked)
    gradients = [torch.autograd.grad(rows, steps, weights)[0] for rows in (real, masked)]
    assert torch.equal(*gradients)


def test_tensors_of_the_cpu_are_read_back_as_they_are() -> None:
    numbers, truths = torch.arange(3), torch.tensor([True, False])
    assert all(map(torch.equal, read_back(numbers, truths), (numbers, truths)))
