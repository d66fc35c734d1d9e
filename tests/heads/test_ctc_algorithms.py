"""The recursion of connectionist temporal classification against torch's loss, and against all alignments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqkit.heads.ctc_algorithms import ctc_nats, forward_backward_nats, nats_without_gradient

CASES, BATCH = 1_000, 5


def random_case(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scores (B, T, C), texts (B, U), lengths (B,), counts (B,): empty texts, repeats, texts that just fit."""

    def draw(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=generator)

    batch, classes, widest = BATCH, int(draw(2, 6)), int(draw(0, 6))
    counts, texts = draw(0, widest, batch), draw(1, classes - 1, batch, widest)
    lengths = (counts + repeats_of(texts, counts)).clamp(min=1) + draw(0, 8, batch)
    scores = 3.0 * torch.randn(batch, int(lengths.max()) + int(draw(0, 2)), classes, generator=generator)
    return scores, texts, lengths, counts


def repeats_of(texts: Tensor, counts: Tensor) -> Tensor:
    """(B,) how often a symbol follows itself."""
    is_inside = torch.arange(1, max(1, texts.shape[1]))[None] < counts[:, None]
    return ((texts[:, 1:] == texts[:, :-1]) & is_inside[:, : max(0, texts.shape[1] - 1)]).sum(1)


def torch_nats(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> Tensor:
    return functional.ctc_loss(log_probs.transpose(0, 1), texts, lengths, counts, reduction="none")


def test_values_and_gradients_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    empty = repeated = 0
    for _ in range(CASES // BATCH):
        scores, texts, lengths, counts = random_case(generator)
        weights = torch.rand(len(scores), generator=generator)
        results = []
        for function in (torch_nats, forward_backward_nats):
            leaf = scores.clone().requires_grad_()
            nats = function(leaf.log_softmax(-1), texts, lengths, counts)
            (nats * weights).sum().backward()
            assert leaf.grad is not None
            results.append((nats.detach(), leaf.grad))
        (expected, expected_grad), (actual, actual_grad) = results
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(actual_grad, expected_grad, rtol=0, atol=1e-5)
        alone = nats_without_gradient(scores.log_softmax(-1), texts, lengths, counts)
        torch.testing.assert_close(alone, actual, rtol=1e-6, atol=1e-6)
        empty += int((counts == 0).sum())
        repeated += int((repeats_of(texts, counts) > 0).sum())
    assert empty > 100
    assert repeated > 100


def test_the_value_is_that_of_all_alignments_and_its_gradient_the_slope() -> None:
    scores = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    text, length, count = torch.tensor([[1, 1]]), torch.tensor([5]), torch.tensor([2])

    def nats(scores: Tensor) -> Tensor:
        return forward_backward_nats(scores, text, length, count)

    total, rows = 0.0, scores[0].tolist()
    for path in itertools.product(range(3), repeat=5):
        if [symbol for symbol, _ in itertools.groupby(path) if symbol] == [1, 1]:
            total += math.exp(sum(rows[t][c] for t, c in enumerate(path)))
    assert nats(scores).item() == pytest.approx(-math.log(total), rel=1e-12)
    assert torch.autograd.gradcheck(nats, scores)  # type: ignore[no-untyped-call]


def test_a_text_without_room_is_impossible_and_changes_nothing() -> None:
    scores = torch.randn(2, 3, 4, requires_grad=True)
    texts, lengths, counts = torch.tensor([[1, 1], [1, 2]]), torch.tensor([2, 3]), torch.tensor([2, 2])
    nats = forward_backward_nats(scores.log_softmax(-1), texts, lengths, counts)
    assert nats[0] == math.inf
    assert bool(nats[1].isfinite())
    nats[1].backward(retain_graph=True)
    assert scores.grad is not None
    assert not scores.grad[0].any()
    nats.sum().backward()
    assert not scores.grad[0].any()


@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e30])
def test_what_is_past_the_ends_has_no_effect(padding: float) -> None:
    generator = torch.Generator().manual_seed(2)
    log_probs = torch.randn(2, 6, 4, generator=generator).log_softmax(-1)
    texts, lengths, counts = torch.tensor([[1, 2, 2], [3, 0, 0]]), torch.tensor([6, 3]), torch.tensor([3, 1])
    results = []
    for value, filler in ((0.0, 0), (padding, 1)):
        changed = log_probs.clone()
        changed[1, 3:] = value
        more = texts.clone()
        more[1, 1:] = filler
        leaf = changed.requires_grad_()
        nats = forward_backward_nats(leaf, more, lengths, counts)
        nats.sum().backward()
        assert leaf.grad is not None
        assert not leaf.grad[1, 3:].any()
        results.append((nats.detach(), leaf.grad, nats_without_gradient(changed.detach(), more, lengths, counts)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_on_a_cpu_the_loss_is_torchs_own() -> None:
    scores, texts, lengths, counts = random_case(torch.Generator().manual_seed(3))
    log_probs = scores.log_softmax(-1)
    assert torch.equal(ctc_nats(log_probs, texts, lengths, counts), torch_nats(log_probs, texts, lengths, counts))


def test_a_second_derivative_is_refused() -> None:
    """It would be wrong without a word: the gradient is written out by hand."""
    log_probs = torch.randn(1, 4, 3).log_softmax(-1).requires_grad_()
    nats = forward_backward_nats(log_probs, torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2]))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(nats.sum(), log_probs, create_graph=True)
