"""The order of the data, as pure functions of (seed, epoch): no state to save, any position reached at once.

Randomness is the raw stream of Philox (Salmon et al. 2011), a counter-based generator keyed by (seed, epoch). NumPy
promises that stream for all time, but not that of its `permutation`, so an order is an argsort of raw numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqkit.lazy_sequence import LazySequence
from seqkit.types import Index

# What random numbers are drawn for. Each purpose has its own range of the counter, so no two get the same numbers.
_EXAMPLES, _BATCHES, _ROTATION, _TURNS, _FILES, _BOUNDARIES, _PARTNERS, _SHARES = range(8)

_MOST_EDGES = 512
"""`choose_edges` considers at most so many different lengths."""

_BLOCK = 1 << 20
"""Examples whose lengths are summed at once."""


@final
class Batches(LazySequence[Index]):
    """Batches as slices of one array: 8 bytes an example, 16 a batch.

    Args:
        members: (n,) example numbers, batch after batch.
        ends: where each batch ends in `members`.
        order: (number of batches,) the order in which batches are visited; None: as they are stored.
    """

    def __init__(self, members: Index, ends: array[int], order: Index | None = None) -> None:
        self._members = members
        self._ends = ends
        self._order = order

    def __len__(self) -> int:
        return len(self._ends)

    def item(self, i: int) -> Index:
        number = range(len(self))[i]
        if self._order is not None:
            number = int(self._order[number])
        start = self._ends[number - 1] if number else 0
        return self._members[start : self._ends[number]]


def batch_shuffled(
    lengths: ArrayLike,
    *,
    seed: int,
    epoch: int,
    batch: int | None = None,
    tokens: int | None = None,
    pool: int = 64,
    file_ends: Index | None = None,
    mix: int | None = None,
) -> Sequence[Index]:
    """The batches of a training epoch: every example exactly once, similar lengths together, in random order.

    Examples are shuffled and cut into pools of `pool` batches. Each pool is sorted by length and cut into batches, and
    then the batches are shuffled. (Sorting all examples together would give the same batches in every epoch.)

    Args:
        lengths: (n,) steps of each example.
        seed: of the run.
        epoch: counted from 0.
        batch: at most so many examples in a batch.
        tokens: at most so many padded steps in a batch (its examples times the longest of them). A longer example gets
            a batch of its own.
        pool: batches in a pool.
        file_ends: (number of files,) the example after the last of each file; None: they are in one.
        mix: the examples of so many files, drawn from (seed, epoch), are shuffled together, then those of as many
            others, so that few files are read at a time. None: all are shuffled together.

    Returns:
        Arrays of example numbers, longest first inside a batch.

    Raises:
        ValueError: neither `batch` nor `tokens` is given, or one is below 1.
    """
    steps = _check(lengths, batch, tokens, pool)
    ends, visits = array("q"), list[Index]()
    groups = _groups(len(steps), file_ends, mix, seed, epoch)
    for order in groups:
        before = len(ends)
        for start, stop in pairwise(_pool_bounds(steps, order, batch, tokens, pool)):
            members = order[start:stop]
            order[start:stop] = members[np.argsort(-steps[members], kind="stable")]
            _append_ends(ends, order[start:stop], steps, batch, tokens)
        visits.append(np.arange(before, len(ends)))
    keys = _draw(len(ends), seed, epoch, _BATCHES)
    order = groups[0] if len(groups) == 1 else np.concatenate(groups)
    shuffled = [visit[np.argsort(keys[visit], kind="stable")] for visit in visits]
    return Batches(order, ends, shuffled[0] if len(shuffled) == 1 else np.concatenate(shuffled))


def _groups(count: int, file_ends: Index | None, mix: int | None, seed: int, epoch: int) -> list[Index]:
    """The examples that are shuffled together, in shuffled order, group by group."""
    if mix is None or file_ends is None or len(file_ends) <= mix:
        return [_shuffle(count, seed, epoch, _EXAMPLES)]
    keys = _draw(count, seed, epoch, _EXAMPLES)
    starts = np.concatenate([[0], file_ends[:-1]])
    files, groups = _shuffle(len(file_ends), seed, epoch, _FILES), []
    for first in range(0, len(files), mix):
        members = np.concatenate([np.arange(starts[file], file_ends[file]) for file in files[first : first + mix]])
        groups.append(members[np.argsort(keys[members], kind="stable")])
    return groups


def batch_sorted(lengths: ArrayLike, *, batch: int | None = None, tokens: int | None = None) -> Sequence[Index]:
    """Batches for evaluation: every example exactly once, longest first, so that a lack of memory shows at once.

    Arguments and errors as for `batch_shuffled`.
    """
    steps = _check(lengths, batch, tokens, 1)
    members, ends = np.argsort(-steps, kind="stable").astype(np.int64, copy=False), array("q")
    _append_ends(ends, members, steps, batch, tokens)
    return Batches(members, ends)


def choose_edges(longest: ArrayLike, count: int, *, weights: ArrayLike | None = None) -> Index:
    """At most `count` lengths that batches are padded to, each to the next one, with the least padding in all.

    Few lengths make few shapes, and what a library prepares for a shape it prepares once.

    Args:
        longest: (n,) the longest example of each batch.
        count: how many lengths.
        weights: (n,) examples of each batch. None: the same for all.

    Returns:
        Lengths in rising order, the last the longest of all. The answer is optimal for up to 512 different lengths. Of
        more, neighbours are merged first, and it is nearly optimal.

    Raises:
        ValueError: there are no batches, `count` is below 1, or a batch has no steps.
    """
    steps = np.asarray(longest, dtype=np.int64).reshape(-1)
    if count < 1 or len(steps) == 0 or steps.min() < 1:
        raise ValueError(f"{len(steps)} batches cannot be padded to {count} lengths")
    examples = np.ones(len(steps)) if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    candidates = np.unique(steps)
    if len(candidates) > _MOST_EDGES:
        stride = -(-len(candidates) // _MOST_EDGES)
        candidates = np.unique(np.append(candidates[::stride], candidates[-1]))
    cost = _padding_cost(candidates, steps, examples)
    # Dynamic programming: least[j] is the least padding of the batches up to candidates[j], which is the last edge.
    # Each round allows one more edge, and notes for each j where the group that is padded to it starts.
    least, starts = cost[0], []
    for _ in range(min(count, len(candidates)) - 1):
        totals = np.append(np.inf, least[:-1])[:, None] + cost
        starts.append(np.argmin(totals, axis=0))
        least = np.take_along_axis(totals, starts[-1][None], axis=0)[0]
    edge = len(candidates) - 1
    edges = [candidates[edge]]
    for group_starts in reversed(starts):
        edge = int(group_starts[edge]) - 1
        edges.append(candidates[edge])
    return np.asarray(edges, dtype=np.int64)[::-1].copy()


def _padding_cost(candidates: Index, steps: Index, examples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n): at [i, j] the padding of batches longer than candidate i - 1 and at most candidate j, padded to j."""
    group = np.searchsorted(candidates, steps)
    rows, used = np.zeros(len(candidates)), np.zeros(len(candidates))
    np.add.at(rows, group, examples)
    np.add.at(used, group, examples * steps)
    rows, used = np.append(0.0, np.cumsum(rows)), np.append(0.0, np.cumsum(used))
    cost = (rows[None, 1:] - rows[:-1, None]) * candidates[None, :] - (used[None, 1:] - used[:-1, None])
    cost[np.tril_indices(len(candidates), -1)] = np.inf
    return np.asarray(cost, dtype=np.float64)


