"""The head `crf` and its chains: against every path enumerated, against pytorch-crf, and against padding."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torchcrf
from torch import Tensor

from seqkit import kernels
from seqkit.fields import Label, Tags
from seqkit.fields.labels import UNSEEN
from seqkit.heads import crf, tag
from seqkit.heads.crf_algorithms import (
    Chain,
    best_paths,
    log_partition,
    marginals,
    negative_log_likelihood,
    path_score,
    sums,
)
from seqkit.heads.linear_chain_crf import PENALTY, RandomField
from seqkit.interfaces import Batch, Encoded
from seqkit.spans import Scheme, fault, spans_of
from tests.helpers.native import require_native
from tests.reference import chains as twin

LENGTHS = torch.tensor([5, 1, 3, 4])
CLASSES = (1, 2, 4)
INFINITE = -torch.inf


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
        transitions[0, 1:] = INFINITE
        transitions[1, 0] = INFINITE
        start[-1] = INFINITE
        end[1] = INFINITE if classes > 2 else end[1]
    return Chain.of(emissions, transitions, start, end, LENGTHS)


def enumerated(chain: Chain, row: int) -> dict[twin.Path, float]:
    steps = int(chain.lengths[row])
    parts = (chain.emissions[:steps, row], chain.transitions, chain.start[row], chain.end[row])
    return twin.scores(*(part.tolist() for part in parts))


# Chains against every path


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
    expected = [twin.log_partition(enumerated(chain, row)) for row in range(len(LENGTHS))]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    assert sums(chain, both=False).total.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("classes", CLASSES)
def test_marginals(classes: int, barred: bool) -> None:
    chain = chain_of(classes, barred=barred)
    found = marginals(chain, sums(chain))
    for row, length in enumerate(LENGTHS.tolist()):
        every = enumerated(chain, row)
        for step in range(length):
            for state in range(classes):
                expected = twin.probability(every, step, (state,))
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
        expected = twin.ranked(enumerated(chain, row), k)
        assert scores[row, : len(expected)].tolist() == pytest.approx([value for _, value in expected], abs=1e-9)
        assert [tuple(path[:length].tolist()) for path in paths[row, : len(expected)]] == [path for path, _ in expected]
        assert bool((scores[row, len(expected) :] == INFINITE).all())
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
    moves = moves.masked_fill(torch.rand(classes, classes, generator=g) < 0.2, INFINITE)
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
        moves.masked_fill_(torch.rand(classes, classes, generator=g) < 0.2, INFINITE).fill_diagonal_(-1.0)
        start[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, INFINITE)
        end[:, 1:].masked_fill_(torch.rand(batch, classes - 1, generator=g) < 0.3, INFINITE)
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
        found = sums(chain)
        assert found.after is not None
        total = log_partition(chain)
        for same in (total, sums(chain, both=False).total):
            torch.testing.assert_close(found.total, same, atol=0.0, rtol=0.0, equal_nan=True)
        # Weights of both signs and of zero; no path open counts for nothing.
        weighted = total.masked_fill(total == INFINITE, 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients = torch.autograd.grad(weighted.sum(), given, retain_graph=True)
        shares = marginals(chain, found)
        paths = torch.arange(len(lengths) * len(chain.emissions)).view(len(lengths), -1) * 7 % classes
        if wanted == "native":
            paths = past_the_end(paths, lengths, -1)  # what stands there is not looked at
        loss = negative_log_likelihood(chain, paths)
        gone = loss.masked_fill(loss.isinf() | total.isinf(), 0.0) * torch.arange(-3.0, len(lengths) - 3)
        gradients += torch.autograd.grad(gone.sum(), given)
    inside = [side.masked_fill(~chain.mask[..., None], 0.0) for side in (found.before, found.after)]
    return [found.total, *inside, shares.detach(), *gradients, loss.detach()]


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
    parts[2][3] = INFINITE
    parts[3][4] = INFINITE
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
    transitions = torch.tensor([[0.0, INFINITE], [INFINITE, 0.0]])
    chain = Chain.of(emissions, transitions, torch.zeros(2), end, torch.tensor([300]))
    assert float(log_partition(chain)) == pytest.approx(450.0 + math.log1p(math.exp(-10.0)), abs=1e-9)
    assert float(marginals(chain, sums(chain))[0, 0, 1]) == pytest.approx(1 / (1 + math.exp(10.0)), rel=1e-9)


@pytest.mark.usefixtures("either")
def test_a_state_is_kept_as_long_as_a_double_can_hold_it() -> None:
    """exp(-720) is no normal number any more, but one all the same, and the end prefers this state."""
    emissions = torch.zeros(1, 3, 2)
    emissions[0, 0, 0] = 720.0
    transitions = torch.tensor([[0.0, INFINITE], [INFINITE, 0.0]])
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
        results.append([loss, *gradients, *best_paths(chain, 2), marginals(chain, sums(chain))])
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


# The head

B, T, H = 3, 4, 6
SHORT = torch.tensor([4, 1, 3])


def head_for(target: Tags, *, seed: int = 0, **options: Any) -> RandomField:
    torch.manual_seed(seed)
    head = crf(H, target, None, **options)
    assert isinstance(head, RandomField)
    for score in (head.transitions, head.start, head.end):
        torch.nn.init.normal_(score)
    return head.eval()


def target_of(scheme: Scheme | None, learn: Scheme | None = None) -> Tags:
    values = {"iob1": ["I-x", "O"], "iob2": ["B-x", "O"], "bioes": ["S-x", "O"], "plain": ["x", "O"], None: ["N", "V"]}
    return Tags(scheme=scheme, learn=learn).fit([values[scheme]])


def encoded(lengths: Tensor = SHORT, *, steps: int | None = None, seed: int = 1, dtype: Any = torch.float32) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(int(length), H, generator=generator) for length in lengths]
    padded = torch.zeros(len(rows), steps or int(lengths.max()), H)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return Encoded(padded.to(dtype), lengths, padded[:, 0], tuple)


def batch(y: Sequence[Sequence[int]], lengths: Tensor = SHORT) -> Batch:
    steps = max(len(row) for row in y)
    filled = torch.tensor([[*row, *[0] * (steps - len(row))] for row in y])
    return Batch(torch.zeros(len(y), steps, dtype=torch.int64), lengths, filled, torch.tensor([len(row) for row in y]))


def every_path(head: RandomField, whole: Encoded, row: int, *, bar: float) -> dict[twin.Path, float]:
    """All tag sequences of one example with their scores, the scheme's bars added by reading the tags."""
    length = int(whole.lengths[row])
    emissions = head.out(whole.steps[row, :length]).tolist()
    free = twin.scores(emissions, head.transitions.tolist(), head.start.tolist(), head.end.tolist())
    labels = head.target.labels
    learned = head.target.learned
    legal = {path: fault([labels[i] for i in path], learned or "plain") is None for path in free}
    return {
        path: value if legal[path] else value + bar for path, value in free.items() if legal[path] or bar > INFINITE
    }


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "bioes", "plain", None])
def test_loss_is_the_likelihood_of_whole_sequences_a_step(scheme: Scheme | None) -> None:
    head, whole = head_for(target_of(scheme)), encoded()
    legal = {
        "iob1": "I-x O I-x O",
        "iob2": "B-x I-x O B-x",
        "bioes": "B-x E-x O S-x",
        "plain": "x x O x",
        None: "N V V N",
    }
    values = [
        legal[scheme].split(),
        legal[scheme].split()[-1:],
        legal[scheme].split()[1:] if scheme is None else ["O"] * 3,
    ]
    y = [head.target.encode(value).tolist() for value in values]
    total, count = head.loss(whole, batch(y))
    expected = 0.0
    for row in range(B):
        every = every_path(head, whole, row, bar=PENALTY)
        expected += twin.log_partition(every) - every[tuple(y[row])]
    assert total.item() == pytest.approx(expected, abs=1e-4)
    assert int(count) == 8


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "bioes", "plain", None])
def test_predictions_are_the_best_legal_path_and_its_marginals(scheme: Scheme | None) -> None:
    head, whole = head_for(target_of(scheme), nbest=3), encoded()
    for row, prediction in enumerate(head.predict(whole, batch([[0] * 4] * B))):
        every = every_path(head, whole, row, bar=INFINITE)
        total = twin.log_partition(every)
        best = twin.ranked(every, 3)
        assert prediction.value == head.target.decode(np.array(best[0][0]))
        expected = [twin.probability(every, step, (state,)) for step, state in enumerate(best[0][0])]
        assert prediction.confidence == pytest.approx(expected, abs=1e-6)
        assert [each["value"] for each in prediction.scores["nbest"]] == [
            head.target.decode(np.array(p)) for p, _ in best
        ]
        shares = [each["confidence"] for each in prediction.scores["nbest"]]
        assert shares == pytest.approx([math.exp(value - total) for _, value in best], abs=1e-6)
        assert json.loads(json.dumps(prediction.scores)) == prediction.scores
        if scheme is None:
            assert "spans" not in prediction.scores
            continue
        found = [(each["type"], each["start"], each["end"]) for each in prediction.scores["spans"]]
        assert found == spans_of(prediction.value, scheme)
        for each in prediction.scores["spans"]:
            states = best[0][0][each["start"] : each["end"]]
            assert each["confidence"] == pytest.approx(twin.probability(every, each["start"], states), abs=1e-6)


