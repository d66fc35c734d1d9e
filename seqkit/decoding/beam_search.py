"""Beam search: the most probable texts of a model that says them symbol by symbol.

Beams of all examples are worked on side by side; an example that is done leaves the batch. No example's answer depends
on another: every choice is made from its own scores, and ties go to the earlier beam.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

LOOK_EVERY = 8
"""Steps on a GPU between two looks at which examples are done: a look waits for the device."""

WORTH_LEAVING = 8
"""One of so many examples must be done before those that are done leave: leaving copies what the others look at."""


class Rows(Protocol):
    """Something of which there is one row an example."""

    def rows(self, index: Tensor) -> Self:
        """The same of some examples only."""


class Beams(Rows, Protocol):
    """A state that goes from step to step, with K beams for each example."""

    def beams(self, parents: Tensor) -> Self:
        """(B, K') for each new beam, the old beam of its example that it goes on from."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished text.

    Attributes:
        symbols: its ids, without the end.
        total: logarithm of its probability, the end included.
        score: what it was ranked by.
        alignment: the encoded step that each symbol, and the end, looked at most; None without attention.
        cut: True if it was made to end by its limit, though the model would have gone on.
    """

    symbols: list[int]
    total: float
    score: float
    alignment: list[int] | None
    cut: bool


S = TypeVar("S", bound=Rows)
P = TypeVar("P", bound=Beams)


def penalty(length: int | Tensor, alpha: float) -> float | Tensor:
    """((5 + n) / 6) ** alpha, what a text of n symbols (its end counted) has its total divided by (Wu et al. 2016)."""
    return ((5.0 + length) / 6.0) ** alpha


def beam_search(
    step: Callable[[S, P, Tensor], tuple[Tensor, P, Tensor | None]],
    source: S,
    position: P,
    *,
    limits: Tensor,
    start: int,
    end: int,
    beams: int,
    alpha: float = 0.0,
    best: int = 1,
    shortest: int = 0,
    forbidden: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The best finished texts of each example, the best first; there is always one.

    A step takes the best continuations of all beams of an example. Those that end are finished and ranked by their
    total over `penalty`; the `beams` best of the others go on (of those that end, only what is among the `beams` best
    counts). An example is done when it has finished `beams` texts, when nothing that goes on could still overtake (a
    total never grows, and the penalty is largest at the limit), or at its limit, where every beam is made to end. With
    one beam this is greedy search. With at least as many beams as there are beginnings of texts it is exact.

    Args:
        step: from the source, the position and the symbols (B, K) that were said last, to scores of the next symbol
            (B, K, V), which are written over, the next position, and the encoded step that each beam looks at most
            (B, K), or None.
        source: what does not change from step to step.
        position: before the first step, one beam an example.
        limits: (B,) int64 on the CPU, the most symbols of each example, its end counted; at least 1.
        start: the symbol that is read first.
        end: the symbol that ends a text.
        beams: K.
        alpha: strength of length normalisation; 0: totals are compared as they are.
        best: how many texts are wanted of each example, at most `beams`.
        shortest: least symbols of a text, the end not counted; below every limit.
        forbidden: symbols that are never said.

    Raises:
        ValueError: an argument is out of range, or the model's scores are not finite.
    """
    if beams < 1 or not 1 <= best <= beams or bool((limits < 1 + shortest).any()):
        raise ValueError("needs a beam, no more texts than beams, and limits that leave room for a text and its end")
    count = len(limits)
    rows, ends = torch.arange(count), limits
    symbols = torch.full((count, 1), start)
    pool: _Pool | None = None
    said: list[_Said] = []
    totals = torch.zeros(count, 1, dtype=torch.float64)
    finished: list[_Pool] = []
    for number in range(int(limits.max())):
        scores, position, looked = step(source, position, symbols)
        device = scores.device
        if pool is None:
            totals, symbols, rows_there = totals.to(device), symbols.to(device), rows.to(device)
            ends_there = ends.to(device)
            pool = _Pool.empty(rows_there, beams)
        size = scores.shape[-1]
        whole = scores.logsumexp(dim=-1, keepdim=True)
        barred = [*forbidden, end] if number < shortest else list(forbidden)
        if barred:
            scores[..., barred] = -torch.inf
        last = ends == number + 1
        cuts = torch.zeros(scores.shape[:2], dtype=torch.bool, device=device)
        if bool(last.any()):
            at_limit = last.to(device)[:, None]
            cuts = at_limit & (scores.argmax(dim=-1) != end)
            others = torch.arange(size, device=device) != end
            scores = scores.masked_fill(at_limit[..., None] & others, -torch.inf)
        # The best of each beam, then the best of those: fewer numbers to sort, and the same answer.
        top, which = scores.topk(min(2 * beams, size), dim=-1)
        grown = (totals[..., None] + (top - whole).double()).flatten(1)
        grown, order = grown.sort(dim=1, descending=True, stable=True)
        grown, order = grown[:, : 2 * beams], order[:, : 2 * beams]
        parents, chosen = order // top.shape[-1], which.flatten(1).gather(1, order)
        is_end = chosen == end
        ranked = grown / penalty(number + 1, alpha)
        counts = is_end & torch.isfinite(grown)
        counts[:, beams:] = False
        ended = torch.where(counts, ranked, -torch.inf)
        pool = pool.add(number, ended, grown, parents, cuts.gather(1, parents))
        # Those that go on keep their order.
        going = torch.sort(is_end.to(torch.uint8), dim=1, stable=True).indices[:, :beams]
        totals = grown.gather(1, going).masked_fill(is_end.gather(1, going), -torch.inf)
        symbols, parents = chosen.gather(1, going), parents.gather(1, going)
        said.append(_Said(rows_there, symbols, parents, looked))
        bound = totals[:, 0] / penalty(ends_there.double(), alpha)
        done = (pool.count >= beams) | (pool.scores[:, best - 1] >= bound) | (ends_there == number + 1)
        pool = pool.close(done)
        if _looks(device, number, ends):
            ready = done.cpu()
            if int(ready.sum()) * WORTH_LEAVING >= len(ready):
                finished.append(pool.take(done))
                stay = torch.nonzero(~ready).squeeze(1)
                if not len(stay):
                    break
                there = stay.to(device)
                pool, source, position = pool.take(there), source.rows(there), position.rows(there)
                totals, symbols, parents = totals[there], symbols[there], parents[there]
                rows, ends = rows[stay], ends[stay]
                rows_there, ends_there = rows_there[there], ends_there[there]
        position = position.beams(parents)
    return _read_back(count, said, finished, best, end)


def _looks(device: torch.device, number: int, ends: Tensor) -> bool:
    """Whether to look, after this step, who is done."""
    return device.type == "cpu" or (number + 1) % LOOK_EVERY == 0 or bool((ends == number + 1).all())


@dataclass(frozen=True)
class _Said:
    """What was said at a step: for each beam that goes on its symbol and the beam that it came from."""

    rows: Tensor
    symbols: Tensor
    parents: Tensor
    looked: Tensor | None
    """(B, K before) where each beam of before looked."""


@dataclass(frozen=True)
class _Pool:
    """The best finished texts of each example, the best first. Open until the example is done.

    Attributes:
        rows: (B,) which examples these are.
        scores: (B, K) -inf where there is none.
        totals: (B, K).
        steps: (B, K) the step at which it ended.
        parents: (B, K) the beam of before that ended.
        cuts: (B, K) whether the limit made it end.
        count: (B,) how many have finished, those that have fallen out of the pool too.
        open: (B,).
    """

    rows: Tensor
    scores: Tensor
    totals: Tensor
    steps: Tensor
    parents: Tensor
    cuts: Tensor
    count: Tensor
    open: Tensor

    @classmethod
    def empty(cls, rows: Tensor, beams: int) -> Self:
        like = torch.full((len(rows), beams), -torch.inf, dtype=torch.float64, device=rows.device)
        none = torch.zeros(like.shape, dtype=torch.int64, device=rows.device)
        return cls(rows, like, like, none, none, none.bool(), torch.zeros_like(rows), torch.ones_like(rows).bool())

    def add(self, step: int, scores: Tensor, totals: Tensor, parents: Tensor, cuts: Tensor) -> Self:
        """With candidates (B, N), those with a score of -inf left out."""
        scores = scores.masked_fill(~self.open[:, None], -torch.inf)
        beams = self.scores.shape[1]
        both, order = torch.cat([self.scores, scores], dim=1).sort(dim=1, descending=True, stable=True)
        order = order[:, :beams]

        def pick(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old, new], dim=1).gather(1, order)

        steps = pick(self.steps, torch.full_like(parents, step))
        count = self.count + torch.isfinite(scores).sum(dim=1)
        return type(self)(
            self.rows,
            both[:, :beams],
            pick(self.totals, totals),
            steps,
            pick(self.parents, parents),
            pick(self.cuts, cuts),
            count,
            self.open,
        )

    def close(self, done: Tensor) -> Self:
        return type(self)(**{**vars(self), "open": self.open & ~done})

    def take(self, index: Tensor) -> Self:
        return type(self)(*(part[index] for part in vars(self).values()))