@final
class Windows(LazySequence[tuple[int, int]]):
    """Where windows begin and end: (0, window), (window, 2 window) and so on to `length`.

    Args:
        moves: (number of windows - 1,) by how many steps each boundary between two windows is moved, less than half a
            window either way; None: by none.
    """

    def __init__(self, length: int, window: int, moves: Index | None = None) -> None:
        self._starts, self._length, self._moves = range(0, length, window), length, moves

    def __len__(self) -> int:
        return len(self._starts)

    def item(self, i: int) -> tuple[int, int]:
        number = range(len(self))[i]
        return self._boundary(number), self._boundary(number + 1)

    def _boundary(self, number: int) -> int:
        """Where the window of this number begins; at the end of the last one, `length`."""
        if number == len(self):
            return self._length
        move = 0 if self._moves is None or number == 0 else int(self._moves[number - 1])
        return min(self._starts[number] + move, self._length - 1)


@dataclass(frozen=True)
class Lanes:
    """A stream of `total` steps cut into B lanes of equal length, read side by side, a window at a time.

    Attributes:
        starts: (B,) step of the stream at which each lane starts. Step `(starts[k] + t) % total` is step t of lane k.
        windows: (a, b) for steps a to b (b not included) of every lane, in order.
        left_out: how many steps (fewer than B) are in no lane this epoch; the rotation decides which.
    """

    starts: Index
    windows: Sequence[tuple[int, int]]
    left_out: int


