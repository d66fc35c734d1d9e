"""`seqkit.nn.CRF` against pytorch-crf, and against enumerating all sequences of tags."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import pytest
import torch
import torchcrf
from torch import Tensor, nn

import seqkit.nn
from seqkit.kernels import use
from tests.helpers.native import require_native
from tests.reference import chains

TAGS, LENGTHS, STEPS = 3, [4, 1, 3, 4, 2], 4
REDUCTIONS = ("none", "sum", "mean", "token_mean")


@pytest.fixture(params=["native", "padded"], autouse=True)
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        require_native()
    with use(request.param):
        yield request.param


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def example(*, batch_first: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions, tags and a mask of ragged sequences, with NaN and impossible tags at padding where ours is asked."""
    emissions = draw(len(LENGTHS), STEPS, TAGS)
    tags = torch.randint(TAGS, (len(LENGTHS), STEPS), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(STEPS) < torch.tensor(LENGTHS)[:, None]
    return (
        (emissions, tags, mask) if batch_first else (emissions.transpose(0, 1).contiguous(), tags.t(), mask.t())  # type: ignore[return-value]
    )


def pair(*, batch_first: bool = False) -> tuple[nn.Module, seqkit.nn.CRF]:
    """pytorch-crf's and ours, with scores large enough to matter."""
    reference, crf = (make(TAGS, batch_first=batch_first).double() for make in (torchcrf.CRF, seqkit.nn.CRF))
    with torch.no_grad():
        for seed, scores in enumerate(reference.parameters()):
            scores.copy_(draw(*scores.shape, seed=10 + seed))
    crf.load_state_dict(reference.state_dict())
    return reference, crf


def paths_of(crf: seqkit.nn.CRF, emissions: Tensor, row: int) -> dict[chains.Path, float]:
    """Every sequence of tags of one sequence of steps, with its score."""
    length = LENGTHS[row]
    scores = (crf.transitions, crf.start_transitions, crf.end_transitions)
    return chains.scores(emissions[:length, row].tolist(), *(score.tolist() for score in scores))


def test_the_same_seed_starts_from_the_same_scores() -> None:
    torch.manual_seed(5)
    reference = torchcrf.CRF(4)
    torch.manual_seed(5)
    crf = seqkit.nn.CRF(4)
    assert list(crf.state_dict()) == list(reference.state_dict())
    for name, scores in reference.state_dict().items():
        assert torch.equal(crf.state_dict()[name], scores)
    assert repr(crf) == repr(reference) == "CRF(num_tags=4)"
    reference.load_state_dict(crf.state_dict())


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("mask_type", [None, torch.bool, torch.uint8])
@pytest.mark.parametrize("batch_first", [False, True])
def test_likelihoods_and_gradients_are_pytorch_crfs(
    batch_first: bool, mask_type: torch.dtype | None, reduction: Any
) -> None:
    emissions, tags, mask = example(batch_first=batch_first)
    mask_argument = None if mask_type is None else mask.to(mask_type)
    real = torch.ones_like(mask) if mask_type is None else mask  # pytorch-crf's own default warns: it is not a bool
    results = []
    for crf, crf_mask in zip(pair(batch_first=batch_first), (real, mask_argument), strict=True):
        x = emissions.clone().requires_grad_()
        value = crf(x, tags, crf_mask, reduction=reduction)
        weights = draw(*value.shape, seed=3)
        results.append([value, *torch.autograd.grad((value * weights).sum(), [x, *crf.parameters()])])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("has_mask", [False, True])
def test_the_best_tags_are_pytorch_crfs(batch_first: bool, has_mask: bool) -> None:
    for seed in range(20):
        reference, crf = pair(batch_first=batch_first)
        emissions, _, mask = example(batch_first=batch_first)
        emissions = draw(*emissions.shape, seed=seed)
        expected = reference.decode(emissions, mask if has_mask else torch.ones_like(mask))  # type: ignore[operator, unused-ignore]
        assert crf.decode(emissions, mask if has_mask else None) == expected


def test_of_equally_good_tags_the_choice_is_pytorch_crfs() -> None:
    reference, crf = pair()
    for module in (reference, crf):
        for scores in module.parameters():
            nn.init.zeros_(scores)
    emissions = torch.zeros(STEPS, 2, TAGS, dtype=torch.float64)
    mask = torch.ones(STEPS, 2, dtype=torch.bool)
    assert crf.decode(emissions) == reference.decode(emissions, mask) == [[0] * STEPS] * 2  # type: ignore[operator, unused-ignore]


def test_padding_may_hold_anything() -> None:
    emissions, tags, mask = example()
    _, crf = pair()
    expected = crf(emissions, tags, mask)
    emissions, tags = emissions.masked_fill(~mask[..., None], math.nan), tags.masked_fill(~mask, -100)
    x = emissions.clone().requires_grad_()
    value = crf(x, tags, mask)
    assert torch.equal(value, expected)
    gradients = torch.autograd.grad(value, [x, *crf.parameters()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert bool((gradients[0][~mask] == 0).all())
    assert bool((crf.marginals(x, mask)[~mask] == 0).all())


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_the_n_best_are_those_of_an_enumeration(n: int) -> None:
    emissions, _, mask = example()
    _, crf = pair()
    result = crf.nbest(emissions, n, mask)
    assert [ranked[0][0] for ranked in result] == crf.decode(emissions, mask)
    for row, ranked in enumerate(result):
        paths = paths_of(crf, emissions, row)
        total = chains.log_partition(paths)
        expected = chains.ranked(paths, n)
        assert len(ranked) == min(n, TAGS ** LENGTHS[row])
        assert [tags for tags, _ in ranked] == [list(path) for path, _ in expected]
        assert [value for _, value in ranked] == pytest.approx([score - total for _, score in expected])
        if n == 100:
            assert math.fsum(math.exp(value) for _, value in ranked) == pytest.approx(1)


def test_the_n_best_leave_out_what_is_forbidden() -> None:
    emissions, _, mask = example()
    _, crf = pair()
    with torch.no_grad():
        crf.transitions[0, 1] = -torch.inf
    emissions[0, :, 2] = -torch.inf
    for row, ranked in enumerate(crf.nbest(emissions, 100, mask)):
        allowed = [
            list(tags)
            for tags in product(range(TAGS), repeat=LENGTHS[row])
            if tags[0] != 2 and (0, 1) not in pairwise(tags)
        ]
        assert sorted(tags for tags, _ in ranked) == allowed
        assert math.fsum(math.exp(value) for _, value in ranked) == pytest.approx(1)


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_marginals_are_those_of_an_enumeration(batch_first: bool, is_trained: bool) -> None:
    emissions, _, mask = example(batch_first=batch_first)
    _, crf = pair(batch_first=batch_first)
    crf.requires_grad_(is_trained)
    probabilities = crf.marginals(emissions, mask)
    assert probabilities.requires_grad == is_trained
    if batch_first:
        emissions, probabilities = emissions.transpose(0, 1), probabilities.transpose(0, 1)
    for row, length in enumerate(LENGTHS):
        paths = paths_of(crf, emissions, row)
        for step, tag in product(range(STEPS), range(TAGS)):
            expected = chains.probability(paths, step, (tag,)) if step < length else 0.0
            assert probabilities[step, row, tag].item() == pytest.approx(expected)


def test_a_forbidden_tag_has_no_probability_and_no_nan() -> None:
    emissions, tags, mask = example()
    emissions[1, :, 2] = -torch.inf
    tags = tags.masked_fill(tags == 2, 0)
    _, crf = pair()
    x = emissions.clone().requires_grad_()
    value = crf(x, tags, mask, reduction="none")
    for row, length in enumerate(LENGTHS):
        paths = paths_of(crf, emissions, row)
        log_likelihood = paths[tuple(tags[:length, row].tolist())] - chains.log_partition(paths)
        assert value[row].item() == pytest.approx(log_likelihood)
    gradients = torch.autograd.grad(value.sum(), [x, *crf.parameters()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert bool((crf.marginals(x, mask)[1, :, 2] == 0).all())


def test_derivatives_of_first_and_second_order_are_right() -> None:
    emissions, tags, mask = example()
    _, crf = pair()

    def loss(x: Tensor, start: Tensor, end: Tensor, transitions: Tensor) -> Tensor:
        scores = {"start_transitions": start, "end_transitions": end, "transitions": transitions}
        result: Tensor = torch.func.functional_call(crf, scores, (x, tags, mask, "none"))
        return result

    def probabilities(x: Tensor) -> Tensor:
        return crf.marginals(x, mask)

    x = emissions.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (x, *crf.parameters()))
    assert torch.autograd.gradgradcheck(loss, (x, *crf.parameters()))
    assert torch.autograd.gradcheck(probabilities, (x,))


def test_a_batch_without_sequences_is_possible() -> None:
    _, crf = pair()
    x = torch.zeros(STEPS, 0, TAGS, dtype=torch.float64, requires_grad=True)
    tags, mask = torch.zeros(STEPS, 0, dtype=torch.int64), torch.zeros(STEPS, 0, dtype=torch.bool)
    value = crf(x, tags, mask)
    value.backward()
    assert value.item() == 0
    assert x.grad is not None
    assert crf(x, tags, mask, reduction="none").shape == (0,)
    assert crf.decode(x) == crf.nbest(x, 2) == []
    assert crf.marginals(x, mask).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions_give_their_own_type(dtype: torch.dtype) -> None:
    emissions, tags, mask = example()
    reference, crf = pair()
    crf.to(dtype)
    value = crf(emissions.to(dtype), tags, mask)
    assert value.dtype == dtype
    expected = reference(emissions, tags, mask)
    assert value.item() == pytest.approx(expected.item(), rel=2e-2 if dtype != torch.float32 else 1e-5)
    assert crf.marginals(emissions.to(dtype), mask).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = seqkit.nn.CRF(TAGS)
        assert mixed(emissions.bfloat16(), tags, mask).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_tags_may_be_whole_numbers_of_any_width(dtype: torch.dtype) -> None:
    emissions, tags, mask = example()
    _, crf = pair()
    assert torch.equal(crf(emissions, tags.to(dtype), mask), crf(emissions, tags, mask))


def test_it_can_be_copied_and_pickled() -> None:
    emissions, tags, mask = example()
    _, crf = pair()
    expected = crf(emissions, tags, mask)
    for other in (copy.deepcopy(crf), pickle.loads(pickle.dumps(crf))):
        assert torch.equal(other(emissions, tags, mask), expected)


def call(**changes: Any) -> Any:
    emissions, tags, mask = example()
    arguments: dict[str, Any] = {"emissions": emissions, "tags": tags, "mask": mask} | changes
    return seqkit.nn.CRF(TAGS).double()(**arguments)


def without_step(mask: Tensor, step: int, row: int) -> Tensor:
    mask = mask.clone()
    mask[step, row] = False
    return mask


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emissions": torch.zeros(4, 5)}, "emissions must have dimension of 3, got 2"),
        ({"emissions": torch.zeros(4, 5, 2)}, "expected last dimension of emissions is 3, got 2"),
        ({"emissions": torch.zeros(0, 5, 3)}, "at least one"),
        ({"tags": torch.zeros(4, 4, dtype=torch.int64)}, r"emissions and tags must match, got \(4, 5\) and \(4, 4\)"),
        ({"tags": torch.zeros(4, 5)}, "tags must be whole numbers, not torch.float32"),
        ({"tags": torch.full((4, 5), 3)}, "tags must be from 0 to 2, not from 0 to 3"),
        ({"tags": torch.full((4, 5), -1)}, "tags must be from 0 to 2, not from -1"),
        ({"mask": torch.ones(4, 4).bool()}, r"emissions and mask must match, got \(4, 5\) and \(4, 4\)"),
        ({"mask": torch.zeros(4, 5).bool()}, "mask of the first timestep must all be on"),
        ({"mask": without_step(torch.ones(4, 5).bool(), 1, 3)}, "the mask of sequence 3 has a gap"),
        ({"reduction": "max"}, "invalid reduction: max"),
    ],
)
def test_mistakes_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**changes)


def test_mistakes_of_other_arguments_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="invalid number of tags: 0"):
        seqkit.nn.CRF(0)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        seqkit.nn.CRF(TAGS).nbest(example()[0], 0)


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_say_what_a_mask_says(batch_first: bool) -> None:
    _, crf = pair(batch_first=batch_first)
    emissions, tags, mask = example(batch_first=batch_first)
    lengths = torch.tensor(LENGTHS)
    for reduction in REDUCTIONS:
        assert torch.equal(
            crf(emissions, tags, mask, reduction), crf(emissions, tags, None, reduction, lengths=lengths)
        )
    assert crf.decode(emissions, mask) == crf.decode(emissions, lengths=lengths)
    assert crf.nbest(emissions, 2, mask) == crf.nbest(emissions, 2, lengths=lengths)
    assert torch.equal(crf.marginals(emissions, mask), crf.marginals(emissions, lengths=lengths))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([4, 1, 3, 4], "lengths must be 5 whole numbers"),
        ([4.0, 1.0, 3.0, 4.0, 2.0], "lengths must be 5 whole numbers"),
        ([4, 0, 3, 4, 2], "lengths must be from 1 to 4, not from 0 to 4"),
        ([4, 1, 3, 5, 2], "lengths must be from 1 to 4, not from 1 to 5"),
    ],
)
def test_lengths_that_do_not_fit_are_errors(lengths: list[float], message: str) -> None:
    _, crf = pair(batch_first=True)
    emissions, _, mask = example(batch_first=True)
    with pytest.raises(ValueError, match=message):
        crf.decode(emissions, lengths=torch.tensor(lengths))
    with pytest.raises(ValueError, match="pass one of them"):
        crf.decode(emissions, mask, lengths=torch.tensor(LENGTHS))
