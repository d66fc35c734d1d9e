"""One tag a step, each on its own: the module behind `tag`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.fields import Tags
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.kernels.ragged import real_steps
from seqkit.spans import Scheme, spans_of
from seqkit.types import JSON, Field, Prediction


class Tag(Head):
    """A linear map at each step; see `seqkit.heads.tag`. Only real steps are ever multiplied.

    `Prediction.value` is a list of tags, `confidence` the probability of each; where the tags mark spans, `scores` has
    the spans that they mean (see `spans_said`).
    """

    accepts = (Tags,)

    def __init__(self, dim: int, target: Field, *, dropout: float, label_smoothing: float) -> None:
        super().__init__()
        self.target: Any = target
        self.label_smoothing = label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size)

    def logits(self, steps: Tensor) -> Tensor:
        """(..., H) -> (..., C), in single precision."""
        out: Tensor = self.out(self.dropout(steps))
        return out.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, and the number of real steps.

        Raises:
            ValueError: there is not one tag for each encoded step.
        """
        assert batch.y is not None
        check_aligned(encoded, batch)
        rows = real_steps(encoded.steps, encoded.lengths)
        y = real_steps(batch.y[..., None], encoded.lengths).squeeze(-1)
        smoothing = self.label_smoothing if self.training else 0.0
        total = functional.cross_entropy(self.logits(rows), y, label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(len(rows))

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        shares = self.logits(real_steps(encoded.steps, encoded.lengths)).softmax(dim=-1)
        sure, best = (part.cpu() for part in shares.max(dim=-1))
        lengths = encoded.lengths.tolist()
        return [
            self._said(self.target.decode(np.asarray(tags)), each.tolist())
            for tags, each in zip(torch.split(best, lengths), torch.split(sure, lengths), strict=True)
        ]

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The windows' tags one after another."""
        confidence: list[float] = []
        for part in parts:
            assert isinstance(part.confidence, list)
            confidence += part.confidence
        return self._said([tag for part in parts for tag in part.value], confidence)

    def _said(self, tags: list[str], confidence: list[float]) -> Prediction:
        if self.target.scheme is None:
            return Prediction(tags, confidence)
        scores = spans_said(tags, self.target.scheme, lambda first, after: math.prod(confidence[first:after]))
        return Prediction(tags, confidence, scores)


def spans_said(tags: Sequence[str], scheme: Scheme, confidence: Callable[[int, int], float]) -> JSON:
    """`{"spans": [{type, start, end, confidence}]}`: first step, step after the last, the probability of its tags."""
    return {
        "spans": [
            {"type": kind, "start": first, "end": after, "confidence": min(1.0, confidence(first, after))}
            for kind, first, after in spans_of(tags, scheme)
        ]
    }


def check_aligned(encoded: Encoded, batch: Batch) -> None:
    """One target for each encoded step, or a sentence that says where it is not so."""
    if batch.y_lengths is None or torch.equal(batch.y_lengths, encoded.lengths):
        return
    row = int((batch.y_lengths != encoded.lengths).nonzero()[0])
    name = batch.ids[row] if batch.ids else f"row {row}"
    have, steps = int(batch.y_lengths[row]), int(encoded.lengths[row])
    raise ValueError(f"{name}: {have} targets for {steps} steps; this head needs one target a step")
