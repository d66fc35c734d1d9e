"""One tag a step, each chosen on its own: the module behind `tag`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.fields import Tags
from seqkit.heads.joining import JointScores, scale_map
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, State
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.spans import Scheme, spans_of
from seqkit.types import JSON, Field, Prediction
from seqkit.uploads import read_back


class Tag(Head):
    """A linear map at each real step; see `seqkit.heads.tag`.

    `Prediction.value` is a list of tags, `confidence` the probability of each. If the tags mark spans, `scores` has the
    spans (see `span_scores`).
    """

    accepts = (Tags,)
    per_step = True
    gives_log_probs = True
    output_axes = MappingProxyType({"probabilities": ("batch", "steps", "labels")})

    def __init__(self, dim: int, target: Field, *, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.target: Any = target
        self.label_smoothing = label_smoothing
        self.dropout = Dropout(dropout)
        self.out: nn.Module = nn.Linear(dim, target.size)

    def logits(self, steps: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, H), or with `lengths` (B,) their real steps (N, H) -> (..., C), in single precision."""
        out: Tensor = self.out(self.dropout(steps, lengths))
        return out.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, and the number of real steps.

        Raises:
            ValueError: there is not one tag for each encoded step.
        """
        return self._loss(encoded, batch)[:2]

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each real step the tags."""
        total, count, logits = self._loss(encoded, batch)
        return total, count, logits.log_softmax(dim=-1)

    def _loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        assert batch.y is not None
        check_aligned(encoded, batch)
        rows = real_steps(encoded.steps, encoded.lengths)
        y = real_steps(batch.y[..., None], encoded.lengths).squeeze(-1)
        smoothing = self.label_smoothing if self.training else 0.0
        logits = self.logits(rows, encoded.lengths)
        total = functional.cross_entropy(logits, y, label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(len(rows)), logits

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"probabilities": self.logits(encoded.steps).softmax(dim=-1)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        check = FiniteCheck(encoded.steps, batch, encoded.lengths)
        probabilities = self.logits(real_steps(encoded.steps, encoded.lengths)).softmax(dim=-1)
        confidence, best = read_back(*probabilities.max(dim=-1))
        check.finish()
        lengths = encoded.lengths.tolist()
        return [
            self._prediction(self.target.decode(np.asarray(ids)), row_confidence.tolist())
            for ids, row_confidence in zip(torch.split(best, lengths), torch.split(confidence, lengths), strict=True)
        ]

    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """The tags of the new steps. Spans are known when `stitch` has joined them: one may go on."""
        predictions = self.predict(encoded, batch)
        return [replace(prediction, scores=None) for prediction in predictions], [() for _ in kept]

    def scale_scores(self, factor: float) -> None:
        """In the linear map to the tags."""
        scale_map(self.out, factor)

    def join_members(self, members: Sequence[Tag], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities at each step."""
        self.out = JointScores([member.out for member in members], widths)

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The windows' tags one after another."""
        confidence: list[float] = []
        for part in parts:
            assert isinstance(part.confidence, list)
            confidence += part.confidence
        return self._prediction([tag for part in parts for tag in part.value], confidence)

    def _prediction(self, tags: list[str], confidence: list[float]) -> Prediction:
        if self.target.scheme is None:
            return Prediction(tags, confidence)
        scores = span_scores(tags, self.target.scheme, lambda start, end: math.prod(confidence[start:end]))
        return Prediction(tags, confidence, scores)


def span_scores(tags: Sequence[str], scheme: Scheme, probability: Callable[[int, int], float]) -> JSON:
    """`{"spans": [{type, start, end, confidence}]}`: first step, step after the last, and the probability.

    Args:
        tags: a sequence of tags.
        scheme: how they mark spans.
        probability: that of the tags from a first step up to, not including, another.
    """
    return {
        "spans": [
            {"type": kind, "start": start, "end": end, "confidence": min(probability(start, end), 1.0)}
            for kind, start, end in spans_of(tags, scheme)
        ]
    }


def check_aligned(encoded: Encoded, batch: Batch) -> None:
    """Raise ValueError unless there is one target for each encoded step."""
    if batch.y_lengths is None or torch.equal(batch.y_lengths, encoded.lengths):
        return
    row = int((batch.y_lengths != encoded.lengths).nonzero()[0])
    name = batch.ids[row] if batch.ids else f"row {row}"
    targets, steps = int(batch.y_lengths[row]), int(encoded.lengths[row])
    raise ValueError(f"{name}: {targets} targets for {steps} steps; this head needs one target a step")
