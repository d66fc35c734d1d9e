"""Beam search against exhaustive search, and against a reference implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqkit.decoding import beam_search as module
from seqkit.decoding.beam_search import Hypothesis, beam_search, penalty
from seqkit.decoding.largest import _largest_by_key, largest
from tests.reference import beam as reference

START, END, FORBIDDEN = 0, 1, 2
V, H = 6, 5
SYMBOLS = (0, 3, 4, 5)  # all but the end and the forbidden one


@dataclass(frozen=True)
class Source:
    bias: Tensor
    """(B, V) by which the examples differ."""

    def take_rows(self, index: Tensor) -> Self:
        return type(self)(self.bias[index])


@dataclass(frozen=True)
class State:
    h: Tensor
    """(B, K, H)"""

    def take_rows(self, index: Tensor) -> Self:
        return type(self)(self.h[index])

    def take_beams(self, parents: Tensor) -> Self:
        return type(self)(self.h[torch.arange(len(parents))[:, None], parents])


class Model:
    """A small recurrence in double precision: its scores depend on all symbols before and on their order."""

    def __init__(self, seed: int, examples: int, *, end_bias: float = 0.0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.w, self.r, self.out = (
            torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((V, H), (H, H), (H, V))
        )
        self.bias = torch.randn(examples, V, generator=g, dtype=torch.float64)
        self.bias[:, END] += end_bias
        self.calls: list[int] = []

    def step(self, source: Source, state: State, symbols: Tensor) -> tuple[Tensor, State, Tensor]:
        self.calls.append(len(symbols))
        h = torch.tanh(state.h @ self.r + self.w[symbols])
        # The "step with the largest weight" is a number that follows from the text alone.
        return 2.0 * (h @ self.out) + source.bias[:, None], State(h), h.argmax(dim=-1)

    def log_probs_of(self, example: int) -> reference.LogProbs:
        def log_probs(text: Sequence[int]) -> list[float]:
            logits = 2.0 * (self.states(text)[-1] @ self.out) + self.bias[example]
            next_log_probs: list[float] = logits.log_softmax(dim=-1).tolist()
            return next_log_probs

        return log_probs

    def states(self, text: Sequence[int]) -> list[Tensor]:
        state = torch.zeros(H, dtype=torch.float64)
        states = []
        for symbol in (START, *text):
            state = torch.tanh(state @ self.r + self.w[symbol])
            states.append(state)
        return states

    def search(self, limits: list[int], rows: list[int] | None = None, **options: Any) -> list[list[Hypothesis]]:
        index = torch.arange(len(self.bias)) if rows is None else torch.tensor(rows)
        zero = State(torch.zeros(len(index), 1, H, dtype=torch.float64))
        source = Source(self.bias[index])
        options = {"start": START, "end": END, "forbidden": (FORBIDDEN,)} | options
        return beam_search(self.step, source, zero, limits=torch.tensor(limits), **options)


def symbols(hypotheses: list[Hypothesis]) -> list[list[int]]:
    return [hypothesis.symbols for hypothesis in hypotheses]


def agree(actual: list[Hypothesis], expected: list[reference.Result]) -> None:
    assert symbols(actual) == [text for _, _, text in expected]
    for hypothesis, (score, total, _) in zip(actual, expected, strict=True):
        assert hypothesis.score == pytest.approx(score, rel=1e-9)
        assert hypothesis.total == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("min_length", [0, 1])
def test_with_beams_for_every_prefix_it_is_exhaustive_search(alpha: float, min_length: int) -> None:
    limits = [5, 3, 4, 2]
    for seed in range(5):
        model = Model(seed, 4)
        results = model.search(limits, beams=4**4 * V, alpha=alpha, best=7 - 2 * min_length, min_length=min_length)
        for example, (limit, texts) in enumerate(zip(limits, results, strict=True)):
            expected = reference.exhaustive(
                model.log_probs_of(example), SYMBOLS, end=END, limit=limit, alpha=alpha, min_length=min_length
            )
            agree(texts, expected[: len(texts)])
            assert len(texts) == min(len(expected), 7 - 2 * min_length)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    beams=st.integers(1, 7),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
    end_bias=st.sampled_from([-3.0, 0.0, 2.0]),
    early_stop=st.booleans(),
    data=st.data(),
)
def test_it_is_the_reference_implementation(
    seed: int, limits: list[int], beams: int, alpha: float, end_bias: float, early_stop: bool, data: Any
) -> None:
    best, min_length = data.draw(st.integers(1, beams)), data.draw(st.integers(0, min(1, min(limits) - 1)))
    model = Model(seed, len(limits), end_bias=end_bias)
    results = model.search(limits, beams=beams, alpha=alpha, best=best, min_length=min_length, early_stop=early_stop)
    for example, limit in enumerate(limits):
        options = {
            "early_stop": early_stop,
            "end": END,
            "limit": limit,
            "beams": beams,
            "alpha": alpha,
            "best": best,
            "min_length": min_length,
        }
        expected = reference.beam_search(model.log_probs_of(example), SYMBOLS, **options)  # type: ignore[arg-type]
        agree(results[example], expected)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_it_is_never_worse_than_greedy_search(beams: int, alpha: float) -> None:
    """The early stop, on the other hand, does lose to it now and then with few beams."""
    losses = 0
    for seed in range(150):
        model, limits = Model(seed, 4, end_bias=(-1.0, 0.0, 1.0)[seed % 3]), [12, 8, 5, 9]
        greedy, sure, early = (
            [texts[0].score for texts in model.search(limits, beams=count, alpha=alpha, early_stop=early_stop)]
            for count, early_stop in ((1, False), (beams, False), (beams, True))
        )
        assert all(score >= least - 1e-12 for score, least in zip(sure, greedy, strict=True)), (seed, sure, greedy)
        losses += sum(score < least - 1e-12 for score, least in zip(early, greedy, strict=True))
    assert losses or beams > 2


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("size", [4, 100, 5000])
def test_of_equal_scores_the_lowest_symbol_wins(size: int, beams: int) -> None:
    def step(source: Source, state: State, symbols: Tensor) -> tuple[Tensor, State, None]:
        return torch.zeros(*symbols.shape, size), state, None

    texts = beam_search(
        step,
        Source(torch.zeros(3, V)),
        State(torch.zeros(3, 1, H)),
        limits=torch.tensor([4, 2, 3]),
        start=START,
        end=size - 1,
        beams=beams,
    )
    # The end comes first only where it is one of the first continuations.
    expected: list[list[int]] = [[], [], []] if beams >= size else [[0, 0, 0], [0], [0, 0]]
    assert symbols([text[0] for text in texts]) == expected


ROWS = st.lists(st.lists(st.sampled_from([-1.5, -0.0, 0.0, 2.0, -torch.inf]), min_size=7, max_size=7), min_size=1)


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, count=st.integers(1, 7))
def test_both_ways_to_the_largest_scores_have_one_order(rows: list[list[float]], count: int) -> None:
    scores = torch.tensor(rows)
    expected = scores.sort(dim=-1, descending=True, stable=True)
    for function in (largest, _largest_by_key):
        values, index = function(scores, count)
        assert torch.equal(values, expected.values[:, :count])
        is_finite = values > -torch.inf
        assert torch.equal(index[is_finite], expected.indices[:, :count][is_finite])


def test_one_beam_takes_the_best_symbol_at_each_step() -> None:
    model = Model(3, 5, end_bias=-1.0)
    limit = 9
    for example, (hypothesis,) in enumerate(model.search([limit] * 5, beams=1, alpha=0.6)):
        text: list[int] = []
        while len(text) < limit - 1:
            log_probs = model.log_probs_of(example)(text)
            symbol = max((*SYMBOLS, END), key=lambda s: log_probs[s])
            if symbol == END:
                break
            text.append(symbol)
        assert hypothesis.symbols == text


def test_an_example_has_the_same_result_alone() -> None:
    model = Model(8, 6, end_bias=-1.0)
    limits = [3, 12, 7, 2, 9, 12]
    together = model.search(limits, beams=4, alpha=0.6, best=3)
    for row, limit in enumerate(limits):
        (alone,) = model.search([limit], rows=[row], beams=4, alpha=0.6, best=3)
        assert symbols(alone) == symbols(together[row])
        totals = [[hypothesis.total for hypothesis in hypotheses] for hypotheses in (alone, together[row])]
        assert totals[0] == pytest.approx(totals[1], abs=1e-9)
    order = [4, 0, 5, 2, 1, 3]
    reordered = model.search([limits[row] for row in order], rows=order, beams=4, alpha=0.6, best=3)
    assert [symbols(hypotheses) for hypotheses in reordered] == [symbols(together[row]) for row in order]


def test_the_moments_of_checks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU examples that are done stay for some steps more."""
    model = Model(8, 6)
    limits = [3, 20, 7, 2, 9, 20]
    expected = model.search(limits, beams=3, alpha=0.6, best=2)
    calls = model.calls
    monkeypatch.setattr(
        module, "_is_check_due", lambda device, number, ends: (number + 1) % 8 == 0 or number + 1 == max(limits)
    )
    model.calls = []
    assert model.search(limits, beams=3, alpha=0.6, best=2) == expected
    assert sum(model.calls) > sum(calls), "no example stayed longer"


