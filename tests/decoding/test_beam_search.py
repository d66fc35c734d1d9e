"""Beam search against the search through everything, and against a slow twin."""

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
from tests.reference import beam as slow

START, END, BARRED = 0, 1, 2
V, H = 6, 5
SYMBOLS = (0, 3, 4, 5)  # all but the end and the barred one


@dataclass(frozen=True)
class Source:
    bias: Tensor
    """(B, V) what makes each example another."""

    def take_rows(self, index: Tensor) -> Self:
        return type(self)(self.bias[index])


@dataclass(frozen=True)
class Position:
    state: Tensor
    """(B, K, H)"""

    def take_rows(self, index: Tensor) -> Self:
        return type(self)(self.state[index])

    def take_beams(self, parents: Tensor) -> Self:
        return type(self)(self.state[torch.arange(len(parents))[:, None], parents])


class Model:
    """A small recurrence in double precision: what it says depends on all that was said before, in its order."""

    def __init__(self, seed: int, examples: int, *, likes_to_end: float = 0.0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.read, self.keep, self.say = (
            torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((V, H), (H, H), (H, V))
        )
        self.bias = torch.randn(examples, V, generator=g, dtype=torch.float64)
        self.bias[:, END] += likes_to_end
        self.calls: list[int] = []

    def step(self, source: Source, at: Position, symbols: Tensor) -> tuple[Tensor, Position, Tensor]:
        self.calls.append(len(symbols))
        state = torch.tanh(at.state @ self.keep + self.read[symbols])
        # "Where it looks" is a number that can be worked out again from the text alone.
        return 2.0 * (state @ self.say) + source.bias[:, None], Position(state), state.argmax(dim=-1)

    def alone(self, example: int) -> slow.LogProbs:
        def log_probs(text: Sequence[int]) -> list[float]:
            logits = 2.0 * (self.states(text)[-1] @ self.say) + self.bias[example]
            shares: list[float] = logits.log_softmax(dim=-1).tolist()
            return shares

        return log_probs

    def states(self, text: Sequence[int]) -> list[Tensor]:
        state = torch.zeros(H, dtype=torch.float64)
        states = []
        for symbol in (START, *text):
            state = torch.tanh(state @ self.keep + self.read[symbol])
            states.append(state)
        return states

    def search(self, limits: list[int], rows: list[int] | None = None, **options: Any) -> list[list[Hypothesis]]:
        index = torch.arange(len(self.bias)) if rows is None else torch.tensor(rows)
        zero = Position(torch.zeros(len(index), 1, H, dtype=torch.float64))
        source = Source(self.bias[index])
        options = {"start": START, "end": END, "forbidden": (BARRED,)} | options
        return beam_search(self.step, source, zero, limits=torch.tensor(limits), **options)


def agree(found: list[Hypothesis], wanted: list[slow.Found]) -> None:
    assert [each.symbols for each in found] == [symbols for _, _, symbols in wanted]
    for each, (score, total, _) in zip(found, wanted, strict=True):
        assert each.score == pytest.approx(score, rel=1e-9)
        assert each.total == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("min_length", [0, 1])
def test_with_room_for_every_beginning_it_is_the_search_through_everything(alpha: float, min_length: int) -> None:
    limits = [5, 3, 4, 2]
    for seed in range(5):
        model = Model(seed, 4)
        found = model.search(limits, beams=4**4 * V, alpha=alpha, best=7 - 2 * min_length, min_length=min_length)
        for example, (limit, texts) in enumerate(zip(limits, found, strict=True)):
            everything = slow.exhaustive(
                model.alone(example), SYMBOLS, end=END, limit=limit, alpha=alpha, min_length=min_length
            )
            agree(texts, everything[: len(texts)])
            assert len(texts) == min(len(everything), 7 - 2 * min_length)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    limits=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    beams=st.integers(1, 7),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
    likes_to_end=st.sampled_from([-3.0, 0.0, 2.0]),
    data=st.data(),
)
def test_it_is_its_slow_twin(
    seed: int, limits: list[int], beams: int, alpha: float, likes_to_end: float, data: Any
) -> None:
    best, min_length = data.draw(st.integers(1, beams)), data.draw(st.integers(0, min(1, min(limits) - 1)))
    model = Model(seed, len(limits), likes_to_end=likes_to_end)
    found = model.search(limits, beams=beams, alpha=alpha, best=best, min_length=min_length)
    for example, limit in enumerate(limits):
        options = {"end": END, "limit": limit, "beams": beams, "alpha": alpha, "best": best, "min_length": min_length}
        wanted = slow.beam_search(model.alone(example), SYMBOLS, **options)  # type: ignore[arg-type]
        agree(found[example], wanted)


