"""The order of the data, as pure functions of (seed, epoch): no state to save, any position reached at once.

Randomness is the raw stream of Philox (Salmon et al. 2011), a counter-based generator keyed by (seed, epoch). NumPy
promises that stream for all time, but not that of its `permutation`, so an order is an argsort of raw numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqkit.types import Index

# Each use of one (seed, epoch) draws from a part of the counter's range that is its own.
_EXAMPLES, _BATCHES, _ROTATION, _TURNS = range(4)
_LENGTHS = 512
"""Different lengths that the choice of edges looks at."""
_BLOCK = 1 << 20
"""Examples that are summed up at once."""


@final
class Batches(Sequence[Index]):
    """Batches as parts of one array: 8 bytes an example, 16 a batch. An array is made of each when it is asked for.

    Args:
        members: (n,) example numbers, batch after batch.
        ends: where each batch ends.
        order: the order in which batches come; None: as they stand.
    """

    def __init__(self, members: Index, ends: array[int], order: Index | None = None) -> None:
        self._members = members
        self._ends = ends
        self._order = order

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, i: int) -> Index: ...
    @overload
    def __getitem__(self, i: slice) -> list[Index]: ...
    def __getitem__(self, i: int | slice) -> Index | list[Index]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        at = range(len(self))[i]
        if self._order is not None:
            at = int(self._order[at])
        return self._members[self._ends[at - 1] if at else 0 : self._ends[at]]


def batches(
    lengths: ArrayLike,
    *,
    seed: int,
    epoch: int,
    batch: int | None = None,
    tokens: int | None = None,
    pool: int = 64,
) -> Sequence[Index]:
    """The batches of an epoch: every example exactly once, examples of like length together, in random order.

    Examples are shuffled, cut into pools of `pool` batches, sorted by length inside each pool, cut into batches, and
    the batches shuffled. (Sorting everything would give each epoch the same batches.)

    Args:
        lengths: (n,) steps of each example.
        seed: of the run.
        epoch: counted from 0.
        batch: most examples a batch.
        tokens: most padded steps a batch (examples times the longest of them); a longer example is alone.
        pool: batches a pool.

    Returns:
        Arrays of example numbers, longest first inside a batch.

    Raises:
        ValueError: neither `batch` nor `tokens` is given, or one is below 1.
    """
    steps = _checked(lengths, batch, tokens, pool)
    order = _order(len(steps), seed, epoch, _EXAMPLES)
    ends = array("q")
    for a, b in pairwise(_pools(steps, order, batch, tokens, pool)):
        members = order[a:b]
        order[a:b] = members[np.argsort(-steps[members], kind="stable")]
        _cut(order[a:b], steps, batch, tokens, ends)
    return Batches(order, ends, _order(len(ends), seed, epoch, _BATCHES))


def in_order(lengths: ArrayLike, *, batch: int | None = None, tokens: int | None = None) -> Sequence[Index]:
    """Batches for evaluation: every example exactly once, longest first, so that a lack of memory shows at once.

    Arguments and errors as for `batches`.
    """
    steps = _checked(lengths, batch, tokens, 1)
    members, ends = np.argsort(-steps, kind="stable").astype(np.int64, copy=False), array("q")
    _cut(members, steps, batch, tokens, ends)
    return Batches(members, ends)


def edges(longest: ArrayLike, count: int, *, weights: ArrayLike | None = None) -> Index:
    """The lengths, at most `count` of them, that batches are best padded to: with the fewest steps of padding in all.

    The same few shapes come again and again, so that what a library prepares for a shape is prepared once.

    Args:
        longest: (n,) the longest example of each batch.
        count: how many lengths.
        weights: (n,) examples of each batch. None: the same for all.

    Returns:
        Lengths in rising order; the last is the longest of all. Of more than 512 different lengths, neighbours are
        taken together first, so that the answer is then only nearly the best.
    """
    steps = np.asarray(longest, dtype=np.int64).reshape(-1)
    if count < 1 or len(steps) == 0 or steps.min() < 1:
        raise ValueError(f"{len(steps)} batches cannot be padded to {count} lengths")
    amount = np.ones(len(steps)) if weights is None else np.asarray(weights, dtype=np.float64).reshape(-1)
    known = np.unique(steps)
    if len(known) > _LENGTHS:
        known = np.unique(np.append(known[:: -(-len(known) // _LENGTHS)], known[-1]))
    at = np.searchsorted(known, steps)
    rows, used = np.zeros(len(known)), np.zeros(len(known))
    np.add.at(rows, at, amount)
    np.add.at(used, at, amount * steps)
    # cost[i, j]: padding of what is longer than known[i - 1] and at most known[j], if all of it is padded to known[j].
    rows, used = np.append(0.0, np.cumsum(rows)), np.append(0.0, np.cumsum(used))
    cost = (rows[None, 1:] - rows[:-1, None]) * known[None, :] - (used[None, 1:] - used[:-1, None])
    cost[np.tril_indices(len(known), -1)] = np.inf
    least, cuts = cost[0], []
    for _ in range(min(count, len(known)) - 1):
        through = np.append(np.inf, least[:-1])[:, None] + cost  # what ends before i at least, and one more edge at j
        cuts.append(np.argmin(through, axis=0))
        least = np.take_along_axis(through, cuts[-1][None], axis=0)[0]
    last, found = len(known) - 1, []
    for cut in reversed(cuts):
        found.append(known[last])
        last = int(cut[last]) - 1
    return np.asarray([*found, known[last]], dtype=np.int64)[::-1].copy()


@final
class Windows(Sequence[tuple[int, int]]):
    """Where windows begin and end: (0, window), (window, 2 window) and so on to `length`."""

    def __init__(self, length: int, window: int) -> None:
        self._starts, self._length = range(0, length, window), length

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, i: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, i: slice) -> list[tuple[int, int]]: ...
    def __getitem__(self, i: int | slice) -> tuple[int, int] | list[tuple[int, int]]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        a = self._starts[i]
        return a, min(a + self._starts.step, self._length)


@dataclass(frozen=True)
class Lanes:
    """A stream of `total` steps cut into B lanes of equal length, read side by side, a window at a time.

    Attributes:
        starts: (B,) step of the stream at which each lane starts. Step `(starts[k] + t) % total` is step t of lane k.
        windows: (a, b) for steps a to b (not included) of every lane, in order; worked out when they are asked for.
        left_out: how many steps (fewer than B) are in no lane this epoch; the rotation changes which.
    """

    starts: Index
    windows: Sequence[tuple[int, int]]
    left_out: int


def lanes(total: int, *, batch: int, window: int, seed: int, epoch: int) -> Lanes:
    """Lanes for truncated back-propagation through time, the stream rotated by a number drawn from (seed, epoch).

    A step is an input and its target, so a stream of n symbols read as a ring has n steps, read as a line n - 1.

    Args:
        total: steps of the stream.
        batch: lanes B; fewer if the stream is shorter than that.
        window: steps of a window; the last one may be shorter, the same for all lanes.
        seed: of the run.
        epoch: counted from 0.

    Raises:
        ValueError: `total`, `batch` or `window` is below 1.
    """
    if min(total, batch, window) < 1:
        raise ValueError(f"a stream of {total} steps cannot be read in {batch} lanes and windows of {window}")
    count = min(batch, total)
    length = total // count
    rotation = int(_raw(1, seed, epoch, _ROTATION)[0]) % total
    starts = (rotation + np.arange(count, dtype=np.int64) * length) % total
    return Lanes(starts, Windows(length, window), total - count * length)


def interleave(counts: Sequence[int], *, seed: int, epoch: int) -> Index:
    """Which task each step takes: task k appears `counts[k]` times, evenly spread with random jitter.

    At any point of the epoch each task has had its share of the steps, give or take as many steps as there are tasks.
    """
    sizes = np.asarray(counts, dtype=np.int64).reshape(-1)
    if (sizes < 0).any():
        raise ValueError("a task cannot have fewer than 0 steps")
    tasks = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    turn = np.concatenate([np.arange(size) for size in sizes]) if len(sizes) else np.zeros(0)
    jitter = (_raw(len(tasks), seed, epoch, _TURNS) >> np.uint64(11)) * 2.0**-53
    return tasks[np.argsort((turn + jitter) / np.maximum(sizes, 1)[tasks], kind="stable")]


def _raw(n: int, seed: int, epoch: int, use: int) -> NDArray[np.uint64]:
    generator = np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64), counter=np.array([0, 0, 0, use]))
    return np.asarray(generator.random_raw(n), dtype=np.uint64)


def _order(n: int, seed: int, epoch: int, use: int) -> Index:
    return np.argsort(_raw(n, seed, epoch, use), kind="stable").astype(np.int64, copy=False)


def _pools(steps: Index, order: Index, batch: int | None, tokens: int | None, pool: int) -> list[int]:
    """Where to cut the shuffled examples, so that a pool makes about `pool` batches: the first, the cuts, the end."""
    cuts = set(range(0, len(order), pool * batch)) if batch else {0}
    total, last = 0, 0
    for a in range(0, len(order), _BLOCK) if tokens else ():
        own = steps[order[a : a + _BLOCK]]
        number = (total + np.cumsum(own) - own) // (pool * (tokens or 1))
        cuts.update((np.flatnonzero(np.diff(number, prepend=last)) + a).tolist())
        total, last = total + int(own.sum()), int(number[-1])
    return [*sorted(cuts), len(order)]


def _cut(members: Index, steps: Index, batch: int | None, tokens: int | None, ends: array[int]) -> None:
    """Cut examples sorted from long to short into batches; the first of each decides how many fit. Adds their ends."""
    before = ends[-1] if ends else 0
    at, end = 0, len(members)
    while at < end:
        room = max(1, tokens // int(steps[members[at]])) if tokens else end
        at = min(at + min(room, batch or end), end)
        ends.append(before + at)


def _checked(lengths: ArrayLike, batch: int | None, tokens: int | None, pool: int) -> Index:
    if batch is None and tokens is None:
        raise ValueError("give `batch`, `tokens` or both")
    if min(batch or 1, tokens or 1, pool) < 1 or 0 in (batch, tokens):
        raise ValueError(f"batch, tokens and pool are at least 1, not {batch}, {tokens}, {pool}")
    steps = np.asarray(lengths, dtype=np.int64).reshape(-1)
    if len(steps) and steps.min() < 1:
        raise ValueError(f"example {int(np.argmax(steps < 1))} has no steps")
    return steps