def _read_back(count: int, said: list[_Said], finished: list[_Pool], best: int, end: int) -> list[list[Hypothesis]]:
    """From where each text ended, back to its first symbol."""
    beams = max(step.symbols.shape[1] for step in said)
    symbols, parents, looked = (np.zeros((len(said), count, beams), dtype=np.int64) for _ in range(3))
    aligned = said[0].looked is not None
    for number, step in enumerate(said):
        rows = step.rows.cpu().numpy()
        symbols[number, rows, : step.symbols.shape[1]] = step.symbols.cpu().numpy()
        parents[number, rows, : step.parents.shape[1]] = step.parents.cpu().numpy()
        if step.looked is not None:
            looked[number, rows, : step.looked.shape[1]] = step.looked.cpu().numpy()
    found: list[list[Hypothesis]] = [[] for _ in range(count)]
    for pool in finished:
        parts = [part.cpu().tolist() for part in vars(pool).values()]
        for row, scores, totals, steps, beams_before, cuts, _, _ in zip(*parts, strict=True):
            for score, total, step_number, beam, cut in zip(scores, totals, steps, beams_before, cuts, strict=True):
                if score == -np.inf or len(found[row]) == best:
                    break
                text, path = [], [int(looked[step_number, row, beam])]
                for before in range(step_number - 1, -1, -1):
                    text.append(int(symbols[before, row, beam]))
                    beam = int(parents[before, row, beam])
                    path.append(int(looked[before, row, beam]))
                found[row].append(Hypothesis(text[::-1], total, score, path[::-1] if aligned else None, cut))
    if not all(found):
        raise ValueError("the model's scores are not finite: no text could be found")
    return found