def test_one_beam_takes_the_best_symbol_at_each_step() -> None:
    model = Model(3, 5, likes_to_end=-1.0)
    limit = 9
    for example, (found,) in enumerate(model.search([limit] * 5, beams=1, alpha=0.6)):
        text: list[int] = []
        while len(text) < limit - 1:
            shares = model.alone(example)(text)
            symbol = max((*SYMBOLS, END), key=lambda s: shares[s])
            if symbol == END:
                break
            text.append(symbol)
        assert found.symbols == text


def test_an_example_is_as_if_it_were_alone() -> None:
    model = Model(8, 6, likes_to_end=-1.0)
    limits = [3, 12, 7, 2, 9, 12]
    together = model.search(limits, beams=4, alpha=0.6, best=3)
    for row, limit in enumerate(limits):
        (alone,) = model.search([limit], rows=[row], beams=4, alpha=0.6, best=3)
        assert [each.symbols for each in alone] == [each.symbols for each in together[row]]
        assert [each.total for each in alone] == pytest.approx([each.total for each in together[row]], abs=1e-9)
    order = [4, 0, 5, 2, 1, 3]
    turned = model.search([limits[row] for row in order], rows=order, beams=4, alpha=0.6, best=3)
    assert [[each.symbols for each in texts] for texts in turned] == [
        [each.symbols for each in together[row]] for row in order
    ]


def test_when_it_looks_who_is_done_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU examples that are done stay for some steps more."""
    model = Model(8, 6)
    limits = [3, 20, 7, 2, 9, 20]
    want = model.search(limits, beams=3, alpha=0.6, best=2)
    often = model.calls
    monkeypatch.setattr(
        module, "_is_check_due", lambda device, number, ends: (number + 1) % 8 == 0 or number + 1 == max(limits)
    )
    model.calls = []
    assert model.search(limits, beams=3, alpha=0.6, best=2) == want
    assert sum(model.calls) > sum(often), "nothing was done late"


def test_done_examples_leave_the_batch() -> None:
    model = Model(1, 4, likes_to_end=-20.0)
    model.bias[0, END] += 40.0
    model.search([30, 5, 10, 10], beams=2)
    assert model.calls[:2] == [4, 3]
    assert len(model.calls) == 10, "everybody is done, and it went on"


def test_it_stops_when_nothing_can_overtake() -> None:
    model = Model(1, 1, likes_to_end=30.0)
    model.search([1000], beams=5, alpha=0.6)
    assert len(model.calls) < 50


def test_the_limit_makes_a_text_end_and_says_so() -> None:
    model = Model(2, 2, likes_to_end=-30.0)
    model.bias[1, END] += 60.0
    (cut,), (whole,) = model.search([4, 4], beams=3)
    assert (len(cut.symbols), cut.cut) == (3, True)
    assert (whole.symbols, whole.cut) == ([], False)
    assert cut.total == pytest.approx(sum(share for share in _said(model, 0, cut.symbols)))


def test_a_text_that_ends_at_its_limit_by_itself_is_not_cut() -> None:
    model = Model(2, 1, likes_to_end=30.0)
    ((found,),) = model.search([2], beams=1, min_length=1)
    assert len(found.symbols) == 1
    assert not found.cut


def test_alignments_are_where_each_symbol_looked() -> None:
    model = Model(5, 3, likes_to_end=-1.0)
    for texts in model.search([8] * 3, beams=4, alpha=0.6, best=4):
        for each in texts:
            assert each.alignment == [int(state.argmax()) for state in model.states(each.symbols)]


def test_a_barred_symbol_is_never_said_and_takes_no_share_from_others() -> None:
    model = Model(4, 1)
    model.bias[0, BARRED] += 20.0
    ((found,),) = model.search([6], beams=1)
    assert BARRED not in found.symbols
    assert found.total == pytest.approx(sum(_said(model, 0, found.symbols)))
    assert found.total < -10.0


def test_the_penalty_is_that_of_the_paper() -> None:
    assert penalty(1, 0.7) == 1.0
    assert penalty(25, 0.6) == pytest.approx(30**0.6 / 6**0.6)
    assert penalty(25, 0.0) == 1.0


@pytest.mark.parametrize("bad", [{"beams": 0}, {"beams": 2, "best": 3}, {"beams": 1, "min_length": 4}])
def test_what_cannot_be_meant(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="needs at least one beam"):
        Model(0, 1).search([4], **bad)


def test_scores_that_are_not_finite_are_an_error() -> None:
    model = Model(0, 2)
    model.bias[1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        model.search([4, 4], beams=2)


def _said(model: Model, example: int, text: list[int]) -> list[float]:
    """The logarithm of the probability of each symbol, and of the end."""
    shares = model.alone(example)
    return [shares(text[:place])[symbol] for place, symbol in enumerate([*text, END])]
