"""Forward-backward, Viterbi and their gradients: against all paths, against pytorch-crf, and against padding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torchcrf
from torch import Tensor

from seqkit import kernels
from seqkit.heads.crf_algorithms import (
    Chain,
    best_paths,
    forward_backward,
    log_partition,
    marginals,
    negative_log_likelihood,
    path_score,
)
from tests.helpers.native import require_native
from tests.reference import chains as reference

LENGTHS = torch.tensor([5, 1, 3, 4])
CLASSES = (1, 2, 4)
FORBIDDEN = -torch.inf


def chain_of(classes: int, *, spread: float = 2.0, barred: bool = False, seed: int = 0) -> Chain:
    """Random scores; barred: some transitions and edges are impossible, but never all paths of a sequence."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return spread * torch.randn(*shape, generator=generator, dtype=torch.float64)

    batch, steps = len(LENGTHS), int(LENGTHS.max())
    emissions, transitions, start, end = (
        random(batch, steps, classes),
        random(classes, classes),
        random(classes),
        random(classes),
    )
    if barred and classes > 1:
        transitions[0, 1:] = FORBIDDEN
        transitions[1, 0] = FORBIDDEN
        start[-1] = FORBIDDEN
        end[1] = FORBIDDEN if classes > 2 else end[1]
    return Chain.of(emissions, transitions, start, end, LENGTHS)


def enumerated(chain: Chain, row: int) -> dict[reference.Path, float]:
    steps = int(chain.lengths[row])
    parts = (chain.emissions[:steps, row], chain.transitions, chain.start[row], chain.end[row])
    return reference.scores(*(part.tolist() for part in parts))


@pytest.fixture(params=["native", "padded"])
def either(request: pytest.FixtureRequest) -> Iterator[None]:
    """The native library, and the slow twin in PyTorch."""
    if request.param == "native":
        require_native()
    with kernels.use(request.param):
        yield


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_log_partition(classes: int, barred: bool) -> None:
    chain = chain_of(classes, barred=barred)
    found = log_partition(chain)
    expected = [reference.log_partition(enumerated(chain, row)) for row in range(len(LENGTHS))]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert forward_backward(chain, with_beta=False).log_z.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_marginals(classes: int, barred: bool) -> None:
    chain = chain_of(classes, barred=barred)
    found = marginals(chain, forward_backward(chain))
    for row, length in enumerate(LENGTHS.tolist()):
        every = enumerated(chain, row)
        for step in range(length):
            for state in range(classes):
                expected = reference.probability(every, step, (state,))
                assert float(found[step, row, state]) == pytest.approx(expected, abs=1e-9)
        assert not found[length:, row].any()


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_best_paths(classes: int, barred: bool, k: int) -> None:
    chain = chain_of(classes, barred=barred)
    paths, scores = best_paths(chain, k)
    assert paths.shape == (len(LENGTHS), k, int(LENGTHS.max()))
    for row, length in enumerate(LENGTHS.tolist()):
        expected = reference.ranked(enumerated(chain, row), k)
        assert scores[row, : len(expected)].tolist() == pytest.approx([value for _, value in expected], abs=1e-9)
        assert [tuple(path[:length].tolist()) for path in paths[row, : len(expected)]] == [path for path, _ in expected]
        assert bool((scores[row, len(expected) :] == FORBIDDEN).all())
        assert not paths[row, :, length:].any()


@pytest.mark.parametrize("classes", [1, 3, 8, 9, 25])
def test_native_best_paths_are_bit_for_bit_the_others(classes: int) -> None:
    """Ties among them, bars, lengths of 1, more chains than a thread takes at once."""
    require_native()
    g = torch.Generator().manual_seed(classes)
    lengths = torch.randint(1, 12, (21,), generator=g)
    emissions, moves, start, end = (
        torch.randint(-2, 3, shape, generator=g).double() / 2
        for shape in ((21, 11, classes), (classes, classes), (classes,), (classes,))
    )
    end = end + torch.randn(classes, generator=g)  # none at the very end, where torch promises no order
    moves = moves.masked_fill(torch.rand(classes, classes, generator=g) < 0.2, FORBIDDEN)
    emissions = emissions.masked_fill((torch.arange(11) >= lengths[:, None])[..., None], math.nan)
    chain = Chain.of(emissions, moves, start, end, lengths)
    with kernels.use("padded"):
        want = best_paths(Chain.of(emissions.nan_to_num(7.0), moves, start, end, lengths))
    with kernels.use("native"):
        got = best_paths(chain)
    for one, other in zip(got, want, strict=True):
        assert torch.equal(one, other)


