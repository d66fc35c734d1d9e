"""Cross-entropy a part at a time against torch's over all scores at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqkit.heads import chunked_cross_entropy

H, V, N = 7, 50, 90


def given() -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(N, H), torch.randn(V, H), torch.randn(V)]


def whole(steps: Tensor, weight: Tensor, bias: Tensor, y: Tensor, smoothing: float) -> Tensor:
    scores = functional.linear(steps, weight, bias)
    return functional.cross_entropy(scores, y, ignore_index=-1, label_smoothing=smoothing, reduction="sum")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven steps at a time, the last part smaller."""
    for name, value in {"MIN_NUMBERS": 7 * V, "CHUNK_NUMBERS": 7 * V, "MIN_ROWS": 1}.items():
        monkeypatch.setattr(chunked_cross_entropy, name, value)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("lowest", [0, -1])
def test_parts_have_the_loss_and_the_gradients_of_the_whole(smoothing: float, lowest: int) -> None:
    y = torch.randint(lowest, V, (N,))
    assert bool((y < 0).any()) == (lowest < 0)
    found = []
    for way in (chunked_cross_entropy.nats, whole):
        tensors = [each.requires_grad_() for each in given()]
        total = way(*tensors, y, smoothing=smoothing)  # type: ignore[operator]
        assert ("_Nats" in type(total.grad_fn).__name__) == (way is chunked_cross_entropy.nats)
        found.append([total.detach(), *torch.autograd.grad(total * 0.25, tensors)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("few")
def test_there_is_one_backward_pass_and_none_where_no_gradient_is_wanted() -> None:
    tensors = [each.requires_grad_() for each in given()]
    y = torch.randint(0, V, (N,))
    total = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        total.backward()
    with torch.no_grad():
        again = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    assert again.grad_fn is None
    assert torch.equal(again, total)


@pytest.mark.usefixtures("few")
def test_nothing_known_is_a_loss_of_zero_with_gradients_of_zero() -> None:
    tensors = [each.requires_grad_() for each in given()]
    total = chunked_cross_entropy.nats(*tensors, torch.full((N,), -1))  # type: ignore[arg-type]
    assert total == 0
    assert not any(bool(each.any()) for each in torch.autograd.grad(total, tensors))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(value: float) -> None:
    steps, weight, bias = given()
    steps[3, 2] = value
    assert not bool(chunked_cross_entropy.nats(steps, weight, bias, torch.randint(0, V, (N,))).isfinite())


def test_few_scores_and_other_precisions_go_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [each.requires_grad_() for each in given()]
    y = torch.randint(0, V, (N,))
    assert "_Nats" not in type(chunked_cross_entropy.nats(*tensors, y).grad_fn).__name__  # type: ignore[arg-type]
    monkeypatch.setattr(chunked_cross_entropy, "MIN_NUMBERS", 7 * V)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = chunked_cross_entropy.nats(*tensors, y)  # type: ignore[arg-type]
    assert "_Nats" not in type(half.grad_fn).__name__
    torch.testing.assert_close(half, chunked_cross_entropy.nats(*tensors, y), rtol=0.02, atol=0)  # type: ignore[arg-type]
