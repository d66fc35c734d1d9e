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
from seqkit.heads import crf_algorithms
from seqkit.heads.crf_algorithms import (
    Chain,
    best_paths,
    forward_backward,
    log_marginals,
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


def chain_of(classes: int, *, spread: float = 2.0, with_forbidden: bool = False, seed: int = 0) -> Chain:
    """Random scores; some transitions and edges may be forbidden, but never all paths of a sequence."""
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
    if with_forbidden and classes > 1:
        transitions[0, 1:] = FORBIDDEN
        transitions[1, 0] = FORBIDDEN
        start[-1] = FORBIDDEN
        end[1] = FORBIDDEN if classes > 2 else end[1]
    return Chain.of(emissions, transitions, start, end, LENGTHS)


def enumerated(chain: Chain, row: int) -> dict[reference.Path, float]:
    steps = int(chain.lengths[row])
    scores = (chain.emissions[:steps, row], chain.transitions, chain.start[row], chain.end[row])
    return reference.scores(*(tensor.tolist() for tensor in scores))


@pytest.fixture(params=["native", "padded"])
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    """The native library, and the reference implementation in PyTorch."""
    if request.param == "native":
        require_native()
    with kernels.use(request.param):
        yield


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("with_forbidden", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_log_partition(classes: int, with_forbidden: bool) -> None:
    chain = chain_of(classes, with_forbidden=with_forbidden)
    log_z = log_partition(chain)
    expected = [reference.log_partition(enumerated(chain, row)) for row in range(len(LENGTHS))]
    assert log_z.tolist() == pytest.approx(expected, abs=1e-9)
    assert forward_backward(chain, with_beta=False).log_z.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("with_forbidden", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_marginals(classes: int, with_forbidden: bool) -> None:
    chain = chain_of(classes, with_forbidden=with_forbidden)
    probabilities = marginals(chain, forward_backward(chain))
    for row, length in enumerate(LENGTHS.tolist()):
        paths = enumerated(chain, row)
        for step in range(length):
            for state in range(classes):
                expected = reference.probability(paths, step, (state,))
                assert float(probabilities[step, row, state]) == pytest.approx(expected, abs=1e-9)
        assert not probabilities[length:, row].any()


@pytest.mark.parametrize("k", [1, 2, 5, 40])
@pytest.mark.parametrize("with_forbidden", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_best_paths(classes: int, with_forbidden: bool, k: int) -> None:
    chain = chain_of(classes, with_forbidden=with_forbidden)
    paths, scores = best_paths(chain, k)
    assert paths.shape == (len(LENGTHS), k, int(LENGTHS.max()))
    for row, length in enumerate(LENGTHS.tolist()):
        expected = reference.ranked(enumerated(chain, row), k)
        assert scores[row, : len(expected)].tolist() == pytest.approx([value for _, value in expected], abs=1e-9)
        assert [tuple(path[:length].tolist()) for path in paths[row, : len(expected)]] == [path for path, _ in expected]
        assert bool((scores[row, len(expected) :] == FORBIDDEN).all())
        assert not paths[row, :, length:].any()


@pytest.mark.parametrize("classes", [1, 3, 8, 9, 25])
def test_native_best_paths_equal_the_reference_bit_for_bit(classes: int) -> None:
    """With ties, forbidden transitions, lengths of 1, and more chains than a thread takes at once."""
    require_native()
    g = torch.Generator().manual_seed(classes)
    lengths = torch.randint(1, 12, (21,), generator=g)
    emissions, transitions, start, end = (
        torch.randint(-2, 3, shape, generator=g).double() / 2
        for shape in ((21, 11, classes), (classes, classes), (classes,), (classes,))
    )
    transitions = transitions.masked_fill(torch.rand(classes, classes, generator=g) < 0.2, FORBIDDEN)
    emissions = emissions.masked_fill((torch.arange(11) >= lengths[:, None])[..., None], math.nan)
    chain = Chain.of(emissions, transitions, start, end, lengths)
    with kernels.use("padded"):
        expected = best_paths(Chain.of(emissions.nan_to_num(7.0), transitions, start, end, lengths))
    with kernels.use("native"):
        actual = best_paths(chain)
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x, y)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("classes", [2, 3])
def test_of_equal_paths_the_lowest_states_win(classes: int, k: int) -> None:
    """The rule: from the end backwards, each state is the lowest of those that are equally good."""
    g = torch.Generator().manual_seed(classes)
    for _ in range(20):
        emissions, transitions, start, end = (
            torch.randint(0, 2, shape, generator=g).double()
            for shape in ((1, 4, classes), (classes,) * 2, (classes,), (classes,))
        )
        chain = Chain.of(emissions, transitions, start, end, torch.tensor([4]))
        paths, scores = best_paths(chain, k)
        ranked = sorted(enumerated(chain, 0).items(), key=lambda item: (-item[1], item[0][::-1]))
        assert tuple(paths[0, 0].tolist()) == ranked[0][0]
        assert scores[0].tolist() == [score for _, score in ranked[:k]]


EXTREME = {
    "all transitions are large": lambda t, e: (t.add_(1000.0), e),
    "one transition is large": lambda t, e: (t[0].__setitem__(1, 800.0), e),
    "a transition is far below": lambda t, e: (t[0].__setitem__(slice(1, None), -720.0), e[:, :, 0].add_(900.0)),
    "transitions are far below, emissions force them": lambda t, e: (t.mul_(400.0), e.mul_(900.0)),
    "everything is huge": lambda t, e: (t.mul_(1e5), e.mul_(1e5)),
    "all transitions are small": lambda t, e: (t.sub_(5000.0), e),
}


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("kind", EXTREME)
@pytest.mark.parametrize("seed", range(3))
def test_any_finite_scores(kind: str, seed: int) -> None:
    """log Z, marginals and all gradients, by enumerating all paths."""
    base = chain_of(3, seed=seed)
    EXTREME[kind](base.transitions, base.emissions)
    scores = [tensor.clone().requires_grad_() for tensor in base.tensors[:4]]
    chain = Chain(*scores, base.lengths)
    log_z, weights = log_partition(chain), torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64)
    gradients = torch.autograd.grad((log_z * weights).sum(), scores)
    expected = [torch.zeros_like(tensor) for tensor in scores]
    for row, weight in enumerate(weights.tolist()):
        paths = enumerated(base, row)
        total = reference.log_partition(paths)
        assert log_z[row].item() == pytest.approx(total, rel=1e-12, abs=1e-9)
        for path, score in paths.items():
            share = weight * math.exp(score - total)
            expected[2][row, path[0]] += share
            expected[3][row, path[-1]] += share
            for step, state in enumerate(path):
                expected[0][step, row, state] += share
                if step:
                    expected[1][path[step - 1], state] += share
    for actual, want in zip(gradients, expected, strict=True):
        # The scores themselves are rounded: 1e5 has some 1e-11.
        torch.testing.assert_close(actual, want, atol=1e-7, rtol=1e-7)
    probabilities = marginals(base, forward_backward(base))
    torch.testing.assert_close(probabilities * weights[:, None], expected[0], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("with_forbidden", [False, True])
def test_a_scan_has_the_sums_of_the_loop(steps: int, with_forbidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    emissions, transitions, start, _, _ = ragged(3, batch=5, steps=steps, with_forbidden=with_forbidden)
    inputs = emissions.nan_to_num().transpose(0, 1)[:, None], transitions[None], start[None]
    with torch.no_grad():
        loop = crf_algorithms._run_forward(*inputs)
        torch.testing.assert_close(crf_algorithms.scan_forward(*inputs), loop, rtol=1e-13, atol=1e-13)
        shorter = crf_algorithms.scan_forward(inputs[0][: steps // 2 + 1], *inputs[1:])
        assert torch.equal(shorter, crf_algorithms.scan_forward(*inputs)[: steps // 2 + 1]), "padding changes nothing"
        in_one_part = crf_algorithms.scan_forward(*inputs)
        monkeypatch.setattr(crf_algorithms, "SCANNED_NUMBERS", 2 * steps * 27)
        assert torch.equal(crf_algorithms.scan_forward(*inputs), in_one_part), "nor does the size of the parts"


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("with_forbidden", [False, True])
@pytest.mark.parametrize("function", ["log_partition", "negative_log_likelihood"])
def test_second_derivatives(function: str, with_forbidden: bool) -> None:
    """Against finite differences of the first ones, and against the graph of the enumerated paths."""
    base = chain_of(3, with_forbidden=with_forbidden)
    paths = best_paths(base)[0][:, 0]
    is_finite = [tensor.isfinite() for tensor in base.tensors[:4]]

    def total(*values: Tensor) -> Tensor:
        scores = [
            value.where(mask, tensor) for value, mask, tensor in zip(values, is_finite, base.tensors, strict=False)
        ]
        chain = Chain(*scores, base.lengths)
        return log_partition(chain) if function == "log_partition" else negative_log_likelihood(chain, paths)

    values = [tensor.where(mask, 0.0).requires_grad_() for tensor, mask in zip(base.tensors, is_finite, strict=False)]
    assert torch.autograd.gradgradcheck(total, values)


def ragged(
    classes: int, *, batch: int = 21, steps: int = 11, spread: float = 3.0, with_forbidden: bool = True
) -> list[Tensor]:
    """(B, T, C) with NaN in the padding, (C, C), (B, C) twice, and lengths from 1; some paths forbidden, never all."""
    g = torch.Generator().manual_seed(classes)
    lengths = torch.randint(1, steps + 1, (batch,), generator=g)
    lengths[:2] = torch.tensor([1, steps])
    emissions, transitions, start, end = (
        spread * torch.randn(*shape, generator=g, dtype=torch.float64)
        for shape in ((batch, steps, classes), (classes, classes), (batch, classes), (batch, classes))
    )
    if with_forbidden and classes > 1:
        transitions.masked_fill_(torch.rand(classes, classes, generator=g) < 0.2, FORBIDDEN).fill_diagonal_(-1.0)
        start[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, FORBIDDEN)
        end[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, FORBIDDEN)
    return [past_the_end(emissions, lengths, math.nan), transitions, start, end, lengths]


def past_the_end(padded: Tensor, lengths: Tensor, value: float) -> Tensor:
    past = torch.arange(padded.shape[1]) >= lengths[:, None]
    return padded.masked_fill(past.view(*past.shape, *[1] * (padded.dim() - 2)), value)


def compute_all(chain_inputs: Sequence[Tensor], implementation: Any) -> list[Tensor]:
    """log Z, alpha, beta, marginals, the gradients of weighted sums of log Z and of the loss, and the loss."""
    *scores, lengths = chain_inputs
    inputs, classes = [tensor.clone().requires_grad_() for tensor in scores], scores[1].shape[0]
    with kernels.use(implementation):
        chain = Chain.of(*inputs, lengths)
        result = forward_backward(chain)
        assert result.beta is not None
        log_z = log_partition(chain)
        for other_log_z in (log_z, forward_backward(chain, with_beta=False).log_z):
            torch.testing.assert_close(result.log_z, other_log_z, atol=0.0, rtol=0.0, equal_nan=True)
        # Weights of both signs and of zero; chains without an open path have none.
        weighted = log_z.masked_fill(log_z == FORBIDDEN, 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients = torch.autograd.grad(weighted.sum(), inputs, retain_graph=True)
        probabilities = marginals(chain, result)
        paths = torch.arange(len(lengths) * len(chain.emissions)).view(len(lengths), -1) * 7 % classes
        if implementation == "native":
            paths = past_the_end(paths, lengths, -1)  # they are not read there
        loss = negative_log_likelihood(chain, paths)
        weighted_loss = loss.masked_fill(loss.isinf() | log_z.isinf(), 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients += torch.autograd.grad(weighted_loss.sum(), inputs)
    alpha_beta = [sums.masked_fill(~chain.mask[..., None], 0.0) for sums in (result.alpha, result.beta)]
    return [result.log_z, *alpha_beta, probabilities.detach(), *gradients, loss.detach()]


@pytest.mark.parametrize("with_forbidden", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 9, 25, 50])
def test_native_sums_equal_the_reference(classes: int, with_forbidden: bool) -> None:
    require_native()
    inputs = ragged(classes, with_forbidden=with_forbidden)
    for native, padded in zip(compute_all(inputs, "native"), compute_all(inputs, "padded"), strict=True):
        assert bool(padded.isfinite().all() if not with_forbidden else not padded.isnan().any())
        torch.testing.assert_close(native, padded, atol=1e-10, rtol=1e-13)


def test_native_sums_read_no_padding_and_any_strides() -> None:
    require_native()
    inputs = ragged(9)
    expected = compute_all([past_the_end(inputs[0], inputs[-1], 5.0), *inputs[1:]], "native")
    strided = [tensor.flip(0).t().contiguous().t().flip(0) if tensor.dim() == 2 else tensor for tensor in inputs[1:]]
    emissions = torch.stack([inputs[0], inputs[0] + 1], dim=-1)[..., 0]
    for actual in (compute_all(inputs, "native"), compute_all([emissions, *strided], "native")):
        for x, y in zip(actual, expected, strict=True):
            assert torch.equal(x, y)


def test_native_sums_are_the_same_bits_on_any_number_of_threads() -> None:
    require_native()
    inputs, results = ragged(25, batch=37), []
    threads_before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(compute_all(inputs, "native"))
    finally:
        torch.set_num_threads(threads_before)
    for x, y in zip(*results, strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("implementation", ["native", "padded"])
def test_where_no_path_is_open(implementation: Any) -> None:
    """log Z is -inf, all expected counts of such a chain are zero, and other chains are not affected."""
    if implementation == "native":
        require_native()
    inputs = ragged(9, with_forbidden=False)
    inputs[2][3] = FORBIDDEN
    inputs[3][4] = FORBIDDEN
    closed = torch.tensor([3, 4])
    results = compute_all(inputs, implementation)
    log_z, _, _, probabilities, grad_emissions, grad_transitions, grad_start, grad_end, *_ = results
    assert log_z.isneginf().nonzero().flatten().tolist() == closed.tolist()
    assert not any(tensor.isnan().any() for tensor in results[:-1])
    assert not probabilities[:, closed].any()
    assert not any(tensor[closed].any() for tensor in (grad_emissions, grad_start, grad_end))
    is_open = torch.ones(len(log_z), dtype=torch.bool)
    is_open[closed] = False
    open_chains = Chain.of(*(tensor if tensor is inputs[1] else tensor[is_open] for tensor in inputs))
    weights = torch.arange(-3.0, len(log_z) - 3)[is_open].double()
    transitions = open_chains.transitions.clone().requires_grad_()
    with kernels.use(implementation):
        open_log_z = log_partition(
            Chain(open_chains.emissions, transitions, open_chains.start, open_chains.end, open_chains.lengths)
        )
        (expected,) = torch.autograd.grad((open_log_z * weights).sum(), transitions)
    torch.testing.assert_close(grad_transitions, expected, atol=1e-9, rtol=1e-12)


@pytest.mark.parametrize("implementation", ["native", "padded"])
def test_nan_is_not_hidden(implementation: Any) -> None:
    """NaN appears in the results of its own chain, and only there."""
    if implementation == "native":
        require_native()
    inputs = ragged(9, with_forbidden=False)
    inputs[0][1, 4, 2] = math.nan
    results = compute_all(inputs, implementation)
    assert results[0].isnan().nonzero().flatten().tolist() == [1]
    assert bool(results[4][1, :5].isnan().any())
    assert not results[4][2:].isnan().any()
    assert bool(results[5].isnan().any())


@pytest.mark.parametrize("scale", [1e-3, 30.0, 500.0])
def test_native_sums_keep_states_that_are_far_behind(scale: float) -> None:
    """States hundreds of nats behind the best one count, as long as a double can tell them from zero."""
    require_native()
    inputs = ragged(9, spread=scale, with_forbidden=False)
    inputs[1] = inputs[1].clamp(-600, 600)
    pairs = zip(compute_all(inputs, "native")[:4], compute_all(inputs, "padded")[:4], strict=True)
    for native, padded in pairs:
        torch.testing.assert_close(native, padded, atol=1e-10, rtol=1e-12)


def test_native_sums_refuse_lengths_and_paths_that_do_not_fit() -> None:
    require_native()
    *scores, lengths = ragged(3)
    for wrong in (-1, 3):
        paths = torch.zeros(len(lengths), 11, dtype=torch.int64)
        paths[1, 10] = wrong
        with kernels.use("native"), pytest.raises(ValueError, match="from 0 to 2"):
            negative_log_likelihood(Chain.of(*scores, lengths), paths)
    for wrong in (0, 12):
        lengths[2] = wrong
        with kernels.use("native"), pytest.raises(ValueError, match="from 1 to 11"):
            log_partition(Chain.of(*scores, lengths))


def test_path_score() -> None:
    chain = chain_of(3)
    paths = torch.randint(3, (len(LENGTHS), int(LENGTHS.max())), generator=torch.Generator().manual_seed(1))
    scores = path_score(chain, paths)
    for row, length in enumerate(LENGTHS.tolist()):
        assert float(scores[row]) == pytest.approx(
            enumerated(chain, row)[tuple(paths[row, :length].tolist())], abs=1e-9
        )


def leaves(classes: int, seed: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(len(LENGTHS), int(LENGTHS.max()), classes), (classes, classes), (classes,), (classes,)]
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.usefixtures("implementation")
def test_the_gradient_is_that_of_the_definition() -> None:
    y = torch.randint(3, (len(LENGTHS), int(LENGTHS.max())), generator=torch.Generator().manual_seed(1))

    def log_z_and_loss(*scores: Tensor) -> tuple[Tensor, Tensor]:
        chain = Chain.of(*scores, LENGTHS)
        return log_partition(chain), negative_log_likelihood(chain, y)

    assert torch.autograd.gradcheck(log_z_and_loss, tuple(leaves(3)), atol=1e-6)


@pytest.mark.usefixtures("implementation")
def test_no_gradient_is_made_where_none_is_asked_for() -> None:
    emissions, transitions, start, end = leaves(3)
    total = log_partition(Chain.of(emissions.detach(), transitions, start.detach(), end.detach(), LENGTHS)).sum()
    total.backward()
    assert transitions.grad is not None
    assert emissions.grad is None
    # Expected transitions: one a step but the first.
    assert float(transitions.grad.sum()) == pytest.approx(float((LENGTHS - 1).sum()))


@pytest.mark.usefixtures("implementation")
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
    loss = negative_log_likelihood(chain, y).sum()
    oracle_emissions = emissions.detach().clone().requires_grad_()
    oracle_loss = -oracle(oracle_emissions, y, mask=mask)
    loss.backward()
    oracle_loss.backward()

    assert loss.item() == pytest.approx(oracle_loss.item(), abs=1e-9)
    pairs = [
        (emissions, oracle_emissions),
        (transitions, oracle.transitions),
        (start, oracle.start_transitions),
        (end, oracle.end_transitions),
    ]
    for tensor, oracle_tensor in pairs:
        torch.testing.assert_close(tensor.grad, oracle_tensor.grad, atol=1e-9, rtol=0)
    decoded = [
        path[:length].tolist() for path, length in zip(best_paths(chain)[0][:, 0], LENGTHS.tolist(), strict=True)
    ]
    assert decoded == oracle.decode(emissions.detach(), mask=mask)


@pytest.mark.usefixtures("implementation")
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


@pytest.mark.usefixtures("implementation")
def test_a_state_is_kept_as_long_as_a_double_can_hold_it() -> None:
    """exp(-720) is a subnormal number, but not zero, and the end prefers this state."""
    emissions = torch.zeros(1, 3, 2)
    emissions[0, 0, 0] = 720.0
    transitions = torch.tensor([[0.0, FORBIDDEN], [FORBIDDEN, 0.0]])
    chain = Chain.of(emissions, transitions, torch.zeros(2), torch.tensor([0.0, 725.0]), torch.tensor([3]))
    assert float(log_partition(chain)) == pytest.approx(725.0 + math.log1p(math.exp(-5.0)), abs=1e-9)


@pytest.mark.usefixtures("implementation")
def test_padding_has_no_effect() -> None:
    emissions, transitions, start, end = leaves(3)
    with_nan = emissions.detach().clone()
    with_nan[torch.arange(with_nan.shape[1])[None] >= LENGTHS[:, None]] = torch.nan
    with_nan.requires_grad_()
    y = torch.ones(with_nan.shape[:2], dtype=torch.int64)
    results = []
    for x in (emissions, with_nan):
        chain = Chain.of(x, transitions, start, end, LENGTHS)
        loss = (log_partition(chain) - path_score(chain, y)).sum()
        gradients = torch.autograd.grad(loss, [x, transitions, start, end])
        results.append([loss, *gradients, *best_paths(chain, 2), marginals(chain, forward_backward(chain))])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.usefixtures("implementation")
def test_each_sequence_alone_gives_the_same() -> None:
    chain = chain_of(4)
    together = log_partition(chain)
    for row, length in enumerate(LENGTHS.tolist()):
        single = Chain(
            chain.emissions[:length, row : row + 1],
            chain.transitions,
            chain.start[row : row + 1],
            chain.end[row : row + 1],
            LENGTHS[row : row + 1],
        )
        assert float(log_partition(single)) == pytest.approx(float(together[row]), abs=1e-12)
        assert torch.equal(best_paths(single, 3)[0][0], best_paths(chain, 3)[0][row, :, :length])


def test_logarithms_of_marginals_with_their_gradients() -> None:
    """They are those of the sums, and their gradients those of finite differences."""
    torch.manual_seed(4)
    lengths = torch.tensor([4, 1, 3])
    tensors = [
        torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 4, 2), (2, 2), (2,), (2,))
    ]

    def of(emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
        logs = log_marginals(Chain.of(emissions, transitions, start, end, lengths))
        return torch.cat([logs[:length, row] for row, length in enumerate(lengths.tolist())])

    chain = Chain.of(*(tensor.detach() for tensor in tensors), lengths)
    expected = marginals(chain, forward_backward(chain))
    rows = torch.cat([expected[:length, row] for row, length in enumerate(lengths.tolist())])
    torch.testing.assert_close(of(*tensors).exp().detach(), rows)
    assert torch.autograd.gradcheck(of, tensors)
