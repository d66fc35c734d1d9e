"""One label, or several, for a whole sequence: the module behind `classify`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.fields import Label, Labels
from seqkit.heads.option_types import Pool
from seqkit.heads.pooling import Pooling
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.types import Field, Prediction


class Classify(Head):
    """Pool, then a linear map to the labels; see `seqkit.heads.classify` for what the options mean.

    `Prediction.value` is the label (a list of labels for `Labels`), `confidence` its probability, `scores`
    `{label: probability}`. With `every_step`, scores are `{label: [probability at each step]}`.
    """

    accepts = (Label, Labels)

    def __init__(
        self,
        dim: int,
        target: Field,
        *,
        pool: Pool,
        dropout: float,
        label_smoothing: float,
        balanced: float,
        every_step: bool,
    ) -> None:
        super().__init__()
        self.target: Any = target
        self.several = isinstance(target, Labels)
        self.label_smoothing, self.every_step = label_smoothing, every_step
        # Only an encoder that does not look ahead can say what it would if the sequence ended here.
        self.needs_causal = every_step
        self.pool = Pooling(pool, dim)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(dim, target.size)
        weights = balanced_weights(target, balanced) if balanced else None
        self.register_buffer("weights", weights, persistent=False)

    def logits(self, encoded: Encoded) -> Tensor:
        """(B, C), or (B, T, C) with every_step, in single precision."""
        pooled = self.pool.running(encoded) if self.every_step else self.pool(encoded)
        out: Tensor = self.out(self.dropout(pooled))
        return out.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, and the number of examples (of real steps with every_step; times C for `Labels`)."""
        assert batch.y is not None
        logits, y = self.logits(encoded), batch.y
        terms = batch.size
        if self.every_step:
            time = logits.shape[1]
            y = y[:, None].expand(-1, time, *y.shape[1:])
            terms = int(encoded.lengths.sum())
        smoothing = self.label_smoothing if self.training else 0.0
        if self.several:
            y = y.float() * (1.0 - smoothing) + smoothing / 2.0
            each = functional.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(dim=-1)
            terms *= logits.shape[-1]
        else:
            weights = self.weights if self.training and isinstance(self.weights, Tensor) else None
            flat = functional.cross_entropy(
                logits.flatten(0, -2), y.flatten(), weight=weights, label_smoothing=smoothing, reduction="none"
            )
            each = flat.view(y.shape)
        if self.every_step:
            each = each.masked_fill(~encoded.mask, 0.0)
        return each.sum(), torch.tensor(terms)

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        logits = self.logits(encoded)
        shares = (logits.sigmoid() if self.several else logits.softmax(dim=-1)).cpu()
        if not self.every_step:
            return [self._say(row.tolist()) for row in shares]
        return [
            self._say(rows[length - 1].tolist(), rows[:length].t().tolist())
            for rows, length in zip(shares, encoded.lengths.tolist(), strict=True)
        ]

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the windows' probabilities, each window counted once (with every_step: of their last steps)."""
        ends = [[at_the_end(share) for share in part.scores.values()] for part in parts]
        return self._say([fmean(each) for each in zip(*ends, strict=True)])

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' probabilities."""
        return self.stitch(parts)

    def _say(self, shares: list[float], steps: list[list[float]] | None = None) -> Prediction:
        scores: dict[str, Any] = dict(zip(self.target.labels, steps or shares, strict=True))
        if self.several:
            given = np.array([share >= 0.5 for share in shares], dtype=np.float32)
            # Labels are taken as independent: the probability of the set is the product over all labels.
            sure = float(np.prod([max(share, 1.0 - share) for share in shares]))
            return Prediction(self.target.decode(given), sure, scores)
        best = int(np.argmax(shares))
        return Prediction(self.target.labels[best], shares[best], scores)


def at_the_end(share: float | Sequence[float]) -> float:
    """A probability, or the last of one a step."""
    return share[-1] if isinstance(share, Sequence) else share


def balanced_weights(target: Any, power: float) -> Tensor:
    """(C,) weights of the labels, n_c ** -power, so scaled that the mean weight of a training example is 1.

    Raises:
        UsageError: the target does not say how often each label came.
    """
    counts = getattr(target, "counts", ())
    if isinstance(target, Labels) or not counts:
        raise UsageError(f"classify: balanced needs how often each label came, which {type(target).__name__} has not")
    seen = torch.tensor(list(counts), dtype=torch.float32).clamp(min=1.0)
    weights = seen**-power
    return weights * seen.sum() / (weights * seen).sum()
