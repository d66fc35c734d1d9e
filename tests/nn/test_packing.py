"""Packing and padding against torch's: everything in the packed sequence, the padded batch, and gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

import seqkit.nn

UNSORTED = [3, 6, 1, 6, 2, 4, 1]


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def assert_same_packing(actual: PackedSequence, expected: PackedSequence) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one, other)


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packing_and_padding_are_torchs(enforce_sorted: bool, batch_first: bool, is_trained: bool) -> None:
    lengths = sorted(UNSORTED, reverse=True) if enforce_sorted else UNSORTED
    lengths_given = [lengths, torch.tensor(lengths)]
    for features, total_length, padding_value, given in product(
        ((), (3,), (2, 3)), (None, 8), (0.0, 2.5), lengths_given
    ):
        shape = (7, 6) if batch_first else (6, 7)
        x = draw(*shape, *features).requires_grad_(is_trained)
        results = []
        for module in (rnn, seqkit.nn):
            packed = module.pack_padded_sequence(x, given, batch_first, enforce_sorted)
            padded, unpacked_lengths = module.pad_packed_sequence(packed, batch_first, padding_value, total_length)
            results.append((packed, padded, unpacked_lengths))
        (packed, padded, unpacked_lengths), (own_packed, own_padded, own_lengths) = results
        assert_same_packing(own_packed, packed)
        assert torch.equal(own_padded, padded)
        assert torch.equal(own_lengths, unpacked_lengths)
        assert own_padded.requires_grad == is_trained
        if is_trained:
            weights = draw(*padded.shape, seed=2), draw(*packed.data.shape, seed=3)
            gradients = [
                torch.autograd.grad((p.data * weights[1]).sum() + (y * weights[0]).sum(), x)[0]
                for p, y in ((packed, padded), (own_packed, own_padded))
            ]
            assert torch.equal(*gradients)


def test_gradients_can_be_differentiated_again() -> None:
    def run(x: Tensor) -> Tensor:
        packed = seqkit.nn.pack_padded_sequence(x, [2, 3, 1], enforce_sorted=False)
        return seqkit.nn.pad_packed_sequence(packed)[0]

    x = draw(3, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(run, (x,))
    assert torch.autograd.gradgradcheck(run, (x,))


@pytest.mark.parametrize(
    ("lengths", "enforce_sorted"), [([1, 2], True), ([2, 0], True), ([2], True), ([2, 1, 1], False)]
)
def test_mistakes_raise_what_torch_raises(lengths: list[int], enforce_sorted: bool) -> None:
    raised = []
    for module in (rnn, seqkit.nn):
        with pytest.raises(Exception) as caught:
            module.pack_padded_sequence(draw(3, 2, 4).requires_grad_(), lengths, enforce_sorted=enforce_sorted)
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_a_total_length_that_is_too_short_is_torchs_error() -> None:
    packed = seqkit.nn.pack_padded_sequence(draw(3, 2, 4).requires_grad_(), [3, 1])
    with pytest.raises(ValueError, match="total_length"):
        seqkit.nn.pad_packed_sequence(packed, total_length=2)
