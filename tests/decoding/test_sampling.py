"""Drawing the next symbol, against the definitions of temperature, top-k and top-p."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.decoding.sampling import probabilities, sample

LOGITS = torch.tensor([[2.0, 0.5, 2.5, -1.0, 0.0], [0.0, 0.1, 0.2, 0.3, 0.4]])


def by_definition(row: list[float], temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    """Temperature, then the k best, then the fewest that reach p, normalised again."""
    order = sorted(range(len(row)), key=lambda i: -row[i])
    weights = {i: math.exp((row[i] - row[order[0]]) / temperature) for i in order[: top_k or len(row)]}
    total = math.fsum(weights.values())
    probs = {i: weight / total for i, weight in weights.items()}
    if top_p is not None:
        nucleus: dict[int, float] = {}
        for i, prob in probs.items():
            if math.fsum(nucleus.values()) >= top_p:
                break
            nucleus[i] = prob
        probs = {i: prob / math.fsum(nucleus.values()) for i, prob in nucleus.items()}
    return [probs.get(i, 0.0) for i in range(len(row))]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=9, unique=True),
    st.sampled_from([0.25, 0.7, 1.0, 3.0]),
    st.sampled_from([None, 1, 2, 3, 20]),
    st.sampled_from([None, 0.05, 0.31, 0.63, 0.97]),
)
def test_probabilities_by_definition(
    row: list[int], temperature: float, top_k: int | None, top_p: float | None
) -> None:
    scores = [value / 8 for value in row]
    actual = probabilities(torch.tensor([scores]), temperature=temperature, top_k=top_k, top_p=top_p)
    expected = by_definition(scores, temperature, top_k, top_p)
    assert actual[0].tolist() == pytest.approx(expected, abs=2e-6)


def test_temperature_zero_is_the_best_symbol_whatever_the_other_options() -> None:
    for options in ({}, {"top_k": 3}, {"top_p": 0.9}):
        assert sample(LOGITS, temperature=0.0, **options).tolist() == [2, 4]  # type: ignore[arg-type]
    assert sample(torch.zeros(1, 4), temperature=0.0).tolist() == [0]


def test_tiny_temperature_does_not_overflow() -> None:
    assert sample(LOGITS, temperature=1e-30).tolist() == [2, 4]


def test_forbidden_symbols_are_never_drawn() -> None:
    logits = LOGITS.clone()
    logits[:, 2:] = -torch.inf
    probs = probabilities(logits, top_p=0.99, top_k=4)
    assert not probs[:, 2:].any()
    assert probs.sum(dim=-1).tolist() == pytest.approx([1.0, 1.0])


def test_frequencies_follow_the_probabilities_and_the_seed() -> None:
    logits = LOGITS[:1].expand(20000, -1)
    drawn = sample(logits, temperature=1.5, top_k=4, generator=torch.Generator().manual_seed(4))
    repeated = sample(logits, temperature=1.5, top_k=4, generator=torch.Generator().manual_seed(4))
    other_seed = sample(logits, temperature=1.5, top_k=4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(drawn, repeated)
    assert not torch.equal(drawn, other_seed)
    frequencies = torch.bincount(drawn, minlength=5) / len(drawn)
    expected = by_definition(LOGITS[0].tolist(), 1.5, 4, None)
    assert frequencies.tolist() == pytest.approx(expected, abs=0.012)
    assert frequencies[3] == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
    ],
)
def test_arguments_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(LOGITS, **options)


def test_a_row_that_forbids_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="every symbol is forbidden"):
        sample(torch.full((1, 3), -torch.inf))