def cut_lanes(total: int, *, batch: int, window: int, seed: int, epoch: int, vary: float = 0.0) -> Lanes:
    """Lanes for truncated back-propagation through time. The stream starts at a step drawn from (seed, epoch).

    A step is an input and its target, so a circular stream of n symbols has n steps.

    Args:
        total: steps of the stream.
        batch: lanes B; fewer if the stream is shorter than that.
        window: steps of a window; the last one may be shorter, the same for all lanes.
        seed: of the run.
        epoch: counted from 0.
        vary: share of a window, below a half, by which each boundary between windows is moved at most, in each epoch
            by others. There are as many windows as without.

    Raises:
        ValueError: `total`, `batch` or `window` is below 1.
    """
    if min(total, batch, window) < 1:
        raise ValueError(f"a stream of {total} steps cannot be read in {batch} lanes and windows of {window}")
    count = min(batch, total)
    length = total // count
    rotation = int(_draw(1, seed, epoch, _ROTATION)[0]) % total
    starts = (rotation + np.arange(count, dtype=np.int64) * length) % total
    most = int(vary * window)
    moves = None
    if most:
        moves = (_draw(-(-length // window) - 1, seed, epoch, _BOUNDARIES) % (2 * most + 1)).astype(np.int64) - most
    return Lanes(starts, Windows(length, window, moves), total - count * length)


def interleave(counts: Sequence[int], *, seed: int, epoch: int) -> Index:
    """(sum of `counts`,) which task each step takes: task k `counts[k]` times, evenly spread with random jitter.

    At any point of an epoch each task has had its share of the steps, give or take as many steps as there are tasks.

    Raises:
        ValueError: a count is below 0.
    """
    sizes = np.asarray(counts, dtype=np.int64).reshape(-1)
    if (sizes < 0).any():
        raise ValueError("a task cannot have fewer than 0 steps")
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    turns = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else np.zeros(0)
    # The upper 53 bits of a raw number, as a double in [0, 1).
    jitter = (_draw(len(tasks), seed, epoch, _TURNS) >> np.uint64(11)) * 2.0**-53
    return tasks[np.argsort((turns + jitter) / np.maximum(sizes, 1)[tasks], kind="stable")]


def partners(n: int, alpha: float, *, seed: int, epoch: int) -> tuple[Index, NDArray[np.float32]]:
    """For each of n examples the number of another one, to mix it with, and (n,) how much of itself there is to be.

    The shares have a Beta distribution with `alpha` for both parameters. They are those of NumPy's old generator, which
    stay the same in all versions.
    """
    others = _draw(n, seed, epoch, _PARTNERS) % np.uint64(n)
    shares = np.random.RandomState((_draw(8, seed, epoch, _SHARES) >> np.uint64(32)).astype(np.uint32))
    return others.astype(np.int64), shares.beta(alpha, alpha, n).astype(np.float32)


def _draw(n: int, seed: int, epoch: int, purpose: int) -> NDArray[np.uint64]:
    """(n,) raw random numbers."""
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([0, 0, 0, purpose]))
    return np.asarray(generator.random_raw(n), dtype=np.uint64)


def _shuffle(n: int, seed: int, epoch: int, purpose: int) -> Index:
    """(n,) the numbers 0 to n - 1 in random order."""
    return np.argsort(_draw(n, seed, epoch, purpose), kind="stable").astype(np.int64, copy=False)


def _pool_bounds(steps: Index, order: Index, batch: int | None, tokens: int | None, pool: int) -> list[int]:
    """Where to cut the shuffled examples so that a pool makes about `pool` batches: the start, the cuts, the end."""
    bounds = set(range(0, len(order), pool * batch)) if batch else {0}
    steps_before, last_pool = 0, 0
    for start in range(0, len(order), _BLOCK) if tokens else ():
        block_steps = steps[order[start : start + _BLOCK]]
        # The pool of an example follows from the steps of all examples before it.
        pool_numbers = (steps_before + np.cumsum(block_steps) - block_steps) // (pool * (tokens or 1))
        bounds.update((np.flatnonzero(np.diff(pool_numbers, prepend=last_pool)) + start).tolist())
        steps_before, last_pool = steps_before + int(block_steps.sum()), int(pool_numbers[-1])
    return [*sorted(bounds), len(order)]


def _append_ends(ends: array[int], members: Index, steps: Index, batch: int | None, tokens: int | None) -> None:
    """Cut a pool, sorted from long to short, into batches and append where they end.

    The first example of a batch is its longest, so it decides how many fit.
    """
    pool_start = ends[-1] if ends else 0
    start, stop = 0, len(members)
    while start < stop:
        fitting = max(1, tokens // int(steps[members[start]])) if tokens else stop
        start = min(start + min(fitting, batch or stop), stop)
        ends.append(pool_start + start)


def _check(lengths: ArrayLike, batch: int | None, tokens: int | None, pool: int) -> Index:
    if batch is None and tokens is None:
        raise ValueError("give `batch`, `tokens` or both")
    if min(batch or 1, tokens or 1, pool) < 1 or 0 in (batch, tokens):
        raise ValueError(f"batch, tokens and pool are at least 1, not {batch}, {tokens}, {pool}")
    steps = np.asarray(lengths, dtype=np.int64).reshape(-1)
    if len(steps) and steps.min() < 1:
        raise ValueError(f"example {int(np.argmax(steps < 1))} has no steps")
    return steps
