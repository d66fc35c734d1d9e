"""Several processes give the weights of one: bit for bit with shards, up to rounding without."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqkit.data.epoch import EpochPlan
from seqkit.data.task_data import TaskData
from seqkit.errors import Interrupted, RunError, UsageError
from seqkit.inference.evaluate import evaluate
from seqkit.interfaces import Batch
from seqkit.optim.gradients import clip_gradients, global_norm
from seqkit.runs.interrupts import Interrupts
from seqkit.runtime.ranks import ALONE, Ranks, deal
from seqkit.training import bucket_sums
from seqkit.training.exchange import exchange
from seqkit.training.gradient_tree import Gradients, Shards, nodes_within, sum_tree, take_gradients
from seqkit.training.state import TrainingState
from seqkit.training.step import forward_backward, mean_gradients
from tests.helpers import small
from tests.helpers.together import outcomes, together

STEPS = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.vectors(tmp_path_factory.mktemp("vectors"), examples=40)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    return small.stream(tmp_path_factory.mktemp("text"))


def train(
    used: TaskData,
    ranks: Ranks = ALONE,
    limit: int | None = None,
    dropout: float = 0.4,
    weight_drop: float = 0.0,
    zoneout: float | None = None,
    **settings: Any,
) -> dict[str, Tensor]:
    """The weights after some steps with dropout, the last loss, and the carried states of all rows."""
    torch.set_num_threads(1)
    model = small.model(used, dropout=dropout, weight_drop=weight_drop, zoneout=zoneout)
    options = small.settings(batch=7, **settings)
    state = TrainingState.create(model, {used.name: used}, options, seed=1, ranks=ranks)
    if limit is not None:
        state.counters.fits[used.name] = limit
    plan = EpochPlan({used.name: used}, options, seed=1, epoch=0)
    model.train()
    loss = torch.zeros(())
    for turn in plan.turns[:STEPS]:
        batches = plan.batches(turn)
        result = forward_backward(state, used, batches, str)
        gradients = mean_gradients(state, result)
        clip_gradients(gradients, 0.5, global_norm(gradients))
        state.optimizer.step()
        state.end_step(used.name, batches, result.carried)
        loss = result.loss / result.count
    carried = {f"carried.{n}": t for n, t in enumerate(state._all_rows(state.carried.get(used.name, ())))}
    return {name: weight.detach().clone() for name, weight in model.named_parameters()} | carried | {"loss": loss}


def largest_difference(weights: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert weights.keys() == expected.keys()
    return max(float((weights[name] - tensor).abs().max()) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", ["data", "text"])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_give_the_weights_of_one(kind: str, size: int, data: TaskData, text: TaskData) -> None:
    used = {"data": data, "text": text}[kind]
    expected = train(used)
    for weights in together(size, lambda ranks: train(used, ranks)):
        assert largest_difference(weights, expected) < 1e-6


@pytest.mark.parametrize("kind", ["data", "text"])
def test_with_shards_every_number_of_processes_gives_the_same_bits(kind: str, data: TaskData, text: TaskData) -> None:
    used = {"data": data, "text": text}[kind]
    expected = train(used, shards=4, accumulate=2 if kind == "data" else 1)
    assert largest_difference(expected, train(used, accumulate=2 if kind == "data" else 1)) < 1e-6
    for size in (2, 3, 4):
        for weights in together(
            size, lambda ranks: train(used, ranks, shards=4, accumulate=2 if kind == "data" else 1)
        ):
            assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


REGULARISED: dict[str, dict[str, Any]] = {
    "weight-drop": {"weight_drop": 0.4},
    "zoneout": {"zoneout": 0.3},
    "vectors of symbols": {"embedding_dropout": 0.3},
    "penalties": {"activation_penalty": 2.0, "change_penalty": 1.0},
    "agreement": {"agreement": 1.5},
    "windows": {"vary_windows": 0.4},
}


@pytest.mark.parametrize("name", REGULARISED)
def test_regularisation_does_not_depend_on_the_number_of_processes(name: str, text: TaskData) -> None:
    changes = REGULARISED[name]
    alone = train(text, shards=3, **changes)
    without = {"zoneout": 0.0} if name == "zoneout" else {}
    assert largest_difference(alone, train(text, shards=3, **without)) > 0
    for weights in together(2, lambda ranks: train(text, ranks, shards=3, **changes)):
        assert largest_difference(weights, alone) == 0.0


@pytest.mark.parametrize("name", REGULARISED)
def test_regularisation_of_a_batch_in_parts_is_that_of_the_batch(name: str, text: TaskData) -> None:
    whole, parts = train(text, **REGULARISED[name]), train(text, limit=15, **REGULARISED[name])
    assert largest_difference(parts, whole) < 1e-5


@pytest.mark.parametrize("shards", [1, 3, 4])
@pytest.mark.parametrize("kind", ["data", "text"])
def test_buckets_that_are_sent_during_the_backward_pass_change_no_bit(
    kind: str, shards: int, data: TaskData, text: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"data": data, "text": text}[kind]
    monkeypatch.setattr(bucket_sums, "BUCKET_BYTES", 100)

    def run(ranks: Ranks, is_early: bool) -> tuple[dict[str, Tensor], list[int]]:
        sent_early, real = list[int](), bucket_sums.BucketSums.send_rest

        def send_rest(sums: bucket_sums.BucketSums, nodes: Any) -> None:
            if not is_early:
                assert not sums._sums
            sent_early.append(len(sums._sums))
            real(sums, nodes)

        monkeypatch.setattr(bucket_sums.BucketSums, "send_rest", send_rest)
        if not is_early:
            monkeypatch.setattr(bucket_sums.BucketSums, "during_backward", lambda *_: contextlib.nullcontext())
        return train(used, ranks, shards=shards), sent_early

    expected = train(used, shards=shards)
    for size in (2, 3):
        early = together(size, lambda ranks: run(ranks, True))
        late = together(size, lambda ranks: run(ranks, False))
        for (weights, sent_early), (weights_late, _) in zip(early, late, strict=True):
            assert sent_early[0] == 0, "what the first step has gradients for is not known before"
            assert len(sent_early) == STEPS
            assert min(sent_early[1:]) > 3
            assert all(torch.equal(weights[name], tensor) for name, tensor in weights_late.items())
            assert shards == 1 or all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_buckets_are_summed_anew_where_other_parameters_have_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_sums, "BUCKET_BYTES", 8)

    def run(ranks: Ranks) -> list[list[float]]:
        parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
        shards, dense, sums = Shards(3, ranks, is_ordered=True), None, list[list[float]]()
        for used in ([0, 1, 2], [0, 2], [1], [1, 2]):
            sent = None if dense is None else bucket_sums.BucketSums(shards, parameters, dense)
            nodes: dict[tuple[int, int], Gradients] = {}
            for low, high in nodes_within(0, 3, shards.own):
                with contextlib.nullcontext() if sent is None else sent.during_backward(list(nodes.values()), []):
                    factor = sum(range(low, high))
                    torch.stack([parameters[n].sum() * (n + 1) * (1 + factor) for n in used]).sum().backward()
                nodes[low, high] = take_gradients(parameters)
            if sent is not None:
                sent.send_rest(nodes)
            kinds = torch.tensor([float(n in used) for n in range(3)])
            dense = exchange(shards, nodes, parameters, kinds, sent)
            assert dense == used
            sums.append([0.0 if p.grad is None else float(p.grad[0]) for p in parameters])
            for parameter in parameters:
                parameter.grad = None
        return sums

    for size, nodes in ((2, [1, 2 + 1 + 1]), (3, [1, 2, 3])):
        total = float(sum(nodes))
        expected = [[total, 2 * total, 3 * total], [total, 0, 3 * total], [0, 2 * total, 0], [0, 2 * total, 3 * total]]
        assert all(sums == expected for sums in together(size, run)), size


def test_a_process_that_is_short_of_memory_makes_all_compute_in_parts(
    data: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(data, shards=2)

    def run(ranks: Ranks) -> dict[str, Tensor]:
        if ranks.rank == 1 or ranks.is_alone:
            small.limit_memory(monkeypatch, 15, backward=False)
        return train(data, ranks, shards=2)

    for weights in together(2, run):
        assert largest_difference(weights, expected) < 1e-6


def test_a_batch_in_parts_or_accumulated_gives_the_weights_of_the_whole(
    data: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulated = train(data, accumulate=2)
    real = EpochPlan.batches

    def joined(plan: EpochPlan, turn: Any) -> list[Batch]:
        numbers = [batch.numbers for batch in real(plan, turn)]
        return [data.batch("train", torch.cat([n for n in numbers if n is not None]).numpy())]

    monkeypatch.setattr(EpochPlan, "batches", joined)
    whole = train(data, accumulate=2)
    parts = train(data, accumulate=2, limit=15)
    assert largest_difference(accumulated, whole) < 1e-6
    assert largest_difference(parts, whole) < 1e-6
    assert not all(torch.equal(parts[name], tensor) for name, tensor in whole.items()), "it was computed otherwise"
    assert largest_difference(train(data, accumulate=2, dropout=0.0), whole) > 1e-4, "dropout was at work"


def test_more_processes_than_shards_are_refused() -> None:
    with pytest.raises(UsageError, match="2 shards cannot be dealt to 3 processes"):
        Shards.of(2, Ranks(0, 3))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_rows_are_dealt_once_and_evenly(count: int) -> None:
    generator = np.random.default_rng(3)
    for rows in (1, 2, 7, 33, 64):
        lengths = torch.from_numpy(generator.integers(1, 50, rows))
        parts = deal(lengths, count)
        assert sorted(row for part in parts for row in part) == list(range(rows))
        assert all(part == sorted(part) for part in parts)
        sums = [int(lengths[part].sum()) for part in parts]
        assert max(sums) - min(sums) <= int(lengths.max()), "no part has more than one long example more"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 16])
def test_the_tree_of_sums_does_not_depend_on_who_adds(count: int) -> None:
    values = [torch.randn(5) for _ in range(count)]
    expected = sum_tree(0, count, lambda low, high: Gradients({0: values[low].clone()}) if high - low == 1 else None)
    for size in range(1, count + 1):
        known: dict[tuple[int, int], Gradients] = {}
        for rank in range(size):
            own = Shards(count, Ranks(rank, size), is_ordered=True).own
            nodes = nodes_within(0, count, own)
            assert [n for low, high in nodes for n in range(low, high)] == list(own)
            for low, high in nodes:
                known[low, high] = sum_tree(
                    low, high, lambda a, b: Gradients({0: values[a].clone()}) if b - a == 1 else None
                )
        total = sum_tree(0, count, lambda low, high, known=known: known.get((low, high)))  # type: ignore[misc]
        assert torch.equal(total.dense[0], expected.dense[0])


def test_sparse_gradients_are_summed_by_row() -> None:
    def run(ranks: Ranks) -> Tensor:
        table, shards = nn.Embedding(9, 3, sparse=True), Shards(4, ranks, is_ordered=True)
        torch.manual_seed(1)
        factors = torch.randn(4, 5)
        ids = torch.tensor([[1, 2, 2, 8, 0], [2, 2, 1, 1, 1], [7, 7, 7, 7, 2], [0, 8, 8, 8, 8]])

        def leaf(low: int, high: int) -> Gradients | None:
            if high - low > 1:
                return None
            (table(ids[low]) * factors[low][:, None]).sum().backward()
            return take_gradients([table.weight])

        nodes = {(a, b): sum_tree(a, b, leaf) for a, b in nodes_within(0, 4, shards.own)}
        exchange(shards, nodes, [table.weight], torch.tensor([2.0]))
        gradient = table.weight.grad
        assert gradient is not None
        assert gradient.is_sparse
        return gradient.to_dense()

    expected = run(ALONE)
    summed = torch.zeros(9)
    torch.manual_seed(1)
    factors = torch.randn(4, 5)
    ids = torch.tensor([[1, 2, 2, 8, 0], [2, 2, 1, 1, 1], [7, 7, 7, 7, 2], [0, 8, 8, 8, 8]])
    summed.index_add_(0, ids.flatten(), factors.flatten())
    assert torch.allclose(expected, summed[:, None].expand(9, 3))
    for size in (2, 3):
        assert all(torch.equal(result, expected) for result in together(size, run))


@pytest.mark.parametrize("size", [2, 3])
def test_evaluations_take_each_example_once(size: int, tmp_path: Path) -> None:
    used = small.vectors(tmp_path, examples=33)
    model = small.model(used)
    for batch in (1, 5, 40):
        expected = evaluate(model, used, "train", batch=batch, keep_predictions=True)
        results = together(
            size,
            lambda ranks, batch=batch: evaluate(model, used, "train", batch=batch, keep_predictions=True, ranks=ranks),
        )
        for result in results:
            assert (result.loss, result.scores) == (expected.loss, expected.scores)
        assert [p.value for p in results[0].predictions] == [p.value for p in expected.predictions]
        assert list(results[0].ids) == list(expected.ids)


@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)])
def test_splits_of_1_to_33_examples_are_scored_once(size: int, tmp_path: Path) -> None:
    splits = [small.vectors(tmp_path / str(examples), dev=examples) for examples in range(1, 34)]
    model = small.model(splits[-1])

    def scores(ranks: Ranks = ALONE) -> list[Any]:
        results = [
            evaluate(model, used, "dev", batch=batch, keep_predictions=True, ranks=ranks)
            for used in splits
            for batch in (1, 4)
        ]
        return [(r.loss, r.scores, list(r.ids), [p.value for p in r.predictions]) for r in results]

    expected = scores()
    assert [len(ids) for _, _, ids, _ in expected] == [examples for examples in range(1, 34) for _ in (1, 4)]
    first, *others = together(size, scores)
    assert first == expected
    assert all([r[:2] for r in other] == [r[:2] for r in expected] for other in others)


def test_a_signal_that_one_process_gets_stops_all_at_the_same_step(data: TaskData) -> None:
    def run(ranks: Ranks) -> int:
        stop = Interrupts(announce=False)
        stop.share()
        state = TrainingState.create(
            small.model(data), {data.name: data}, small.settings(), seed=1, ranks=ranks, stop=stop
        )
        batch = data.batch("train", np.arange(9))
        for step in range(5):
            if step == 2 and ranks.rank == 1:
                stop._handle(15, None)
                assert not stop.requested, "the others do not know yet"
            forward_backward(state, data, [batch], str)
            if stop.requested:
                with pytest.raises(Interrupted) as caught:
                    stop.check()
                assert caught.value.exit_code == 143
                return step
        return -1

    assert together(2, run) == [2, 2]


def test_a_process_that_dies_ends_the_others_with_a_sentence(data: TaskData) -> None:
    def run(ranks: Ranks) -> None:
        state = TrainingState.create(small.model(data), {data.name: data}, small.settings(), seed=1, ranks=ranks)
        batch = data.batch("train", np.arange(9))
        for step in range(5):
            if step == 2 and ranks.rank == 0:
                os._exit(9)
            forward_backward(state, data, [batch], str)

    first, second = outcomes(2, run, seconds=30)
    assert first == (False, ("", "", ""))
    assert not second[0]
    assert second[1][0] == "RankLost"
    assert "process 1 of 2: another process has ended or cannot be reached" in second[1][1]
    assert "--resume" in second[1][1]


def test_an_error_is_told_by_the_process_that_has_it() -> None:
    def run(ranks: Ranks) -> None:
        if ranks.rank == 1:
            raise RunError("the disk is full")
        ranks.wait()

    first, second = outcomes(2, run, seconds=30)
    assert second[1][:2] == ("RunError", "the disk is full")
    assert first[1][0] == "QuietExit"


def test_a_loss_that_is_not_finite_is_the_same_to_all(data: TaskData) -> None:
    def run(ranks: Ranks) -> tuple[bool, bool]:
        state = TrainingState.create(small.model(data), {data.name: data}, small.settings(), seed=1, ranks=ranks)
        batch = data.batch("train", np.arange(9))
        rows = deal(batch.lengths, 2)[1]
        x = batch.x.clone()
        x[rows[0], 0] = float("nan")
        bad = Batch(x, batch.lengths, batch.y, batch.y_lengths, ids=batch.ids, numbers=batch.numbers)
        result = forward_backward(state, data, [bad], str)
        return bool(result.loss.isfinite()), all(p.grad is None for p in state.parameters)

    assert together(2, run) == [(False, True), (False, True)]