def test_no_illegal_sequence_is_ever_predicted() -> None:
    """Random weights want illegal orders; the scheme keeps them out, in the scheme that is learned."""
    target, wanted = target_of("iob2", "bioes"), 0
    for seed in range(20):
        head, whole = head_for(target, seed=seed), encoded(torch.tensor([9, 7, 8]), seed=seed)
        free = best_paths(Chain.of(head.emissions(whole.steps), head.transitions, head.start, head.end, whole.lengths))[
            0
        ]
        for row, prediction in enumerate(head.predict(whole, batch([[0] * 9] * 3, whole.lengths))):
            assert fault(prediction.value, "iob2") is None
            names = [target.labels[i] for i in free[row, 0, : int(whole.lengths[row])]]
            wanted += fault(names, "bioes") is not None
    assert wanted > 30


@pytest.mark.parametrize("scheme", ["iob2", "plain", None])
def test_what_training_has_not_seen_is_never_predicted_and_its_loss_is_finite(scheme: Scheme | None) -> None:
    fitted = {"iob2": ["B-x", "O"], "plain": ["x", "O"], None: ["x", "y"]}[scheme]
    target = Tags(scheme=scheme, allow_unseen=True).fit([fitted])
    for seed in range(10):
        head, whole = head_for(target, seed=seed), encoded(seed=seed)
        with torch.no_grad():
            head.out.bias[[UNSEEN in label for label in target.labels]] += 30.0
        for prediction in head.predict(whole, batch([[0] * 4] * B)):
            assert not [tag for tag in prediction.value if UNSEEN in tag]
    new = {"iob2": "B-new", "plain": "new", None: "new"}[scheme]
    y = [target.encode(value).tolist() for value in ([fitted[0], new, new, fitted[1]], [new], [fitted[1]] * 3)]
    assert head.loss(whole, batch(y))[0].isfinite()


