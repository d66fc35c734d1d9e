"""Attention against its equations, and against what stands behind the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit.errors import UsageError
from seqkit.heads.attention import Attention
from seqkit.interfaces import Encoded
from tests.reference.decoders import attend as attend_reference

B, U, T, H, A = 3, 4, 5, 6, 6
LENGTHS = torch.tensor([5, 1, 3])
SCORES = ("dot", "general", "additive")


def encoded(filler: float = 0.0) -> Encoded:
    steps = torch.randn(B, T, H, generator=torch.Generator().manual_seed(1))
    steps[torch.arange(T)[None] >= LENGTHS[:, None]] = filler
    return Encoded(steps, LENGTHS, steps[:, 0], tuple)


def queries() -> Tensor:
    return torch.randn(B, U, A, generator=torch.Generator().manual_seed(2))


def make_attention(score: Any, coverage: bool = False) -> Attention:
    torch.manual_seed(3)
    attention = Attention(H, A, score=score, coverage=coverage)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return attention


@pytest.mark.parametrize("coverage", [False, True])
@pytest.mark.parametrize("score", SCORES)
@torch.no_grad()
def test_by_hand(score: str, coverage: bool) -> None:
    attention, code = make_attention(score, coverage), encoded()
    coverage_before = torch.rand(B, U, T, generator=torch.Generator().manual_seed(4)) if coverage else None
    context, weights = attention(queries(), attention.build_memory(code), coverage_before)
    for row, length in enumerate(LENGTHS.tolist()):
        for position, query in enumerate(queries()[row]):
            row_coverage = None if coverage_before is None else coverage_before[row, position, :length]
            expected, expected_weights = attend_reference(attention, query, code.steps[row, :length], row_coverage)
            torch.testing.assert_close(weights[row, position, :length], expected_weights)
            torch.testing.assert_close(context[row, position], expected)


@pytest.mark.parametrize("score", SCORES)
def test_what_stands_behind_the_end_has_weight_zero_and_no_gradient(score: str) -> None:
    attention, code = make_attention(score), encoded(filler=1e6)
    code.steps.requires_grad_()
    context, weights = attention(queries(), attention.build_memory(code))
    is_padding = torch.arange(T)[None] >= LENGTHS[:, None]
    assert (weights.transpose(1, 2)[is_padding] == 0.0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, U))
    expected, _ = attention(queries(), attention.build_memory(encoded()))
    torch.testing.assert_close(context, expected)
    context.sum().backward()
    assert code.steps.grad is not None
    assert (code.steps.grad[is_padding] == 0.0).all()
    assert (code.steps.grad[~is_padding] != 0.0).any()


def test_scores_are_single_precision_under_autocast() -> None:
    attention = make_attention("general")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory = attention.build_memory(encoded())
        context, weights = attention(queries(), memory)
    assert torch.isfinite(context).all()
    torch.testing.assert_close(weights.float().sum(dim=-1), torch.ones(B, U), atol=2e-2, rtol=0)


def test_a_memory_of_some_examples() -> None:
    attention = make_attention("general")
    memory, index = attention.build_memory(encoded()), torch.tensor([2, 0])
    context, _ = attention(queries()[index], memory.take_rows(index))
    all_contexts, _ = attention(queries(), memory)
    torch.testing.assert_close(context, all_contexts[index])


def test_a_dot_product_needs_equal_widths() -> None:
    with pytest.raises(UsageError, match=r"have 6 and the decoder's state has 4.*attention: general"):
        Attention(H, 4, score="dot")
