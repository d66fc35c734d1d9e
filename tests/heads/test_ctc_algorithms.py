"""The recursion of connectionist temporal classification against torch's loss, and against all alignments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqkit import kernels
from seqkit.heads.ctc_algorithms import ctc_nats, forward_backward_nats, nats_without_gradient
from tests.helpers.native import require_native

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


RECURSIONS = pytest.mark.parametrize("nats_of", [forward_backward_nats, ctc_nats])
"""The one in torch's operations and the one in C++."""


@RECURSIONS
def test_values_and_gradients_are_those_of_torch(nats_of: Callable[..., Tensor]) -> None:
    require_native()
    generator = torch.Generator().manual_seed(0)
    empty = repeated = 0
    for _ in range(CASES // BATCH):
        scores, texts, lengths, counts = random_case(generator)
        weights = torch.rand(len(scores), generator=generator)
        results = []
        for function in (torch_nats, nats_of):
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


@RECURSIONS
def test_the_value_is_that_of_all_alignments_and_its_gradient_the_slope(nats_of: Callable[..., Tensor]) -> None:
    scores = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    text, length, count = torch.tensor([[1, 1]]), torch.tensor([5]), torch.tensor([2])

    def nats(scores: Tensor) -> Tensor:
        return nats_of(scores, text, length, count)

    total, rows = 0.0, scores[0].tolist()
    for path in itertools.product(range(3), repeat=5):
        if [symbol for symbol, _ in itertools.groupby(path) if symbol] == [1, 1]:
            total += math.exp(sum(rows[t][c] for t, c in enumerate(path)))
    assert nats(scores).item() == pytest.approx(-math.log(total), rel=1e-12)
    assert torch.autograd.gradcheck(nats, scores)  # type: ignore[no-untyped-call]


@RECURSIONS
def test_a_text_without_room_is_impossible_and_changes_nothing(nats_of: Callable[..., Tensor]) -> None:
    scores = torch.randn(2, 3, 4, requires_grad=True)
    texts, lengths, counts = torch.tensor([[1, 1], [1, 2]]), torch.tensor([2, 3]), torch.tensor([2, 2])
    nats = nats_of(scores.log_softmax(-1), texts, lengths, counts)
    assert nats[0] == math.inf
    assert bool(nats[1].isfinite())
    nats[1].backward(retain_graph=True)
    assert scores.grad is not None
    assert not scores.grad[0].any()
    nats.sum().backward()
    assert not scores.grad[0].any()


@RECURSIONS
@pytest.mark.parametrize("padding", [math.nan, math.inf, 1e30])
def test_what_is_past_the_ends_has_no_effect(padding: float, nats_of: Callable[..., Tensor]) -> None:
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
        nats = nats_of(leaf, more, lengths, counts)
        nats.sum().backward()
        assert leaf.grad is not None
        assert not leaf.grad[1, 3:].any()
        results.append((nats.detach(), leaf.grad, nats_without_gradient(changed.detach(), more, lengths, counts)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_without_native_code_the_loss_on_a_cpu_is_torchs_own() -> None:
    scores, texts, lengths, counts = random_case(torch.Generator().manual_seed(3))
    log_probs = scores.log_softmax(-1)
    with kernels.use("padded"):
        assert torch.equal(ctc_nats(log_probs, texts, lengths, counts), torch_nats(log_probs, texts, lengths, counts))


@RECURSIONS
def test_a_second_derivative_is_refused(nats_of: Callable[..., Tensor]) -> None:
    """It would be wrong without a word: the gradient is written out by hand."""
    log_probs = torch.randn(1, 4, 3).log_softmax(-1).requires_grad_()
    nats = nats_of(log_probs, torch.tensor([[1, 2]]), torch.tensor([4]), torch.tensor([2]))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(nats.sum(), log_probs, create_graph=True)


def long_case(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Texts of up to 90 symbols in up to 400 steps, log-probabilities as a trained model has them: very sure."""
    generator = torch.Generator().manual_seed(4)
    counts = torch.tensor([90, 31, 1, 0, 64, 7, 90, 12, 3])
    lengths = torch.tensor([400, 400, 5, 9, 84, 399, 110, 77, 4])
    texts = torch.randint(1, 12, (len(counts), 90), generator=generator)
    texts[4, 1:6] = texts[4, 0]
    scores = 30.0 * torch.randn(len(counts), 400, 12, generator=generator, dtype=torch.float64)
    return scores.log_softmax(-1).to(dtype), texts, lengths, counts


def results_of(function: Callable[..., Tensor], case: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The losses and the gradient of their weighted sum."""
    leaf = case[0].clone().requires_grad_()
    nats = function(leaf, *case[1:])
    (nats * torch.arange(1.0, 1.0 + len(nats))).sum().backward()
    assert leaf.grad is not None
    return nats.detach(), leaf.grad


def test_native_code_agrees_on_long_texts_of_sure_models() -> None:
    require_native()
    case = long_case()
    (nats, grad), (expected, expected_grad) = results_of(ctc_nats, case), results_of(forward_backward_nats, case)
    torch.testing.assert_close(nats, expected, rtol=1e-13, atol=0)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-12)
    assert float(expected.max()) > 2_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_texts_bits_do_not_depend_on_its_batch_on_padding_or_on_threads(dtype: torch.dtype) -> None:
    require_native()
    log_probs, texts, lengths, counts = long_case(dtype)
    nats, grad = results_of(ctc_nats, (log_probs, texts, lengths, counts))
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 2)
    try:
        again = results_of(ctc_nats, (log_probs, texts, lengths, counts))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(again[0], nats)
    assert torch.equal(again[1], grad)
    for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
        alone = log_probs[row : row + 1, :length], texts[row : row + 1, :count]
        leaf = alone[0].clone().requires_grad_()
        one = ctc_nats(leaf, alone[1], lengths[row : row + 1], counts[row : row + 1])
        (one * (row + 1.0)).sum().backward()
        assert leaf.grad is not None
        assert torch.equal(one[0], nats[row])
        assert torch.equal(leaf.grad[0], grad[row, :length])
        assert not grad[row, length:].any()


def test_a_texts_bits_do_not_depend_on_how_its_thread_treats_tiny_numbers() -> None:
    """Threads may treat them differently: which way depends on when each was started."""
    require_native()
    case = long_case(torch.float32)
    results = []
    try:
        for flush in (True, False):
            torch.set_flush_denormal(flush)
            results.append(results_of(ctc_nats, case))
    finally:
        torch.set_flush_denormal(False)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@RECURSIONS
def test_what_is_not_a_number_is_not_lost(nats_of: Callable[..., Tensor]) -> None:
    """Training has to see that a model has diverged."""
    log_probs, texts, lengths, counts = long_case()
    for step in (0, 200, 399):
        broken = log_probs.clone()
        broken[0, step] = math.nan
        nats = nats_of(broken, texts, lengths, counts)
        assert nats.isnan().tolist() == [True] + [False] * 8


@RECURSIONS
def test_a_step_that_is_impossible_for_all_of_a_text_makes_it_impossible(nats_of: Callable[..., Tensor]) -> None:
    log_probs, texts, lengths, counts = long_case()
    log_probs[0, 7] = -math.inf
    leaf = log_probs.requires_grad_()
    nats = nats_of(leaf, texts, lengths, counts)
    assert nats.isinf().tolist() == [True] + [False] * 8
    nats.sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad[0].any()
    assert bool(leaf.grad.isfinite().all())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lengths": torch.tensor([5, 3])}, "a length is not from 1"),
        ({"lengths": torch.tensor([0, 3])}, "a length is not from 1"),
        ({"counts": torch.tensor([1, 3])}, "a text is longer"),
        ({"texts": torch.tensor([[1, 2], [4, 1]])}, "one of its classes"),
    ],
)
def test_native_code_refuses_what_it_cannot_read(changed: dict[str, Tensor], message: str) -> None:
    require_native()
    case = {
        "log_probs": torch.randn(2, 4, 4).log_softmax(-1),
        "texts": torch.tensor([[1, 2], [3, 1]]),
        "lengths": torch.tensor([4, 3]),
        "counts": torch.tensor([1, 2]),
    }
    assert bool(ctc_nats(*case.values()).isfinite().all())
    with pytest.raises(ValueError, match=message):
        ctc_nats(*(case | changed).values())