def test_done_examples_leave_the_batch() -> None:
    model = Model(1, 4, end_bias=-20.0)
    model.bias[0, END] += 40.0
    model.search([30, 5, 10, 10], beams=2)
    assert model.calls[:2] == [4, 3]
    assert len(model.calls) == 10, "all examples are done, and it continued"


def test_it_stops_when_nothing_can_overtake() -> None:
    model = Model(1, 1, end_bias=30.0)
    model.search([1000], beams=5, alpha=0.6)
    assert len(model.calls) < 50


def test_a_text_that_its_limit_ends_is_marked() -> None:
    model = Model(2, 2, end_bias=-30.0)
    model.bias[1, END] += 60.0
    (cut,), (complete,) = model.search([4, 4], beams=3)
    assert (len(cut.symbols), cut.cut) == (3, True)
    assert (complete.symbols, complete.cut) == ([], False)
    assert cut.total == pytest.approx(sum(_log_probs(model, 0, cut.symbols)))


def test_a_text_that_ends_at_its_limit_by_itself_is_not_cut() -> None:
    model = Model(2, 1, end_bias=30.0)
    ((hypothesis,),) = model.search([2], beams=1, min_length=1)
    assert len(hypothesis.symbols) == 1
    assert not hypothesis.cut


def test_alignments_have_the_largest_weight_of_each_symbol() -> None:
    model = Model(5, 3, end_bias=-1.0)
    for texts in model.search([8] * 3, beams=4, alpha=0.6, best=4):
        for hypothesis in texts:
            assert hypothesis.alignment == [int(h.argmax()) for h in model.states(hypothesis.symbols)]


