"""Attention against its equations, and against what stands behind the end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit.errors import UsageError
from seqkit.heads.attention import Attention
from seqkit.interfaces import Encoded
from tests.reference.decoders import look

B, U, T, H, A = 3, 4, 5, 6, 6
LENGTHS = torch.tensor([5, 1, 3])
SCORES = ("dot", "general", "additive")


def encoded(filler: float = 0.0) -> Encoded:
    steps = torch.randn(B, T, H, generator=torch.Generator().manual_seed(1))
    steps[torch.arange(T)[None] >= LENGTHS[:, None]] = filler
    return Encoded(steps, LENGTHS, steps[:, 0], tuple)


def queries() -> Tensor:
    return torch.randn(B, U, A, generator=torch.Generator().manual_seed(2))


def made(score: Any, coverage: bool = False) -> Attention:
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
    attention, code = made(score, coverage), encoded()
    before = torch.rand(B, U, T, generator=torch.Generator().manual_seed(4)) if coverage else None
    seen, weights = attention(queries(), attention.build_memory(code), before)
    for row, length in enumerate(LENGTHS.tolist()):
        for place, query in enumerate(queries()[row]):
            given = None if before is None else before[row, place, :length]
            want, shares = look(attention, query, code.steps[row, :length], given)
            torch.testing.assert_close(weights[row, place, :length], shares)
            torch.testing.assert_close(seen[row, place], want)


@pytest.mark.parametrize("score", SCORES)
def test_what_stands_behind_the_end_has_weight_zero_and_no_gradient(score: str) -> None:
    attention, code = made(score), encoded(filler=1e6)
    code.steps.requires_grad_()
    seen, weights = attention(queries(), attention.build_memory(code))
    outside = torch.arange(T)[None] >= LENGTHS[:, None]
    assert (weights.transpose(1, 2)[outside] == 0.0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, U))
    plain, _ = attention(queries(), attention.build_memory(encoded()))
    torch.testing.assert_close(seen, plain)
    seen.sum().backward()
    assert code.steps.grad is not None
    assert (code.steps.grad[outside] == 0.0).all()
    assert (code.steps.grad[~outside] != 0.0).any()


def test_scores_are_single_precision_under_autocast() -> None:
    attention = made("general")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory = attention.build_memory(encoded())
        seen, weights = attention(queries(), memory)
    assert torch.isfinite(seen).all()
    torch.testing.assert_close(weights.float().sum(dim=-1), torch.ones(B, U), atol=2e-2, rtol=0)


def test_a_memory_of_some_examples() -> None:
    attention = made("general")
    memory, index = attention.build_memory(encoded()), torch.tensor([2, 0])
    some, _ = attention(queries()[index], memory.take_rows(index))
    every, _ = attention(queries(), memory)
    torch.testing.assert_close(some, every[index])


def test_a_dot_product_needs_equal_widths() -> None:
    with pytest.raises(UsageError, match=r"have 6 and the decoder's state has 4.*attention: general"):
        Attention(H, 4, score="dot")
