"""The head of the task `protein-structure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Encoded, Field, Head, Prediction, State, mask_of, real_steps, upload
from seqkit.heads import JointScores
from seqkit.nn import Dropout
from seqkit_proteins.fields import Structure

LEFT_OUT = -100
"""The class of residues that do not count, in the loss."""


class Residues(Head):
    """A softmax at each residue; see `seqkit_proteins.residues` for the options.

    `Prediction.value` is text with a letter for each residue, `confidence` the probability of each.
    """

    accepts = (Structure,)
    per_step = True
    gives_log_probs = True
    output_axes = MappingProxyType({"probabilities": ("batch", "steps", "structures")})

    def __init__(self, dim: int, target: Field, *, dropout: float) -> None:
        super().__init__()
        assert isinstance(target, Structure)
        self.target = target
        self.dropout = Dropout(dropout)
        self.out: nn.Module = nn.Linear(dim, target.size)

    def logits(self, encoded: Encoded) -> Tensor:
        """(B, T, C), in single precision."""
        scores: Tensor = self.out(self.dropout(encoded.steps))
        return scores.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy in nats over the residues whose structure is known, and how many they are."""
        return self._loss(self.logits(encoded), encoded, batch)

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each residue whose structure is known, all structures."""
        logits = self.logits(encoded)
        # Looked at where the targets came from: a GPU would have to be waited for.
        is_known = real_steps(batch.y_on_cpu, encoded.lengths) >= 0
        rows = upload(is_known.nonzero().squeeze(1), logits.device)
        known = real_steps(logits, encoded.lengths).index_select(0, rows)
        return (*self._loss(logits, encoded, batch), known.log_softmax(dim=-1))

    def _loss(self, logits: Tensor, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        y = batch.y.long()
        is_counted = mask_of(encoded.lengths, logits.shape[1], logits.device) & (y >= 0)
        # Left out by number: to pick the others by the mask, a GPU would have to be waited for.
        y = y.masked_fill(~is_counted, LEFT_OUT).flatten()
        total = functional.cross_entropy(logits.flatten(0, 1), y, ignore_index=LEFT_OUT, reduction="sum")
        return total, is_counted.sum()

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"probabilities": self.logits(encoded).softmax(dim=-1)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        confidence, best = self.logits(encoded).softmax(dim=-1).max(dim=-1)
        return [
            Prediction(self.target.decode(np.array(numbers[:length])), row[:length])
            for numbers, row, length in zip(best.tolist(), confidence.tolist(), encoded.lengths.tolist(), strict=True)
        ]

    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """The structures of the new residues; nothing has to be kept."""
        return self.predict(encoded, batch), [() for _ in kept]

    def join_members(self, members: Sequence[Residues], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities of each residue."""
        self.out = JointScores([member.out for member in members], widths)

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The residues of all parts, one after the other."""
        confidence: list[float] = []
        for piece in parts:
            assert isinstance(piece.confidence, list)
            confidence += piece.confidence
        return replace(parts[0], value="".join(piece.value for piece in parts), confidence=confidence)