def test_a_forbidden_symbol_is_never_predicted_and_keeps_its_probability() -> None:
    model = Model(4, 1)
    model.bias[0, FORBIDDEN] += 20.0
    ((hypothesis,),) = model.search([6], beams=1)
    assert FORBIDDEN not in hypothesis.symbols
    assert hypothesis.total == pytest.approx(sum(_log_probs(model, 0, hypothesis.symbols)))
    assert hypothesis.total < -10.0


def test_the_penalty_is_that_of_the_paper() -> None:
    assert penalty(1, 0.7) == 1.0
    assert penalty(25, 0.6) == pytest.approx(30**0.6 / 6**0.6)
    assert penalty(25, 0.0) == 1.0


@pytest.mark.parametrize("wrong", [{"beams": 0}, {"beams": 2, "best": 3}, {"beams": 1, "min_length": 4}])
def test_arguments_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs at least one beam"):
        Model(0, 1).search([4], **wrong)


def test_scores_that_are_not_finite_are_an_error() -> None:
    model = Model(0, 2)
    model.bias[1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        model.search([4, 4], beams=2)


def _log_probs(model: Model, example: int, text: list[int]) -> list[float]:
    """Of each symbol, and of the end."""
    log_probs = model.log_probs_of(example)
    return [log_probs(text[:length])[symbol] for length, symbol in enumerate([*text, END])]
