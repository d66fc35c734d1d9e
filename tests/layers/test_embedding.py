"""Input layers."""

from __future__ import annotations

import pytest
import torch

from seqkit.fields.vocabulary import SPECIALS
from seqkit.layers.embedding import Embedding, Projection
from seqkit.types import PAD, UNKNOWN

LENGTHS = torch.tensor([3, 2])


def test_special_ids_are_those_of_the_vocabulary() -> None:
    assert (SPECIALS[PAD], SPECIALS[UNKNOWN]) == ("<pad>", "<unk>")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_embedding_looks_vectors_up(dtype: torch.dtype) -> None:
    layer = Embedding(6, 4)
    steps, lengths = layer(torch.tensor([[5, 2, 3], [4, 2, PAD]], dtype=dtype), LENGTHS)
    assert torch.equal(steps[0, 0], layer.weight[5])
    assert torch.equal(steps[1, 1], layer.weight[2])
    assert not steps[1, 2].any()
    assert lengths is LENGTHS
    assert steps.shape == (2, 3, 4)


def test_padding_gets_no_gradient_from_being_read() -> None:
    layer = Embedding(6, 4)
    layer(torch.tensor([[5, 2, PAD]]), LENGTHS)[0].sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[[5, 2]].all()
    assert not layer.weight.grad[PAD].any()


def test_dropped_symbols_are_read_as_unknown_only_in_training() -> None:
    torch.manual_seed(0)
    layer = Embedding(6, 4, drop=0.25)
    x = torch.full((100, 50), 5)
    x[:, 25:] = PAD
    steps, _ = layer(x, torch.full((100,), 25))
    unknown = (steps == layer.weight[UNKNOWN]).all(dim=-1)
    assert 0.2 < float(unknown[:, :25].double().mean()) < 0.3
    assert not steps[:, 25:].any(), "padding stays padding"
    assert torch.equal(layer.eval()(x, LENGTHS)[0][:, :25], layer.weight[5].expand(100, 25, 4))


def test_projection_is_linear() -> None:
    layer = Projection(3, 5)
    x = torch.randn(2, 3, 3)
    steps, lengths = layer(x, LENGTHS)
    torch.testing.assert_close(steps, x @ layer.weight.t())
    assert lengths is LENGTHS