def ragged(classes: int, *, batch: int = 21, steps: int = 11, spread: float = 3.0, barred: bool = True) -> list[Tensor]:
    """(B, T, C) with NaN in the padding, (C, C), (B, C) twice, and lengths from 1; some paths barred, never all."""
    g = torch.Generator().manual_seed(classes)
    lengths = torch.randint(1, steps + 1, (batch,), generator=g)
    lengths[:2] = torch.tensor([1, steps])
    emissions, moves, start, end = (
        spread * torch.randn(*shape, generator=g, dtype=torch.float64)
        for shape in ((batch, steps, classes), (classes, classes), (batch, classes), (batch, classes))
    )
    if barred and classes > 1:
        moves.masked_fill_(torch.rand(classes, classes, generator=g) < 0.2, FORBIDDEN).fill_diagonal_(-1.0)
        start[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, FORBIDDEN)
        end[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, FORBIDDEN)
    return [past_the_end(emissions, lengths, math.nan), moves, start, end, lengths]


def past_the_end(padded: Tensor, lengths: Tensor, value: float) -> Tensor:
    past = torch.arange(padded.shape[1]) >= lengths[:, None]
    return padded.masked_fill(past.view(*past.shape, *[1] * (padded.dim() - 2)), value)


def all_of(parts: Sequence[Tensor], wanted: Any) -> list[Tensor]:
    """Sums where they mean something, marginals, and the gradient of a weighted sum of log Z."""
    *scores, lengths = parts
    given, classes = [part.clone().requires_grad_() for part in scores], scores[1].shape[0]
    with kernels.use(wanted):
        chain = Chain.of(*given, lengths)
        found = forward_backward(chain)
        assert found.beta is not None
        total = log_partition(chain)
        for same in (total, forward_backward(chain, with_beta=False).log_z):
            torch.testing.assert_close(found.log_z, same, atol=0.0, rtol=0.0, equal_nan=True)
        # Weights of both signs and of zero; no path open counts for nothing.
        weighted = total.masked_fill(total == FORBIDDEN, 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients = torch.autograd.grad(weighted.sum(), given, retain_graph=True)
        shares = marginals(chain, found)
        paths = torch.arange(len(lengths) * len(chain.emissions)).view(len(lengths), -1) * 7 % classes
        if wanted == "native":
            paths = past_the_end(paths, lengths, -1)  # what stands there is not looked at
        loss = negative_log_likelihood(chain, paths)
        gone = loss.masked_fill(loss.isinf() | total.isinf(), 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients += torch.autograd.grad(gone.sum(), given)
    inside = [side.masked_fill(~chain.mask[..., None], 0.0) for side in (found.alpha, found.beta)]
    return [found.log_z, *inside, shares.detach(), *gradients, loss.detach()]


@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 9, 25, 50])
def test_native_sums_are_the_others(classes: int, barred: bool) -> None:
    require_native()
    parts = ragged(classes, barred=barred)
    for one, other in zip(all_of(parts, "native"), all_of(parts, "padded"), strict=True):
        assert bool(other.isfinite().all() if not barred else not other.isnan().any())
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-13)


def test_native_sums_read_no_padding_and_any_strides() -> None:
    require_native()
    parts = ragged(9)
    clean = all_of([past_the_end(parts[0], parts[-1], 5.0), *parts[1:]], "native")
    twisted = [part.flip(0).t().contiguous().t().flip(0) if part.dim() == 2 else part for part in parts[1:]]
    emissions = torch.stack([parts[0], parts[0] + 1], dim=-1)[..., 0]
    for found in (all_of(parts, "native"), all_of([emissions, *twisted], "native")):
        for one, other in zip(found, clean, strict=True):
            assert torch.equal(one, other)


def test_native_sums_are_the_same_bits_on_any_number_of_threads() -> None:
    require_native()
    parts, found = ragged(25, batch=37), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(all_of(parts, "native"))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("wanted", ["native", "padded"])
