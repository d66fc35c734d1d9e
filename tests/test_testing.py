"""The conformance classes pass for what is right, and fail with a sentence for what is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqkit import registry
from seqkit.modules import Encoded, State
from seqkit.testing import EncoderConformance, HeadConformance, TaskConformance
from tests.test_prove import D, Simple


class TestSentiment(TaskConformance):
    task = "sentiment"
    options = {"sizes": [40, 10, 10]}  # noqa: RUF012


class TestCharlm(TaskConformance):
    task = "charlm"


class TestClassifyByAttention(HeadConformance):
    task = "sentiment"
    options = {"sizes": [40, 10, 10]}  # noqa: RUF012
    head = {"use": "classify", "pool": "attention"}  # noqa: RUF012


class TestLSTM(EncoderConformance):
    encoder = "lstm"
    options = {"hidden": 8, "layers": 2, "bidirectional": True}  # noqa: RUF012


class Leaky(Simple):
    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        encoded = super().forward(x, lengths, state)
        encoded.steps = encoded.steps + 0.1
        return encoded


def test_a_broken_encoder_fails_with_the_contract_and_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: Leaky() if dim == D else None)

    class Broken(EncoderConformance):
        encoder = "leaky"

    with pytest.raises(AssertionError, match="must be zero"):
        Broken().test_it_says_how_wide_it_is()

    class Backwards(Simple):
        def __init__(self) -> None:
            super().__init__(bidirectional=True)

    monkeypatch.setattr(registry, "load", lambda kind, name: lambda dim: Backwards())
    with pytest.raises(AssertionError, match="what stands in the padding does not matter"):
        Broken().test_answers_do_not_move()
