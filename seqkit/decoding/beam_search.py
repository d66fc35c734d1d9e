"""Beam search: the most probable texts of a model that predicts them symbol by symbol.

The beams of all examples advance together; examples that are done leave the batch. No example's result depends on
another: each choice is made from the example's own scores. Of equal scores the earlier beam wins, and within a beam the
lowest symbol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from seqkit.decoding.largest import largest
from seqkit.uploads import read_back, upload

CHECK_EVERY = 8
"""Steps on a GPU between two checks for examples that are done: a check waits for the device."""

LEAVING_PART = 8
"""Done examples leave once they are one in so many of the batch: leaving copies the tensors of those that stay."""


class BatchRows(Protocol):
    """Something with one row an example."""

    def take_rows(self, index: Tensor) -> Self:
        """The rows of these examples only."""


class BeamState(BatchRows, Protocol):
    """What a model carries from step to step, with K beams for each example."""

    def take_beams(self, parents: Tensor) -> Self:
        """The state of new beams; (B, K') says which old beam of its example each of them continues."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished text.

    Attributes:
        symbols: its ids, without the end.
        total: the logarithm of its probability, the end included.
        score: the total after length normalisation, by which texts are ranked.
        alignment: for each symbol and the end, the encoded step with the largest weight; None without attention.
        cut: True if it was ended by its limit although the model would have continued.
    """

    symbols: list[int]
    total: float
    score: float
    alignment: list[int] | None
    cut: bool


_Part = TypeVar("_Part", "_StepRecord", "_FinishedPool")
Source = TypeVar("Source", bound=BatchRows)
State = TypeVar("State", bound=BeamState)


def penalty(length: int | Tensor, alpha: float) -> float | Tensor:
    """((5 + n) / 6) ** alpha, the divisor of the total of a text with n symbols, its end counted (Wu et al. 2016)."""
    return ((5.0 + length) / 6.0) ** alpha


def beam_search(
    step: Callable[[Source, State, Tensor], tuple[Tensor, State, Tensor | None]],
    source: Source,
    state: State,
    *,
    limits: Tensor,
    start: int,
    end: int,
    beams: int,
    alpha: float = 0.0,
    best: int = 1,
    min_length: int = 0,
    forbidden: Sequence[int] = (),
    early_stop: bool = False,
) -> list[list[Hypothesis]]:
    """The best finished texts of each example, the best first; at least one each.

    A step takes the best continuations of all beams of an example. Those that end, if they are among the `beams` best,
    are finished and ranked by their total divided by `penalty`; the `beams` best of the others continue. The text of
    greedy search always continues, in the place of the last of them if it is not among them, so that the result is
    never worse than that of greedy search. An example is done when no unfinished text can overtake any more (a total
    never grows, and the penalty is largest at the limit), or at its limit, where every beam must end. With one beam
    this is greedy search. With at least as many beams as there are prefixes it is exact.

    Args:
        step: from the source, the state and the last symbols (B, K), to scores of the next symbol (B, K, V), which may
            be overwritten, the next state, and the encoded step with each beam's largest weight (B, K), or None.
        source: what stays the same at every step.
        state: the state before the first step, one beam an example.
        limits: (B,) int64 on the CPU, the most symbols of each example, its end counted; at least 1.
        start: the symbol that is read first.
        end: the symbol that ends a text.
        beams: K.
        alpha: strength of length normalisation; 0: totals are compared as they are.
        best: how many texts are wanted of each example, at most `beams`.
        min_length: fewest symbols of a text, the end not counted; below every limit.
        forbidden: symbols that are never predicted.
        early_stop: an example is also done when it has finished `beams` texts, which is faster, and can lose a better
            text that is still unfinished.

    Raises:
        ValueError: an argument is out of range, or the model's scores are not finite.
    """
    if beams < 1 or not 1 <= best <= beams or bool((limits < 1 + min_length).any()):
        raise ValueError(
            "needs at least one beam, at most as many texts as beams, and limits above min_length; got "
            f"beams {beams}, best {best}, min_length {min_length} and a least limit of {int(limits.min())}"
        )
    live, pool = _LiveBeams.first(limits, start), _FinishedPool.empty(torch.arange(len(limits)), beams)
    history: list[_StepRecord] = []
    finished: list[_FinishedPool] = []
    has_nan: Tensor | bool = False
    for number in range(int(limits.max())):
        scores, state, attended = step(source, state, live.symbols)
        has_nan = has_nan | scores.isnan().any()
        if number == 0:
            live, pool = live.to(scores.device), pool.to(scores.device)
            never, not_yet = (
                upload(torch.tensor(symbols, dtype=torch.int64), scores.device)
                for symbols in (forbidden, (*forbidden, end))
            )
        banned = not_yet if number < min_length else never
        candidates = _expand(scores, live, number, beams=beams, end=end, banned=banned)
        pool = pool.add(candidates, number, beams=beams, alpha=alpha)
        chosen = candidates.unfinished(beams)
        live = live.continue_with(chosen)
        history.append(_StepRecord(live.rows, chosen.symbols, chosen.parents, attended))
        parents = chosen.parents
        bound = live.totals[:, 0] / penalty(live.limits.double(), alpha)
        done = (pool.scores[:, best - 1] >= bound) | (live.limits == number + 1)
        if early_stop or beams == 1:
            done |= pool.count >= beams
        pool = pool.close(done)
        if _is_check_due(scores.device, number, live.cpu_limits):
            (is_done,) = read_back(done)
            if int(is_done.sum()) * LEAVING_PART >= len(is_done):
                leaving, staying = (torch.nonzero(rows).squeeze(1) for rows in (is_done, ~is_done))
                finished.append(pool.take_rows(upload(leaving, scores.device)))
                if not len(staying):
                    break
                index = upload(staying, scores.device)
                pool, source, state = pool.take_rows(index), source.take_rows(index), state.take_rows(index)
                live, parents = live.take_rows(staying), parents[index]
        state = state.take_beams(parents)
    return _trace_back(len(limits), history, finished, best, has_nan)


def _is_check_due(device: torch.device, number: int, limits: Tensor) -> bool:
    """Whether to check, after this step, which examples are done."""
    return device.type == "cpu" or (number + 1) % CHECK_EVERY == 0 or bool((limits == number + 1).all())


@dataclass(frozen=True)
class _LiveBeams:
    """The unfinished beams of the examples that are still in the batch.

    Attributes:
        rows: (B,) which examples they are.
        limits: (B,) the most symbols of each, its end counted.
        cpu_limits: (B,) the same on the CPU.
        symbols: (B, K) the last symbol of each beam.
        totals: (B, K) the logarithm of its probability; -inf where there is no beam.
        greedy: (B,) which beam is the text of greedy search; -1 once that text has ended.
    """

    rows: Tensor
    limits: Tensor
    cpu_limits: Tensor
    symbols: Tensor
    totals: Tensor
    greedy: Tensor

    @classmethod
    def first(cls, limits: Tensor, start: int) -> Self:
        """One beam an example, before the first step, on the CPU."""
        rows = torch.arange(len(limits))
        symbols, totals = torch.full((len(limits), 1), start), torch.zeros(len(limits), 1).double()
        return cls(rows, limits, limits, symbols, totals, torch.zeros_like(rows))

    def continue_with(self, chosen: _Candidates) -> Self:
        """The beams after a step."""
        totals = chosen.totals.masked_fill(chosen.is_end, -torch.inf)
        return replace(self, symbols=chosen.symbols, totals=totals, greedy=chosen.greedy_beam())

    def to(self, device: torch.device) -> Self:
        return type(self)(
            upload(self.rows, device),
            upload(self.limits, device),
            self.cpu_limits,
            upload(self.symbols, device),
            upload(self.totals, device),
            upload(self.greedy, device),
        )

    def take_rows(self, index: Tensor) -> Self:
        """Some of the examples; the index is on the CPU."""
        rows = upload(index, self.rows.device)
        return type(self)(
            self.rows[rows],
            self.limits[rows],
            self.cpu_limits[index],
            self.symbols[rows],
            self.totals[rows],
            self.greedy[rows],
        )


@dataclass(frozen=True)
class _Candidates:
    """The best continuations of all beams of each example, (B, N) with N at most 2 K, the best first.

    The continuation of greedy search is always among them, as the last one if it is not among the best.

    Attributes:
        symbols: the symbol that each one adds.
        parents: the beam that it continues.
        totals: the logarithm of its probability.
        is_end: whether it ends the text.
        is_cut: whether its beam had to end here, at its limit, but would have continued.
        is_greedy: whether it is the text of greedy search.
    """

    symbols: Tensor
    parents: Tensor
    totals: Tensor
    is_end: Tensor
    is_cut: Tensor
    is_greedy: Tensor

    def unfinished(self, count: int) -> Self:
        """The best ones that do not end, in their order; where they are too few, some that do end after them.

        The text of greedy search is the last of them if it does not end and is not one of the best.
        """
        index = torch.sort(self.is_end.to(torch.uint8), dim=1, stable=True).indices[:, :count]
        continues = self.is_greedy & ~self.is_end
        is_missing = continues.any(dim=1) & ~continues.gather(1, index).any(dim=1)
        index[:, -1] = torch.where(is_missing, continues.int().argmax(dim=1), index[:, -1])
        return type(self)(*(tensor.gather(1, index) for tensor in vars(self).values()))

    def greedy_beam(self) -> Tensor:
        """(B,) which of them is the unfinished text of greedy search, -1 if none is."""
        continues = self.is_greedy & ~self.is_end
        return torch.where(continues.any(dim=1), continues.int().argmax(dim=1), -1)


def _expand(scores: Tensor, live: _LiveBeams, number: int, *, beams: int, end: int, banned: Tensor) -> _Candidates:
    """The candidates of step `number` from the scores of the next symbol, (B, K, V), which are overwritten."""
    log_z = scores.logsumexp(dim=-1, keepdim=True)
    if len(banned):
        scores.index_fill_(-1, banned, -torch.inf)
    is_cut = torch.zeros(scores.shape[:2], dtype=torch.bool, device=scores.device)
    if bool((live.cpu_limits == number + 1).any()):
        at_limit = (live.limits == number + 1)[:, None]
        is_cut = at_limit & (scores.argmax(dim=-1) != end)
        continues = torch.arange(scores.shape[-1], device=scores.device) != end
        scores = scores.masked_fill(at_limit[..., None] & continues, -torch.inf)
    # The best of each beam, then the best of those: fewer numbers to sort, and the same result.
    top, top_symbols = largest(scores, min(2 * beams, scores.shape[-1]))
    totals = (live.totals[..., None] + (top - log_z).double()).flatten(1)
    order = totals.sort(dim=1, descending=True, stable=True).indices[:, : 2 * beams]
    greedy = (live.greedy * top.shape[-1])[:, None]  # the best continuation of that beam; negative: it has ended
    is_missing = (greedy >= 0) & ~(order == greedy).any(dim=1, keepdim=True)
    order[:, -1:] = torch.where(is_missing, greedy, order[:, -1:])
    symbols, parents = top_symbols.flatten(1).gather(1, order), order // top.shape[-1]
    return _Candidates(
        symbols, parents, totals.gather(1, order), symbols == end, is_cut.gather(1, parents), order == greedy
    )


@dataclass(frozen=True)
class _StepRecord:
    """What was chosen at a step.

    Attributes:
        rows: (B,) the examples.
        symbols: (B, K) the symbol of each beam that continues.
        parents: (B, K) the beam that it continues.
        attended: (B, K before) the encoded step with the largest weight of each beam before; None without attention.
    """

    rows: Tensor
    symbols: Tensor
    parents: Tensor
    attended: Tensor | None


@dataclass(frozen=True)
class _FinishedPool:
    """The best finished texts of each example, the best first. It takes more until the example is done.

    Attributes:
        rows: (B,) which examples these are.
        scores: (B, K) -inf where there is none.
        totals: (B, K).
        steps: (B, K) the step at which the text ended.
        parents: (B, K) the beam that ended.
        cuts: (B, K) whether the limit ended it.
        count: (B,) how many have finished, those that are no longer among the best included.
        is_open: (B,) whether the example is not done.
    """

    rows: Tensor
    scores: Tensor
    totals: Tensor
    steps: Tensor
    parents: Tensor
    cuts: Tensor
    count: Tensor
    is_open: Tensor

    @classmethod
    def empty(cls, rows: Tensor, beams: int) -> Self:
        lowest = torch.full((len(rows), beams), -torch.inf, dtype=torch.float64)
        zeros = torch.zeros(lowest.shape, dtype=torch.int64)
        return cls(
            rows=rows,
            scores=lowest,
            totals=lowest,
            steps=zeros,
            parents=zeros,
            cuts=zeros.bool(),
            count=torch.zeros_like(rows),
            is_open=torch.ones_like(rows).bool(),
        )

    def to(self, device: torch.device) -> Self:
        return type(self)(*(upload(tensor, device) for tensor in vars(self).values()))

    def add(self, candidates: _Candidates, step: int, *, beams: int, alpha: float) -> Self:
        """With the candidates of this step that end and are among the `beams` best, or are that of greedy search."""
        ends = candidates.is_end & torch.isfinite(candidates.totals)
        ends[:, beams:] &= candidates.is_greedy[:, beams:]
        new_scores = torch.where(ends, candidates.totals / penalty(step + 1, alpha), -torch.inf)
        new_scores = new_scores.masked_fill(~self.is_open[:, None], -torch.inf)
        scores, order = torch.cat([self.scores, new_scores], dim=1).sort(dim=1, descending=True, stable=True)
        order = order[:, : self.scores.shape[1]]

        def pick(old: Tensor, new: Tensor) -> Tensor:
            return torch.cat([old, new], dim=1).gather(1, order)

        return replace(
            self,
            scores=scores[:, : self.scores.shape[1]],
            totals=pick(self.totals, candidates.totals),
            steps=pick(self.steps, torch.full_like(candidates.parents, step)),
            parents=pick(self.parents, candidates.parents),
            cuts=pick(self.cuts, candidates.is_cut),
            count=self.count + torch.isfinite(new_scores).sum(dim=1),
        )

    def close(self, done: Tensor) -> Self:
        """No more texts of the examples that are done."""
        return replace(self, is_open=self.is_open & ~done)

    def take_rows(self, index: Tensor) -> Self:
        """Some of the examples, by their numbers or a mask."""
        return type(self)(*(tensor[index] for tensor in vars(self).values()))


def _read_back(
    history: list[_StepRecord], finished: list[_FinishedPool], *more: Tensor
) -> tuple[list[_StepRecord], list[_FinishedPool], list[Tensor]]:
    """The same on the CPU, with one wait for all of it."""
    tensors = [tensor for part in (*history, *finished) for tensor in vars(part).values() if tensor is not None]
    copies = iter(read_back(*tensors, *more))

    def copied(part: _Part) -> _Part:
        tensors: dict[str, Any] = {
            name: None if tensor is None else next(copies) for name, tensor in vars(part).items()
        }
        return type(part)(**tensors)

    return [copied(step) for step in history], [copied(pool) for pool in finished], list(copies)


def _trace_back(
    count: int, history: list[_StepRecord], finished: list[_FinishedPool], best: int, has_nan: Tensor | bool
) -> list[list[Hypothesis]]:
    """The texts of all examples: from where each one ended, back to its first symbol.

    All that was chosen comes to the CPU together, whatever the number of steps.
    """
    history, finished, (is_bad,) = _read_back(history, finished, torch.as_tensor(has_nan))
    if bool(is_bad):
        raise ValueError("the model's scores are not finite: some are NaN")
    beams = max(step.symbols.shape[1] for step in history)
    symbols, parents, attended = (np.zeros((len(history), count, beams), dtype=np.int64) for _ in range(3))
    has_attention = history[0].attended is not None
    for number, step in enumerate(history):
        rows = step.rows.numpy()
        symbols[number, rows, : step.symbols.shape[1]] = step.symbols.numpy()
        parents[number, rows, : step.parents.shape[1]] = step.parents.numpy()
        if step.attended is not None:
            attended[number, rows, : step.attended.shape[1]] = step.attended.numpy()
    hypotheses: list[list[Hypothesis]] = [[] for _ in range(count)]
    for pool in finished:
        columns = [tensor.tolist() for tensor in vars(pool).values()]
        for row, scores, totals, steps, last_beams, cuts, _, _ in zip(*columns, strict=True):
            for score, total, last_step, beam, cut in zip(scores, totals, steps, last_beams, cuts, strict=True):
                if score == -np.inf or len(hypotheses[row]) == best:
                    break
                text, alignment = [], [int(attended[last_step, row, beam])]
                for number in range(last_step - 1, -1, -1):
                    text.append(int(symbols[number, row, beam]))
                    beam = int(parents[number, row, beam])
                    alignment.append(int(attended[number, row, beam]))
                path = alignment[::-1] if has_attention else None
                hypotheses[row].append(Hypothesis(text[::-1], total, score, path, cut))
    if not all(hypotheses):
        raise ValueError("the model's scores are not finite: no text could be found")
    return hypotheses
