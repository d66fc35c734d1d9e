"""Casts for cuDNN's recurrent layers: all in one operation, with the numbers and gradients of one cast each."""

from __future__ import annotations

import pytest
import torch

from seqkit.kernels.cudnn_precision import FlatLayout, cast_together


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casts_together_are_those_of_each_tensor(dtype: torch.dtype) -> None:
    weights = [torch.randn(8, 3, requires_grad=True), torch.randn(8, requires_grad=True)]
    others = [torch.randn(5, 2, 3, requires_grad=True), torch.randn(2, 1).expand(2, 4)]
    cast = cast_together(dtype, FlatLayout(40, (0, 28)), weights, others)
    alone = [tensor.to(dtype) for tensor in (*weights, *others)]
    for one, other in zip(cast, alone, strict=True):
        assert one.dtype == dtype
        assert one.is_contiguous()
        assert torch.equal(one, other)
    assert cast[1].data_ptr() - cast[0].data_ptr() == 28 * 2, "weights are where cuDNN looks for them"
    needed = [*weights, others[0]]
    for one, other in zip(
        torch.autograd.grad([(tensor * 3).sum() for tensor in cast[:3]], needed),
        torch.autograd.grad([(tensor * 3).sum() for tensor in alone[:3]], needed),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_a_tensor_that_no_loss_depends_on_has_no_gradient() -> None:
    weight, other = torch.randn(4, 2, requires_grad=True), torch.randn(2, requires_grad=True)
    cast = cast_together(torch.bfloat16, FlatLayout(8, (0,)), [weight], [other])
    grads = torch.autograd.grad(cast[1].sum(), [weight, other], allow_unused=True)
    assert grads[0] is None
    assert torch.equal(grads[1], torch.ones(2))
