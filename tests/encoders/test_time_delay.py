"""`tdnn`: its sums written out, its reach, what it carries, and what an encoder must keep."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seqkit.encoders import tdnn
from seqkit.encoders.time_delay import TimeDelay
from seqkit.errors import UsageError
from seqkit.testing import EncoderConformance


def one_step_at_a_time(encoder: TimeDelay, x: Tensor) -> Tensor:
    """(T, D) -> (T, H): each sum over the steps that a layer sees, with nothing outside of the sequence."""
    for convolution, apart in zip(encoder.convolutions, encoder.dilations, strict=True):
        weight, bias = convolution.weight, convolution.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        rows = []
        for t in range(len(x)):
            total = bias
            for k in range(encoder.width):
                back = encoder.width - 1 - k if encoder.causal else (encoder.width - 1) // 2 - k
                source = t - back * apart
                if 0 <= source < len(x):
                    total = total + weight[:, :, k] @ x[source]
            rows.append(total.relu())
        x = torch.stack(rows)
    return x


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("width", "dilation"), [(3, 2), (5, 1)])
def test_each_step_is_the_sum_that_it_says(causal: bool, width: int, dilation: int) -> None:
    torch.manual_seed(0)
    encoder = tdnn(3, hidden=4, layers=2, width=width, dilation=dilation, causal=causal)
    assert isinstance(encoder, TimeDelay)
    lengths = torch.tensor([9, 4])
    x = torch.randn(2, 9, 3)
    encoded = encoder(x, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = one_step_at_a_time(encoder, x[row, :length])
        torch.testing.assert_close(encoded.steps[row, :length], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(encoded.last[row], expected[-1], rtol=1e-5, atol=1e-6)


def test_a_step_sees_as_far_as_the_docstring_says() -> None:
    encoder = tdnn(2, hidden=3)
    assert isinstance(encoder, TimeDelay)
    assert encoder.reach == 15
    for parameter in encoder.parameters():
        parameter.data.abs_()  # so that nothing that is seen is cut off at zero
    x = torch.rand(1, 41, 2, requires_grad=True)
    encoder(x, torch.tensor([41])).steps[0, 20].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert (min(seen), max(seen)) == (13, 27)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UsageError, match="width: 4 should be odd"):
        tdnn(3, width=4)
    assert tdnn(3, width=4, causal=True).causal
    x, lengths = torch.randn(2, 4, 3), torch.tensor([4, 2])
    with pytest.raises(ValueError, match=r"set encoder\.causal to true"):
        tdnn(3, hidden=4)(x, lengths, (torch.zeros(2, 2, 3),))
    with pytest.raises(ValueError, match="state carried on has shapes"):
        tdnn(3, hidden=4, layers=1, causal=True)(x, lengths, (torch.zeros(2, 2, 4),))


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_exported_holds_for_other_lengths(causal: bool) -> None:
    from torch.export import Dim

    class Steps(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = tdnn(3, hidden=4, layers=2, causal=causal)

        def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            encoded = self.encoder(x, lengths)
            return encoded.steps, encoded.last

    module, shapes = Steps().eval(), ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    example = (torch.randn(3, 11, 3), torch.tensor([11, 4, 1]))
    program = torch.export.export(module, example, dynamic_shapes=shapes, strict=False).module()
    x, lengths = torch.randn(2, 5, 3), torch.tensor([3, 5])
    for actual, expected in zip(program(x, lengths), module(x, lengths), strict=True):
        torch.testing.assert_close(actual, expected)


class TestTimeDelay(EncoderConformance):
    encoder = "tdnn"
    options: ClassVar[dict[str, Any]] = {"hidden": 6, "residual": True, "layer_norm": True, "dropout": 0.2}


class TestCausal(EncoderConformance):
    encoder = "tdnn"
    options: ClassVar[dict[str, Any]] = {
        "hidden": 6,
        "causal": True,
        "width": 2,
        "residual": True,
        "output_dropout": 0.2,
        "locked": True,
    }
