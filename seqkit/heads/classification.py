"""One label, or several, for a whole sequence: the module behind `classify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.fields import Label, Labels
from seqkit.fields.labels import UNSEEN
from seqkit.heads.joining import JointPooling, JointScores, scale_map
from seqkit.heads.option_types import Pool
from seqkit.heads.pooling import Pooling
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head, State
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.types import Field, Prediction
from seqkit.uploads import read_back


class Classify(Head):
    """Pool, then a linear map to the labels; see `seqkit.heads.classify` for the options.

    `Prediction.value` is the label (a list of labels for `Labels`), `confidence` its probability, `scores`
    `{label: probability}`. With `every_step`, scores are `{label: [probability at each step]}`.
    """

    accepts = (Label, Labels)
    gives_log_probs = True

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
        self.is_multilabel = isinstance(target, Labels)
        self.label_smoothing, self.every_step = label_smoothing, every_step
        # Predictions as if the sequence ended at a step need an encoder that does not read later ones.
        self.needs_causal = self.per_step = every_step
        self.pool: Pooling | JointPooling = Pooling(pool, dim)
        self.dropout = Dropout(dropout)
        self.out: nn.Module = nn.Linear(dim, target.size)
        weights = balanced_weights(target, balanced) if balanced else None
        self.register_buffer("weights", weights, persistent=False)
        self.mixes = not every_step
        self.output_axes = {"probabilities": ("batch", *(("steps",) if every_step else ()), "labels")}

    def logits(self, encoded: Encoded) -> Tensor:
        """(B, C), or (B, T, C) with every_step, in single precision."""
        return self._logits(self.pool.running(encoded) if self.every_step else self.pool(encoded))

    def _logits(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.out(self.dropout(pooled))
        return out.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats, and the number of examples (of real steps with every_step; times C for `Labels`)."""
        return self._loss(self.logits(encoded), encoded, batch)

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each example (or real step) the labels; of `Labels`, of each label that it is true and that it is not."""
        logits = self.logits(encoded)
        terms = real_steps(logits, encoded.lengths) if self.every_step else logits
        if self.is_multilabel:
            pairs = torch.stack([functional.logsigmoid(terms), functional.logsigmoid(-terms)], dim=-1)
            return (*self._loss(logits, encoded, batch), pairs.flatten(0, 1))
        return (*self._loss(logits, encoded, batch), terms.log_softmax(dim=-1))

    def mixed_loss(self, encoded: Encoded, other: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of the pooled steps, mixed: its cross-entropy from the one's labels and from the other's, mixed likewise."""
        assert batch.y is not None
        assert batch.mixed is not None
        assert batch.mixed.batch.y is not None
        share = batch.mixed.share
        pooled, pooled_other = self.pool(encoded), self.pool(other)
        logits = self._logits(torch.lerp(pooled_other, pooled, share[:, None].to(pooled.dtype)))
        losses = torch.lerp(self._losses(logits, batch.mixed.batch.y), self._losses(logits, batch.y), share)
        return losses.sum(), self._count(batch.size)

    def _loss(self, logits: Tensor, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        if not self.every_step:
            return self._losses(logits, batch.y).sum(), self._count(batch.size)
        y = batch.y[:, None].expand(-1, logits.shape[1], *batch.y.shape[1:])
        losses = self._losses(logits, y).masked_fill(~encoded.mask, 0.0)
        return losses.sum(), self._count(int(encoded.lengths.sum()))

    def _losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """(..., C) -> (...), with smoothed labels and balanced classes in training."""
        smoothing = self.label_smoothing if self.training else 0.0
        if self.is_multilabel:
            y = y.float() * (1.0 - smoothing) + smoothing / 2.0
            return functional.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(dim=-1)
        weights = self.weights if self.training and isinstance(self.weights, Tensor) else None
        flat = functional.cross_entropy(
            logits.flatten(0, -2), y.flatten(), weight=weights, label_smoothing=smoothing, reduction="none"
        )
        return flat.view(y.shape)

    def _count(self, rows: int) -> Tensor:
        """() the terms of the loss of so many examples, or steps."""
        return torch.tensor(rows * self.target.size if self.is_multilabel else rows)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"probabilities": self._probabilities(self.logits(encoded))}

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.is_multilabel else logits.softmax(dim=-1)

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        return self._predict(self.logits(encoded), encoded, batch)

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """One a sequence, as if it ended here; with `every_step` at each of the new steps."""
        pooled, new = self.pool.advance(encoded, kept, every_step=self.every_step)
        return self._predict(self._logits(pooled), encoded, batch), new

    def _predict(self, logits: Tensor, encoded: Encoded, batch: Batch) -> list[Prediction]:
        check = FiniteCheck(logits, batch, encoded.lengths if self.every_step else None)
        (probabilities,) = read_back(self._probabilities(logits))
        check.finish()
        return self.predictions(probabilities, encoded.lengths)

    def predictions(self, probabilities: Tensor, lengths: Tensor) -> list[Prediction]:
        """One a sequence, from (B, C), or (B, T, C) with every_step."""
        if not self.every_step:
            return [self._prediction(row.tolist()) for row in probabilities]
        return [
            self._prediction(steps[length - 1].tolist(), steps[:length].t().tolist())
            for steps, length in zip(probabilities, lengths.tolist(), strict=True)
        ]

    def scale_scores(self, factor: float) -> None:
        """In the linear map to the labels."""
        scale_map(self.out, factor)

    def join_members(self, members: Sequence[Classify], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities; of several labels, of each label for itself."""
        self.pool = JointPooling([member.pool for member in members], widths)
        self.out = JointScores([member.out for member in members], widths, independent=self.is_multilabel)

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the windows' probabilities, each window counted once (with every_step: of their last steps)."""
        windows = [[last_step(probability) for probability in part.scores.values()] for part in parts]
        return self._prediction([fmean(probabilities) for probabilities in zip(*windows, strict=True)])

    def join(self, parts: Sequence[Prediction]) -> Prediction:
        """With `every_step`: the last prediction, with the probabilities at all steps."""
        steps = {label: [p for part in parts for p in part.scores[label]] for label in self.target.labels}
        return replace(parts[-1], scores=steps)

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' probabilities."""
        return self.stitch(parts)

    def _prediction(self, probabilities: list[float], steps: list[list[float]] | None = None) -> Prediction:
        labels = self.target.labels
        scores: dict[str, Any] = dict(zip(labels, steps or probabilities, strict=True))
        if self.target.allow_unseen:  # what stands for labels that training has not seen is never an answer
            probabilities = [0.0 if label == UNSEEN else p for label, p in zip(labels, probabilities, strict=True)]
        if self.is_multilabel:
            is_predicted = np.array([probability >= 0.5 for probability in probabilities], dtype=np.float32)
            # Labels are taken as independent: the probability of the set is the product over all labels.
            confidence = float(np.prod([max(probability, 1.0 - probability) for probability in probabilities]))
            return Prediction(self.target.decode(is_predicted), confidence, scores)
        best = int(np.argmax(probabilities))
        return Prediction(labels[best], probabilities[best], scores)


def last_step(probability: float | Sequence[float]) -> float:
    """A probability, or the last one if there is one for each step."""
    return probability[-1] if isinstance(probability, Sequence) else probability


def balanced_weights(target: Any, power: float) -> Tensor:
    """(C,) weights of the labels, n_c ** -power, scaled so that the mean weight of a training example is 1.

    Raises:
        UsageError: the target has no counts of its labels.
    """
    counts = getattr(target, "counts", ())
    if isinstance(target, Labels) or not counts:
        raise UsageError(
            f"classify: balanced needs how often each label occurs, and {type(target).__name__} does not count that; "
            "leave balanced out"
        )
    n = torch.tensor(list(counts), dtype=torch.float32)
    weights = n.clamp(min=1.0) ** -power
    return weights * n.sum() / (weights * n).sum()
