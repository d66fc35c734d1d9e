"""Examples that are mixed: with whom and how much, the loss against a slow twin, and that nothing else changes it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import heads
from seqkit.data import sampler
from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import DataError
from seqkit.fields import Label, Labels
from seqkit.interfaces import Batch, Encoded, Mixed
from seqkit.kernels import by_example
from seqkit.runtime.ranks import ALONE, Ranks
from seqkit.training.objective import Objective
from seqkit.training.state import TrainingState
from seqkit.training.step import forward_backward, mean_gradients, step_graphs
from tests.helpers import small
from tests.helpers.together import together


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


def mixed_batches(data: TaskData, epoch: int = 0, **changes: Any) -> list[Batch]:
    plan = EpochPlan({data.name: data}, small.settings(mixup=0.3, **changes), seed=1, epoch=epoch)
    return [batch for turn in plan.turns for batch in plan.batches(turn)]


def pairs(batches: list[Batch]) -> dict[str, tuple[str, float]]:
    """Of each example the id of its partner, and its own share."""
    return {
        example: (partner, share)
        for batch in batches
        if batch.mixed is not None
        for example, partner, share in zip(batch.ids, batch.mixed.batch.ids, batch.mixed.share.tolist(), strict=True)
    }


class TestPartners:
    def test_they_do_not_depend_on_the_batches(self, data: TaskData) -> None:
        first = pairs(mixed_batches(data, batch=4))
        assert len(first) == 40
        assert first == pairs(mixed_batches(data, batch=7)) == pairs(mixed_batches(data, tokens=30, shapes=2))
        assert first != pairs(mixed_batches(data, epoch=1, batch=4))

    def test_a_partner_is_the_example_of_that_id(self, data: TaskData) -> None:
        (batch, *_) = mixed_batches(data)
        assert batch.mixed is not None
        for row, example in enumerate(batch.mixed.batch.ids):
            number = int(example.split(":")[1])
            alone = data.batch("train", np.array([number]))
            assert torch.equal(batch.mixed.batch.x[row, : int(alone.lengths)], alone.x[0])
            assert batch.mixed.batch.y is not None
            assert alone.y is not None
            assert int(batch.mixed.batch.y[row]) == int(alone.y)

    @pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
    def test_shares_have_a_beta_distribution(self, alpha: float) -> None:
        others, shares = sampler.partners(20_000, alpha, seed=3, epoch=2)
        assert shares.mean() == pytest.approx(0.5, abs=0.01)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.05)
        assert np.bincount(others, minlength=20_000).max() < 12
        assert abs(np.corrcoef(others, shares)[0, 1]) < 0.03

    def test_rows_that_are_taken_keep_theirs(self, data: TaskData) -> None:
        (batch, *_) = mixed_batches(data, batch=6)
        taken = batch.take([4, 1]).trimmed()
        assert taken.mixed is not None
        assert taken.mixed.batch.x.shape[1] == int(taken.mixed.batch.lengths.max())
        both = pairs([batch])
        assert pairs([taken]) == {example: both[example] for example in (batch.ids[4], batch.ids[1])}

    def test_without_the_option_nothing_is_mixed(self, data: TaskData) -> None:
        plan = EpochPlan({data.name: data}, small.settings(), seed=1, epoch=0)
        assert all(batch.mixed is None for turn in plan.turns for batch in plan.batches(turn))


def encoded_of(lengths: list[int], seed: int) -> Encoded:
    steps = torch.randn(len(lengths), max(lengths), 4, generator=torch.Generator().manual_seed(seed))
    for row, length in enumerate(lengths):
        steps[row, length:] = 99.0  # what is past the end must not matter
    return Encoded(steps, torch.tensor(lengths), steps[:, 0], lambda: ())


@pytest.mark.parametrize("kind", ["label", "smoothed", "labels"])
def test_the_loss_against_a_slow_twin(kind: str) -> None:
    several = kind == "labels"
    target: Any = Labels().fit([["a"], ["b", "c"]]) if several else Label().fit(["a", "b", "c"])
    smoothing = 0.3 if kind == "smoothed" else 0.0
    head: Any = heads.classify(4, target, None, pool="mean", dropout=0.0, label_smoothing=smoothing).train()
    one, other = encoded_of([5, 2], 1), encoded_of([1, 3], 2)
    y = torch.tensor([[1.0, 0, 1], [0, 1, 0]]) if several else torch.tensor([0, 2])
    y_other = torch.tensor([[0.0, 0, 1], [1, 1, 0]]) if several else torch.tensor([1, 2])
    mixed = Mixed(Batch(torch.zeros(2, 3), other.lengths, y_other), torch.tensor([0.25, 0.9]))
    loss, count = head.mixed_loss(one, other, Batch(torch.zeros(2, 5), one.lengths, y, mixed=mixed))
    expected = 0.0
    for row, share in enumerate([0.25, 0.9]):
        means = [e.steps[row, : int(e.lengths[row])].mean(dim=0) for e in (one, other)]
        scores = (head.out(share * means[0] + (1 - share) * means[1])).tolist()
        for part, true in ((share, y[row]), (1 - share, y_other[row])):
            if several:
                chances = [1 / (1 + math.exp(-score)) for score in scores]
                terms = [math.log(p if is_true else 1 - p) for p, is_true in zip(chances, true.tolist(), strict=True)]
            else:
                total = sum(map(math.exp, scores))
                weights = [smoothing / 3 + (1 - smoothing) * (number == int(true)) for number in range(3)]
                terms = [w * math.log(math.exp(s) / total) for w, s in zip(weights, scores, strict=True)]
            expected -= part * sum(terms)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(count) == (6 if several else 2)


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_an_example_that_is_all_of_the_mixture_has_its_own_loss(share: float) -> None:
    head: Any = heads.classify(4, Label().fit(["a", "b"]), None, dropout=0.5).train()
    one, other = encoded_of([5, 2], 1), encoded_of([1, 3], 2)
    y, y_other = torch.tensor([0, 1]), torch.tensor([1, 1])
    mixed = Mixed(Batch(torch.zeros(2, 3), other.lengths, y_other), torch.full((2,), share))
    with by_example(1, 2, torch.arange(2)):
        loss, _ = head.mixed_loss(one, other, Batch(torch.zeros(2, 5), one.lengths, y, mixed=mixed))
    alone, labels = (one, y) if share else (other, y_other)
    with by_example(1, 2, torch.arange(2)):
        expected, _ = head.loss(alone, Batch(torch.zeros(2, 5), alone.lengths, labels))
    torch.testing.assert_close(loss, expected)


def train(data: TaskData, ranks: Ranks = ALONE, limit: int | None = None, **changes: Any) -> dict[str, Tensor]:
    """The weights after some steps with dropout."""
    torch.set_num_threads(1)
    model = small.model(data, dropout=0.4)
    options = small.settings(batch=7, **{"mixup": 0.3, **changes})
    state = TrainingState.create(model, {data.name: data}, options, seed=1, ranks=ranks)
    if limit is not None:
        state.counters.fits[data.name] = limit
    plan = EpochPlan({data.name: data}, options, seed=1, epoch=0)
    model.train()
    for turn in plan.turns[:4]:
        batches = plan.batches(turn)
        result = forward_backward(state, data, batches, str)
        mean_gradients(state, result)
        state.optimizer.step()
        state.end_step(data.name, batches, result.carried)
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - tensor).abs().max()) for name, tensor in other.items())


def test_a_batch_in_parts_gives_the_weights_of_the_batch(data: TaskData) -> None:
    expected = train(data)
    assert difference(train(data, mixup=None), expected) > 1e-4
    assert difference(train(data, limit=15), expected) < 1e-5


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_give_the_weights_of_one(size: int, data: TaskData) -> None:
    expected = train(data, shards=3)
    for weights in together(size, lambda ranks: train(data, ranks, shards=3)):
        assert difference(weights, expected) == 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_ends_with_what_is_logged(precision: str, data: TaskData, tmp_path: Path) -> None:
    model, run = small.model(data), small.create_run(tmp_path / "run")
    small.train(model, data, small.settings(mixup=0.3, precision=precision), run)
    assert '"steps/train/loss"' in (run.folder / "metrics.jsonl").read_text()


def test_what_cannot_be_mixed_is_refused(data: TaskData, tmp_path: Path) -> None:
    model = small.model(data)
    with pytest.raises(DataError, match=r"train\.mixup: examples are mixed or compared"):
        Objective.of(small.settings(mixup=0.3, agreement=1.0), model, {data.name: data})
    text = small.stream(tmp_path)
    with pytest.raises(DataError, match=r"train\.mixup: task text: Language does not say how examples are mixed"):
        Objective.of(small.settings(mixup=0.3), small.model(text), {text.name: text})
    shared = dataclasses.replace(data, sharing=(data,))
    with pytest.raises(DataError, match=r"train\.mixup: task steps shares its examples with another one"):
        Objective.of(small.settings(mixup=0.3), model, {data.name: shared})


def test_mixed_batches_are_no_graphs(data: TaskData) -> None:
    sentences: list[str] = []
    state = small.state(small.model(data), data, cuda_graphs=True, mixup=0.3)
    assert step_graphs(state, sentences.append) is None
    assert "train.mixup" in sentences[0]
