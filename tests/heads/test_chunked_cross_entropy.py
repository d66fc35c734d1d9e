"""Chunked cross-entropy against torch's over all scores at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqkit.heads import chunked_cross_entropy

H, V, N = 7, 50, 90


def make_tensors() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(N, H), torch.randn(V, H), torch.randn(V)]


def unchunked_nats(steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, smoothing: float) -> Tensor:
    scores = functional.linear(steps, weight, bias)
    return functional.cross_entropy(scores, y, ignore_index=-1, label_smoothing=smoothing, reduction="sum")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven steps at a time, the last chunk smaller."""
    for name, value in {"MIN_NUMBERS": 7 * V, "CHUNK_NUMBERS": 7 * V, "MIN_ROWS": 1}.items():
        monkeypatch.setattr(chunked_cross_entropy, name, value)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("lowest", [0, -1])
def test_chunks_have_the_loss_and_the_gradients_of_the_whole(smoothing: float, lowest: int) -> None:
    y = torch.randint(lowest, V, (N,))
    assert bool((y < 0).any()) == (lowest < 0)
    results = []
    for function in (chunked_cross_entropy.nats, unchunked_nats):
        tensors = [tensor.requires_grad_() for tensor in make_tensors()]
        total = function(*tensors, y, smoothing=smoothing)  # type: ignore[operator]
        assert ("_Nats" in type(total.grad_fn).__name__) == (function is chunked_cross_entropy.nats)
        results.append([total.detach(), *torch.autograd.grad(total * 0.25, tensors)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("small_chunks")
def test_there_is_one_backward_pass_and_none_where_no_gradient_is_wanted() -> None:
    tensors = [tensor.requires_grad_() for tensor in make_tensors()]
    y = torch.randint(0, V, (N,))
    total = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        total.backward()
    with torch.no_grad():
        without_gradient = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    assert without_gradient.grad_fn is None
    assert torch.equal(without_gradient, total)


@pytest.mark.usefixtures("small_chunks")
def test_nothing_known_is_a_loss_of_zero_with_gradients_of_zero() -> None:
    tensors = [tensor.requires_grad_() for tensor in make_tensors()]
    total = chunked_cross_entropy.nats(*tensors, torch.full((N,), -1))  # type: ignore[arg-type]
    assert total == 0
    assert not any(bool(gradient.any()) for gradient in torch.autograd.grad(total, tensors))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    steps, weight, bias = make_tensors()
    steps[3, 2] = value
    assert not bool(chunked_cross_entropy.nats(steps, weight, bias, torch.randint(0, V, (N,))).isfinite())


def test_few_scores_and_other_precisions_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [tensor.requires_grad_() for tensor in make_tensors()]
    y = torch.randint(0, V, (N,))
    assert "_Nats" not in type(chunked_cross_entropy.nats(*tensors, y).grad_fn).__name__  # type: ignore[arg-type]
    monkeypatch.setattr(chunked_cross_entropy, "MIN_NUMBERS", 7 * V)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low_precision = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    assert "_Nats" not in type(low_precision.grad_fn).__name__
    torch.testing.assert_close(low_precision, chunked_cross_entropy.nats(*tensors, y), rtol=0.02, atol=0)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_second_derivatives_are_those_of_the_whole(smoothing: float) -> None:
    y = torch.randint(-1, V, (N,))
    results = []
    for function in (chunked_cross_entropy.nats, unchunked_nats):
        tensors = [tensor.requires_grad_() for tensor in make_tensors()]
        first = torch.autograd.grad(function(*tensors, y, smoothing=smoothing), tensors, create_graph=True)  # type: ignore[operator]
        results.append(torch.autograd.grad(sum(gradient.pow(2).sum() for gradient in first), tensors))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