def test_constrain_false_leaves_training_free() -> None:
    target = target_of("iob2")
    free, held, whole = head_for(target, constrain=False), head_for(target), encoded()
    y = batch([target.encode(value).tolist() for value in (["O"] * 4, ["O"], ["O"] * 3)])
    every = [every_path(free, whole, row, bar=0.0) for row in range(B)]
    outside = target.labels.index("O")
    expected = sum(twin.log_partition(e) - e[(outside,) * int(n)] for e, n in zip(every, SHORT, strict=True))
    assert free.loss(whole, y)[0].item() == pytest.approx(expected, abs=1e-4)
    assert held.loss(whole, y)[0].item() < free.loss(whole, y)[0].item() - 0.1
    assert free.predict(whole, y) == held.predict(whole, y)


def test_a_sequence_cut_inside_of_a_span_is_not_punished() -> None:
    target = target_of("bioes")
    head, whole = head_for(target), encoded(torch.tensor([3]))
    place = {label: number for number, label in enumerate(target.labels)}
    cut = batch([[place["I-x"], place["E-x"], place["B-x"]]], torch.tensor([3]))
    assert 0.0 < head.loss(whole, cut)[0].item() < 50.0
    # Inside of the sequence the scheme holds.
    broken = batch([[place["O"], place["E-x"], place["O"]]], torch.tensor([3]))
    assert head.loss(whole, broken)[0].item() > 90.0


def test_padding_changes_nothing() -> None:
    head = head_for(target_of("bioes"), nbest=2)
    y = [head.target.encode(value).tolist() for value in (["B-x", "I-x", "E-x", "O"], ["S-x"], ["O", "O", "S-x"])]
    tight, wide = encoded(), encoded(steps=9)
    one, other = batch(y), batch([[*row] for row in y])
    other.y = torch.nn.functional.pad(other.y, (0, 5), value=3)
    assert head.loss(tight, one)[0].item() == pytest.approx(head.loss(wide, other)[0].item(), abs=1e-6)
    for a, b in zip(head.predict(tight, one), head.predict(wide, other), strict=True):
        assert a.value == b.value
        assert a.confidence == pytest.approx(b.confidence, abs=1e-9)
        assert a.scores["nbest"][1]["confidence"] == pytest.approx(b.scores["nbest"][1]["confidence"], abs=1e-9)


