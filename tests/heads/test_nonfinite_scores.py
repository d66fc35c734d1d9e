"""Scores that are NaN or infinite are refused wherever something is decoded, and are never a certain prediction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit import heads
from seqkit.decoding.beam_search import beam_search
from seqkit.decoding.ctc_beam_search import prefix_beam_search
from seqkit.decoding.sampling import sample
from seqkit.errors import RunError
from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values
from seqkit.heads.tagging import span_scores
from seqkit.interfaces import Batch, Encoded
from tests.decoding.test_beam_search import H, Source, State, V

DIM = 6
LENGTHS = torch.tensor([4, 2, 3])


TEXT = Text().fit(["ab", "ba", "aab"])
TOKENS = Tokens().fit(["ab", "ba"])
TAGS = Tags(scheme="iob2").fit([["O", "B-X", "I-X"]])
HEADS: dict[str, Any] = {
    "ctc": lambda: heads.ctc(DIM, TEXT),
    "ctc beam": lambda: heads.ctc(DIM, TEXT, search="beam"),
    "crf": lambda: heads.crf(DIM, TAGS),
    "crf nbest": lambda: heads.crf(DIM, TAGS, nbest=3),
    "tag": lambda: heads.tag(DIM, TAGS),
    "classify": lambda: heads.classify(DIM, Label().fit(["a", "b"])),
    "classify labels": lambda: heads.classify(DIM, Labels().fit([["a"], ["b"]])),
    "classify every step": lambda: heads.classify(DIM, Label().fit(["a", "b"]), every_step=True),
    "regress": lambda: heads.regress(DIM, Values().fit([1.0, 2.0])),
    "language": lambda: heads.language(DIM, Next().of(TOKENS), TOKENS.layer(DIM)),
    "attend": lambda: heads.attend(DIM, TEXT, max_length=4),
    "attend greedy": lambda: heads.attend(DIM, TEXT, max_length=4, search="greedy"),
    "generate": lambda: heads.generate(DIM, TEXT, max_length=4),
}


def encoded_with(value: float, row: int = 1) -> Encoded:
    steps = torch.randn(3, 4, DIM, generator=torch.Generator().manual_seed(0))
    steps[row, 1] = value
    steps = steps.masked_fill((torch.arange(4) >= LENGTHS[:, None])[..., None], 0.0)
    last = steps[torch.arange(3), LENGTHS - 1]
    return Encoded(steps, LENGTHS, last, lambda: ())


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_refuses_and_names_the_example(name: str, value: float) -> None:
    torch.manual_seed(0)
    head = HEADS[name]().eval()
    batch = Batch(torch.zeros(3, 4, dtype=torch.int64), LENGTHS, ids=["one", "two", "three"])
    assert len(head.predict(encoded_with(0.5), batch)) == 3
    with pytest.raises(RunError, match=r"^two: the model's scores are not finite"):
        head.predict(encoded_with(value), batch)


def test_searches_refuse() -> None:
    with pytest.raises(ValueError, match="not finite"):
        prefix_beam_search(np.full((3, 4), math.nan), beams=2)
    one = np.log(np.full((3, 4), 0.25))
    one[1, 2] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        prefix_beam_search(one, beams=2)
    for scores in ([[math.nan, 1.0]], [[1.0, math.inf]]):
        for temperature in (0.0, 1.0):
            with pytest.raises(ValueError, match="not finite"):
                sample(torch.tensor(scores), temperature=temperature)


@pytest.mark.parametrize("when", [0, 1, 2])
@pytest.mark.parametrize("beams", [1, 3])
def test_beam_search_refuses_nan_at_any_step(beams: int, when: int) -> None:
    calls: list[int] = []

    def step(source: Source, state: State, symbols: Tensor) -> tuple[Tensor, State, None]:
        scores = torch.randn(*symbols.shape, V, generator=torch.Generator().manual_seed(len(calls)))
        scores[..., 1] = -9.0  # the end comes late
        if len(calls) == when:
            scores[1, 0, 3] = math.nan
        calls.append(1)
        return scores, state, None

    with pytest.raises(ValueError, match="not finite"):
        beam_search(
            step,
            Source(torch.zeros(2, V)),
            State(torch.zeros(2, 1, H)),
            limits=torch.tensor([5, 5]),
            start=0,
            end=1,
            beams=beams,
        )


def test_a_probability_that_is_nan_stays_so() -> None:
    spans: Any = span_scores(["B-X", "O"], "iob2", lambda start, end: math.nan)
    assert math.isnan(spans["spans"][0]["confidence"])