def test_where_no_path_is_open(wanted: Any) -> None:
    """log Z is -inf, nothing is expected of such a chain, and its neighbours do not notice."""
    if wanted == "native":
        require_native()
    parts = ragged(9, barred=False)
    parts[2][3] = FORBIDDEN
    parts[3][4] = FORBIDDEN
    shut = torch.tensor([3, 4])
    found = all_of(parts, wanted)
    total, _, _, shares, of_emissions, of_moves, of_start, of_end, *_ = found
    assert total.isneginf().nonzero().flatten().tolist() == shut.tolist()
    assert not any(each.isnan().any() for each in found[:-1])
    assert not shares[:, shut].any()
    assert not any(each[shut].any() for each in (of_emissions, of_start, of_end))
    rest = torch.ones(len(total), dtype=torch.bool)
    rest[shut] = False
    alone = Chain.of(*(part if part is parts[1] else part[rest] for part in parts))
    weights = torch.arange(-3.0, len(total) - 3)[rest].double()
    moves = alone.transitions.clone().requires_grad_()
    with kernels.use(wanted):
        again = log_partition(Chain(alone.emissions, moves, alone.start, alone.end, alone.lengths))
        (expected,) = torch.autograd.grad((again * weights).sum(), moves)
    torch.testing.assert_close(of_moves, expected, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("wanted", ["native", "padded"])
def test_what_is_not_a_number_is_not_hidden(wanted: Any) -> None:
    """A loss that went wrong is to be seen, and in its own chain alone."""
    if wanted == "native":
        require_native()
    parts = ragged(9, barred=False)
    parts[0][1, 4, 2] = math.nan
    found = all_of(parts, wanted)
    assert found[0].isnan().nonzero().flatten().tolist() == [1]
    assert bool(found[4][1, :5].isnan().any())
    assert not found[4][2:].isnan().any()
    assert bool(found[5].isnan().any())


@pytest.mark.parametrize("scale", [1e-3, 30.0, 500.0])
def test_native_sums_hold_far_apart_scores(scale: float) -> None:
    """States hundreds of nats behind are still there, to the last one that a double can tell from zero."""
    require_native()
    parts = ragged(9, spread=scale, barred=False)
    parts[1] = parts[1].clamp(-600, 600)
    found = zip(all_of(parts, "native")[:4], all_of(parts, "padded")[:4], strict=True)
    for one, other in found:
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-12)


def test_native_sums_refuse_lengths_and_paths_that_do_not_fit() -> None:
    require_native()
    *parts, lengths = ragged(3)
    for wrong in (-1, 3):
        paths = torch.zeros(len(lengths), 11, dtype=torch.int64)
        paths[1, 10] = wrong
        with kernels.use("native"), pytest.raises(ValueError, match="from 0 to 2"):
            negative_log_likelihood(Chain.of(*parts, lengths), paths)
    for wrong in (0, 12):
        lengths[2] = wrong
        with kernels.use("native"), pytest.raises(ValueError, match="from 1 to 11"):
            log_partition(Chain.of(*parts, lengths))


def test_path_score() -> None:
    chain = chain_of(3)
    paths = torch.randint(3, (len(LENGTHS), int(LENGTHS.max())), generator=torch.Generator().manual_seed(1))
    found = path_score(chain, paths)
    for row, length in enumerate(LENGTHS.tolist()):
        assert float(found[row]) == pytest.approx(enumerated(chain, row)[tuple(paths[row, :length].tolist())], abs=1e-9)


def leaves(classes: int, seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(LENGTHS), int(LENGTHS.max()), classes), (classes, classes), (classes,), (classes,)]
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.usefixtures("either")
def test_the_gradient_is_that_of_the_definition() -> None:
    y = torch.randint(3, (len(LENGTHS), int(LENGTHS.max())), generator=torch.Generator().manual_seed(1))

    def every(*parts: Tensor) -> tuple[Tensor, Tensor]:
        chain = Chain.of(*parts, LENGTHS)
        return log_partition(chain), negative_log_likelihood(chain, y)

    assert torch.autograd.gradcheck(every, tuple(leaves(3)), atol=1e-6)