def test_it_learns() -> None:
    """Emissions alone cannot tell: the same step is tagged by what was tagged before it."""
    target = Tags().fit([["a", "b"]])
    torch.manual_seed(0)
    head = crf(H, target, None)
    steps = torch.ones(1, 6, H)
    whole = Encoded(steps, torch.tensor([6]), steps[:, -1], tuple)
    made = batch([target.encode(list("abaaba")).tolist()], torch.tensor([6]))
    alternating = batch([target.encode(list("ababab")).tolist()], torch.tensor([6]))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        total, count = head.loss(whole, alternating)
        (total / count).backward()
        optimizer.step()
    assert head.predict(whole, made)[0].value == list("ababab")
    assert (total / count).item() < 0.05


def test_windows_are_stitched() -> None:
    head = head_for(target_of("iob2", "bioes"))
    first, second = (
        type(head.predict(encoded(), batch([[0] * 4] * B))[0])(value, [0.9] * len(value), {"spans": found})
        for value, found in (
            (["O", "B-x"], [{"type": "x", "start": 1, "end": 2, "confidence": 0.5}]),
            (
                ["I-x", "O", "B-x"],
                [
                    {"type": "x", "start": 0, "end": 1, "confidence": 0.5},
                    {"type": "x", "start": 2, "end": 3, "confidence": 0.75},
                ],
            ),
        )
    )
    whole = head.stitch([first, second])
    assert whole.value == ["O", "B-x", "I-x", "O", "B-x"]
    assert whole.confidence == [0.9] * 5
    assert whole.scores == {
        "spans": [
            {"type": "x", "start": 1, "end": 3, "confidence": 0.25},
            {"type": "x", "start": 4, "end": 5, "confidence": 0.75},
        ]
    }


def test_the_head_tag_says_spans_as_well() -> None:
    torch.manual_seed(2)
    head, whole = tag(H, target_of("iob2", "bioes"), None).eval(), encoded()
    torch.nn.init.normal_(head.out.weight)  # type: ignore[attr-defined]
    said = head.predict(whole, batch([[0] * 4] * B))
    assert any(prediction.scores["spans"] for prediction in said)
    for prediction in said:
        found = [(each["type"], each["start"], each["end"]) for each in prediction.scores["spans"]]
        assert found == spans_of(prediction.value, "iob2")
        for each in prediction.scores["spans"]:
            assert each["confidence"] == pytest.approx(math.prod(prediction.confidence[each["start"] : each["end"]]))  # type: ignore[index]
    joined = head.stitch(said)
    assert joined.value == [tag for prediction in said for tag in prediction.value]
    assert [each["start"] for each in joined.scores["spans"]] == [a for _, a, _ in spans_of(joined.value, "iob2")]
    assert tag(H, target_of(None), None).predict(whole, batch([[0] * 4] * B))[0].scores is None


def test_halves_come_in_and_single_precision_goes_on() -> None:
    head = head_for(target_of("bioes"))
    y = batch(
        [head.target.encode(value).tolist() for value in (["B-x", "I-x", "E-x", "O"], ["S-x"], ["O", "O", "S-x"])]
    )
    exact, _ = head.loss(encoded(), y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough, _ = head.loss(encoded(dtype=torch.bfloat16), y)
        assert head.predict(encoded(dtype=torch.bfloat16), y)[0].value
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)


def test_a_target_for_every_step_or_a_sentence_that_says_where() -> None:
    head = head_for(target_of(None))
    wrong = batch([[0, 1, 1], [0], [1, 1, 0]])
    wrong.ids = ["a:1", "a:2", "a:3"]
    with pytest.raises(ValueError, match="a:1: 3 targets for 4 steps"):
        head.loss(encoded(), wrong)


def test_the_factory_says_whom_it_serves() -> None:
    assert crf.accepts == (Tags,)
    assert crf.needs_causal is False
    assert Label not in crf.accepts


def test_weights_can_be_saved_and_the_bars_are_made_anew() -> None:
    head = head_for(target_of("bioes"))
    other = head_for(target_of("bioes"), seed=5)
    assert set(head.state_dict()) == {"transitions", "start", "end", "out.weight", "out.bias"}
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert other.predict(encoded(), batch([[0] * 4] * B)) == head.predict(encoded(), batch([[0] * 4] * B))
