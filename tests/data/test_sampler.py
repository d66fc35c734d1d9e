"""The order of the data: every example exactly once, in an order that depends on nothing but seed and epoch."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.data import sampler

LENGTHS = st.lists(st.integers(1, 300), max_size=200)
SEEDS = st.integers(0, 2**64 - 1)
EPOCHS = st.integers(0, 10_000)


@st.composite
def plans(draw: st.DrawFn) -> dict[str, Any]:
    batch = draw(st.none() | st.integers(1, 40))
    tokens = draw(st.integers(1, 3000) if batch is None else st.none() | st.integers(1, 3000))
    return {"batch": batch, "tokens": tokens}


def padded(batch: sampler.Index, lengths: list[int]) -> int:
    return len(batch) * max(lengths[i] for i in batch)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, plans(), SEEDS, EPOCHS, st.integers(1, 70))
def test_every_example_exactly_once_within_the_budget(
    lengths: list[int], plan: dict[str, Any], seed: int, epoch: int, pool: int
) -> None:
    shuffled = sampler.batch_shuffled(lengths, seed=seed, epoch=epoch, pool=pool, **plan)
    for batches in (shuffled, sampler.batch_sorted(lengths, **plan)):
        assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
        for batch in batches:
            assert batch.dtype == np.int64
            assert 1 <= len(batch) <= (plan["batch"] or len(lengths))
            assert plan["tokens"] is None or len(batch) == 1 or padded(batch, lengths) <= plan["tokens"]
            assert [lengths[i] for i in batch] == sorted((lengths[i] for i in batch), reverse=True)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, plans(), SEEDS, EPOCHS)
def test_the_order_is_a_pure_function(lengths: list[int], plan: dict[str, Any], seed: int, epoch: int) -> None:
    first = sampler.batch_shuffled(lengths, seed=seed, epoch=epoch, **plan)
    np.random.seed(0)
    np.random.permutation(10)
    sampler.batch_shuffled(lengths[::-1], seed=seed + 1, epoch=epoch + 1, **plan)
    again = sampler.batch_shuffled(np.array(lengths, dtype=np.int32), seed=seed, epoch=epoch, **plan)
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in again]


def test_the_order_is_the_same_for_all_time() -> None:
    """Written down: another NumPy, another machine, another process must give the same order."""
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    batches = [batch.tolist() for batch in sampler.batch_shuffled(lengths, seed=7, epoch=3, batch=3, pool=2)]
    assert batches == [[5, 7, 2], [11, 8, 4], [10, 6, 1], [9, 0, 3]]
    assert sampler.cut_lanes(103, batch=4, window=10, seed=7, epoch=3).starts.tolist() == [37, 62, 87, 9]
    assert sampler.interleave([4, 2], seed=7, epoch=3).tolist() == [0, 1, 0, 0, 0, 1]


def test_the_order_does_not_depend_on_the_process() -> None:
    code = (
        "from seqkit.data import sampler\n"
        "print([b.tolist() for b in sampler.batch_shuffled(range(1, 200), seed=5, epoch=2, tokens=900)])"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": hashing},
        ).stdout
        for hashing in ("1", "2")
    }
    expected = [batch.tolist() for batch in sampler.batch_shuffled(range(1, 200), seed=5, epoch=2, tokens=900)]
    assert runs == {f"{expected}\n"}


def test_seeds_and_epochs_give_different_orders() -> None:
    orders = {
        tuple(np.concatenate(sampler.batch_shuffled([1] * 50, seed=seed, epoch=epoch, batch=5)).tolist())
        for seed in (0, 1, 2, 2**63)
        for epoch in range(5)
    }
    assert len(orders) == 20


def test_the_order_is_random_in_every_place() -> None:
    """Each of 6 examples is in each place of the order equally often: chi-square over three seeds of 1,500 epochs."""
    epochs, n, chi_square = 1500, 6, 0.0
    for seed in (1, 2, 3):
        seen = np.zeros((n, n))
        for epoch in range(epochs):
            order = np.concatenate(sampler.batch_shuffled([1] * n, seed=seed, epoch=epoch, batch=1))
            seen[np.arange(n), order] += 1
        # In permutations the cells of a row and of a column hang together: hence (n - 1) / n.
        chi_square += ((seen - epochs / n) ** 2 / (epochs / n)).sum() * (n - 1) / n
    assert chi_square < 118.6  # 3 x 25 degrees of freedom, p = 0.001


def test_batches_differ_between_epochs_and_not_only_their_order() -> None:
    lengths = list(range(1, 201)) * 4
    one = {frozenset(batch.tolist()) for batch in sampler.batch_shuffled(lengths, seed=1, epoch=0, batch=8, pool=16)}
    two = {frozenset(batch.tolist()) for batch in sampler.batch_shuffled(lengths, seed=1, epoch=1, batch=8, pool=16)}
    assert len(one & two) < len(one) / 10


def test_similar_lengths_are_together() -> None:
    lengths = np.exp(np.random.default_rng(0).normal(3, 0.8, 20_000)).astype(int) + 1
    for plan, least in (({"batch": 32}, 0.88), ({"tokens": 2048}, 0.95)):  # 0.25 in random order
        batches = sampler.batch_shuffled(lengths, seed=1, epoch=0, **plan)
        filled = lengths.sum() / sum(padded(batch, lengths.tolist()) for batch in batches)
        assert filled > least
        # Lengths come in random order, not from long to short.
        longest = np.array([lengths[batch[0]] for batch in batches], dtype=float)
        assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.15


def test_evaluation_starts_with_the_longest_and_keeps_ties_in_order() -> None:
    assert [b.tolist() for b in sampler.batch_sorted([2, 5, 2, 7, 5], batch=2)] == [[3, 1], [4, 0], [2]]


@pytest.mark.parametrize(
    ("lengths", "options", "message"),
    [
        ([1], {}, "give `batch`, `tokens` or both"),
        ([1], {"batch": 0}, "at least 1"),
        ([1], {"tokens": 0}, "at least 1"),
        ([1], {"tokens": -3}, "at least 1"),
        ([3, 0, 2], {"batch": 2}, "example 1 has no steps"),
    ],
)
def test_impossible_plans_are_refused(lengths: list[int], options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler.batch_sorted(lengths, **options)
    with pytest.raises(ValueError, match=message):
        sampler.batch_shuffled(lengths, seed=1, epoch=1, **options)
    with pytest.raises(ValueError, match="at least 1"):
        sampler.batch_shuffled([1], seed=1, epoch=1, batch=1, pool=0)


def test_a_million_examples_take_moments() -> None:
    lengths = np.arange(1_000_000) % 97 + 1
    start = time.perf_counter()
    assert sum(map(len, sampler.batch_shuffled(lengths, seed=1, epoch=0, batch=32))) == 1_000_000
    assert time.perf_counter() - start < 5


# --- lanes ----------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 50), st.integers(1, 60), SEEDS, EPOCHS)
def test_lanes_cover_the_stream_once(total: int, batch: int, window: int, seed: int, epoch: int) -> None:
    lanes = sampler.cut_lanes(total, batch=batch, window=window, seed=seed, epoch=epoch)
    count = min(batch, total)
    assert lanes.starts.shape == (count,)
    assert lanes.windows[0][0] == 0
    assert all(b == a for (_, b), (a, _) in pairwise(lanes.windows))
    assert all(b - a == window for a, b in lanes.windows[:-1])
    assert 1 <= lanes.windows[-1][1] - lanes.windows[-1][0] <= window
    steps = (lanes.starts[:, None] + np.arange(lanes.windows[-1][1])) % total
    assert len(np.unique(steps)) == steps.size == total - lanes.left_out
    assert 0 <= lanes.left_out < count
    # A lane starts where the one before it ends.
    assert (steps[1:, 0] == (steps[:-1, -1] + 1) % total).all()


def test_the_rotation_changes_what_is_left_out() -> None:
    left = set()
    for epoch in range(200):
        lanes = sampler.cut_lanes(103, batch=4, window=10, seed=1, epoch=epoch)
        steps = (lanes.starts[:, None] + np.arange(25)) % 103
        left |= set(range(103)) - set(steps.reshape(-1).tolist())
    assert left == set(range(103))


@pytest.mark.parametrize("wrong", [{"total": 0}, {"batch": 0}, {"window": 0}])
def test_impossible_lanes_are_refused(wrong: dict[str, int]) -> None:
    options = {"total": 10, "batch": 2, "window": 3, "seed": 1, "epoch": 0} | wrong
    with pytest.raises(ValueError, match="cannot be read"):
        sampler.cut_lanes(options.pop("total"), **options)


# --- interleave -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=5), SEEDS, EPOCHS)
def test_each_task_has_its_turns_evenly(counts: list[int], seed: int, epoch: int) -> None:
    order = sampler.interleave(counts, seed=seed, epoch=epoch)
    assert np.bincount(order, minlength=len(counts)).tolist() == counts
    assert order.tolist() == sampler.interleave(counts, seed=seed, epoch=epoch).tolist()
    for task, count in enumerate(counts):
        turns = np.cumsum(order == task)
        fair = np.arange(1, len(order) + 1) * count / max(1, len(order))
        assert (np.abs(turns - fair) <= len(counts)).all()


def test_turns_are_not_a_fixed_rhythm() -> None:
    orders = {tuple(sampler.interleave([5, 5], seed=1, epoch=epoch).tolist()) for epoch in range(20)}
    assert len(orders) > 10
    with pytest.raises(ValueError):
        sampler.interleave([1, -1], seed=1, epoch=0)


def padding_of(longest: list[int], weights: list[int], edges: tuple[int, ...]) -> float:
    """The padding if each batch is padded to the next of these lengths."""
    return sum(
        weight * (min(edge for edge in edges if edge >= steps) - steps)
        for steps, weight in zip(longest, weights, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_edges_leave_the_least_padding_that_so_many_lengths_can(batches: list[tuple[int, int]], count: int) -> None:
    longest, weights = [steps for steps, _ in batches], [weight for _, weight in batches]
    edges = tuple(sampler.choose_edges(longest, count, weights=weights).tolist())
    assert len(edges) <= count
    assert edges[-1] == max(longest)
    assert list(edges) == sorted(set(edges))
    known = sorted(set(longest))
    choices = [
        (*chosen, known[-1])
        for size in range(min(count, len(known)))
        for chosen in itertools.combinations(known[:-1], size)
    ]
    least = min(padding_of(longest, weights, choice) for choice in choices)
    assert padding_of(longest, weights, edges) == least


def test_edges_of_many_lengths_are_chosen_in_moments() -> None:
    lengths = np.random.default_rng(1).lognormal(4, 0.8, 50_000).astype(int) + 1
    edges = sampler.choose_edges(lengths, 16)
    assert len(edges) == 16
    assert edges[-1] == lengths.max()

    def valid(lengths_to: Any) -> float:
        return float(lengths.sum() / lengths_to[np.searchsorted(lengths_to, lengths)].sum())

    assert valid(edges) > 0.88
    assert valid(edges) > valid(np.quantile(lengths, np.linspace(1 / 16, 1, 16), method="higher")) + 0.05


@pytest.mark.parametrize(("longest", "count"), [([], 3), ([4], 0), ([0, 4], 2)])
def test_impossible_edges_are_refused(longest: list[int], count: int) -> None:
    with pytest.raises(ValueError, match="cannot be padded"):
        sampler.choose_edges(longest, count)


def slow_batches(lengths, *, seed, epoch, batch=None, tokens=None, pool=64):
    """The same by lists, as the docstring says it."""
    order = sampler._shuffle(len(lengths), seed, epoch, sampler._EXAMPLES).tolist()
    pools: list[list[int]] = []
    last_key, steps_before = None, 0
    for position, example in enumerate(order):
        key = (position // (pool * batch) if batch else 0, steps_before // (pool * tokens) if tokens else 0)
        if key != last_key:
            pools.append([])
        last_key = key
        pools[-1].append(example)
        steps_before += lengths[example]
    batches: list[list[int]] = []
    for members in pools:
        members.sort(key=lambda example: -lengths[example])
        start = 0
        while start < len(members):
            size = min(max(1, tokens // lengths[members[start]]) if tokens else len(members), batch or len(members))
            batches.append(members[start : start + size])
            start += size
    return [batches[i] for i in sampler._shuffle(len(batches), seed, epoch, sampler._BATCHES)]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("plan", [{"batch": 4}, {"tokens": 60}, {"batch": 3, "tokens": 50}, {"tokens": 10, "pool": 1}])
def test_batches_are_those_of_the_slow_algorithm(plan, block, monkeypatch) -> None:
    monkeypatch.setattr(sampler, "_BLOCK", block)
    plan = {"pool": 3} | plan
    for count in (0, 1, 2, 150):
        lengths = np.random.default_rng(count).integers(1, 30, count).tolist()
        batches = sampler.batch_shuffled(lengths, seed=3, epoch=1, **plan)
        expected = slow_batches(lengths, seed=3, epoch=1, **plan)
        assert [batch.tolist() for batch in batches] == expected
        assert len(batches) == len(expected)
        if count == 150:
            assert batches[-1].tolist() == expected[-1]
            assert [batch.tolist() for batch in batches[2:5]] == expected[2:5]
            with pytest.raises(IndexError):
                batches[len(batches)]


def test_windows_are_computed_on_access() -> None:
    windows = sampler.cut_lanes(103, batch=4, window=10, seed=1, epoch=0).windows
    assert list(windows) == [(0, 10), (10, 20), (20, 25)]
    assert windows[-1] == (20, 25)
    assert windows[1:] == [(10, 20), (20, 25)]
    with pytest.raises(IndexError):
        windows[3]


@pytest.mark.parametrize("files", [[40], [7, 1, 30, 12, 50], [20] * 6])
@pytest.mark.parametrize("mix", [1, 2, 4, 9])
@pytest.mark.parametrize("limit", [{"batch": 4}, {"tokens": 90}])
def test_few_files_are_read_at_a_time(files: list[int], mix: int, limit: dict[str, int]) -> None:
    ends, count = np.cumsum(files), sum(files)
    lengths = np.random.default_rng(1).integers(1, 40, count)
    first, again, other = (
        [batch.tolist() for batch in sampler.batch_shuffled(lengths, seed=1, epoch=e, file_ends=ends, mix=mix, **limit)]
        for e in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert sorted(row for batch in first for row in batch) == list(range(count))
    if mix >= len(files):
        assert first == [b.tolist() for b in sampler.batch_shuffled(lengths, seed=1, epoch=0, **limit)]
        return
    seen: list[set[int]] = []
    for batch in first:
        of_batch = set(np.searchsorted(ends, batch, side="right").tolist())
        if seen and len(seen[-1] | of_batch) <= mix:
            seen[-1] |= of_batch
        else:
            seen.append(of_batch)
    assert all(len(group) <= mix for group in seen)
    assert sum(map(len, seen)) == len(files), "no file is read again after others"


@given(st.integers(1, 400), st.integers(1, 40), st.floats(0.0, 0.49), st.integers(0, 5), st.integers(1, 4))
def test_windows_of_varied_lengths(total: int, window: int, vary: float, epoch: int, batch: int) -> None:
    """They cover every step once, as many as without, and depend on seed and epoch alone."""
    options: dict[str, int] = {"batch": batch, "window": window, "seed": 3, "epoch": epoch}
    lanes = sampler.cut_lanes(total, vary=vary, **options)
    plain = sampler.cut_lanes(total, **options)
    windows = list(lanes.windows)
    assert len(windows) == len(plain.windows)
    assert windows[0][0] == 0
    assert windows[-1][1] == list(plain.windows)[-1][1]
    assert all(start < stop for start, stop in windows)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(windows))
    assert all(abs(one[0] - other[0]) <= vary * window for one, other in zip(windows, plain.windows, strict=True))
    assert windows == list(sampler.cut_lanes(total, vary=vary, **options).windows)
    assert lanes.starts.tolist() == plain.starts.tolist()


def test_boundaries_move_from_epoch_to_epoch() -> None:
    options: dict[str, int] = {"batch": 4, "window": 20, "seed": 3}
    epochs = [list(sampler.cut_lanes(4000, vary=0.4, epoch=epoch, **options).windows) for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    lengths = [stop - start for start, stop in epochs[0]]
    assert min(lengths) < 12
    assert max(lengths) > 28