@pytest.mark.usefixtures("either")
def test_no_gradient_is_made_where_none_is_asked_for() -> None:
    emissions, transitions, start, end = leaves(3)
    total = log_partition(Chain.of(emissions.detach(), transitions, start.detach(), end.detach(), LENGTHS)).sum()
    total.backward()
    assert transitions.grad is not None
    assert emissions.grad is None
    # Expected transitions: one a step but the first.
    assert float(transitions.grad.sum()) == pytest.approx(float((LENGTHS - 1).sum()))


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("classes", CLASSES)
def test_against_pytorch_crf(classes: int) -> None:
    oracle = torchcrf.CRF(classes, batch_first=True).double()
    emissions, transitions, start, end = leaves(classes)
    with torch.no_grad():
        oracle.transitions.copy_(transitions)
        oracle.start_transitions.copy_(start)
        oracle.end_transitions.copy_(end)
    y = torch.randint(classes, emissions.shape[:2], generator=torch.Generator().manual_seed(2))
    mask = torch.arange(emissions.shape[1])[None] < LENGTHS[:, None]

    chain = Chain.of(emissions, transitions, start, end, LENGTHS)
    ours = negative_log_likelihood(chain, y).sum()
    copied = emissions.detach().clone().requires_grad_()
    theirs = -oracle(copied, y, mask=mask)
    ours.backward()
    theirs.backward()

    assert ours.item() == pytest.approx(theirs.item(), abs=1e-9)
    pairs = [
        (emissions, copied),
        (transitions, oracle.transitions),
        (start, oracle.start_transitions),
        (end, oracle.end_transitions),
    ]
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-9, rtol=0)
    decoded = [
        path[:length].tolist() for path, length in zip(best_paths(chain)[0][:, 0], LENGTHS.tolist(), strict=True)
    ]
    assert decoded == oracle.decode(emissions.detach(), mask=mask)


@pytest.mark.usefixtures("either")
def test_long_chains_and_large_scores_stay_exact() -> None:
    """One state is so far ahead of the other that single precision would lose the latter, which the end prefers."""
    emissions = torch.zeros(1, 300, 2)
    emissions[..., 0] = 1.5
    end = torch.tensor([0.0, 440.0])
    transitions = torch.tensor([[0.0, FORBIDDEN], [FORBIDDEN, 0.0]])
    chain = Chain.of(emissions, transitions, torch.zeros(2), end, torch.tensor([300]))
    assert float(log_partition(chain)) == pytest.approx(450.0 + math.log1p(math.exp(-10.0)), abs=1e-9)
    assert float(marginals(chain, forward_backward(chain))[0, 0, 1]) == pytest.approx(
        1 / (1 + math.exp(10.0)), rel=1e-9
    )


@pytest.mark.usefixtures("either")
def test_a_state_is_kept_as_long_as_a_double_can_hold_it() -> None:
    """exp(-720) is no normal number any more, but one all the same, and the end prefers this state."""
    emissions = torch.zeros(1, 3, 2)
    emissions[0, 0, 0] = 720.0
    transitions = torch.tensor([[0.0, FORBIDDEN], [FORBIDDEN, 0.0]])
    chain = Chain.of(emissions, transitions, torch.zeros(2), torch.tensor([0.0, 725.0]), torch.tensor([3]))
    assert float(log_partition(chain)) == pytest.approx(725.0 + math.log1p(math.exp(-5.0)), abs=1e-9)


@pytest.mark.usefixtures("either")
def test_what_stands_past_the_end_touches_nothing() -> None:
    emissions, transitions, start, end = leaves(3)
    spoilt = emissions.detach().clone()
    spoilt[torch.arange(spoilt.shape[1])[None] >= LENGTHS[:, None]] = torch.nan
    spoilt.requires_grad_()
    y = torch.ones(spoilt.shape[:2], dtype=torch.int64)
    results = []
    for given in (emissions, spoilt):
        chain = Chain.of(given, transitions, start, end, LENGTHS)
        loss = (log_partition(chain) - path_score(chain, y)).sum()
        gradients = torch.autograd.grad(loss, [given, transitions, start, end])
        results.append([loss, *gradients, *best_paths(chain, 2), marginals(chain, forward_backward(chain))])
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.usefixtures("either")
def test_each_sequence_alone_gives_the_same() -> None:
    chain = chain_of(4)
    together = log_partition(chain)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = Chain(
            chain.emissions[:length, row : row + 1],
            chain.transitions,
            chain.start[row : row + 1],
            chain.end[row : row + 1],
            LENGTHS[row : row + 1],
        )
        assert float(log_partition(alone)) == pytest.approx(float(together[row]), abs=1e-12)
        assert torch.equal(best_paths(alone, 3)[0][0], best_paths(chain, 3)[0][row, :, :length])
