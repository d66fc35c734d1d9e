"""The head of the task `music`."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Encoded, Field, Head, Prediction, State, read_back, real_steps
from seqkit.heads import JointScores
from seqkit.nn import Dropout
from seqkit_music.fields import LOWEST, NextChords
from seqkit_music.nade import JointMaps, JointNade, Nade


class Notes(Head):
    """A sigmoid for each key at each step; see `seqkit_music.notes` for the options.

    `Prediction.value` has the likely pitches after each row of the input, `confidence` the probability that the keys of
    a step are exactly these. With `nade`, the exported probability of a key is that given the likely keys below it.
    """

    accepts = (NextChords,)
    needs_causal = True
    per_step = True
    gives_log_probs = True
    loss_name = "nats"
    output_axes = MappingProxyType({"probabilities": ("batch", "steps", "keys")})

    def __init__(self, dim: int, target: Field, *, nade: int, dropout: float, threshold: float) -> None:
        super().__init__()
        assert isinstance(target, NextChords)
        self.target = target
        self.threshold = threshold
        self.dropout = Dropout(dropout)
        out = nn.Linear(dim, target.size)
        nn.init.constant_(out.bias, -3.0)  # about 4 of 88 keys sound
        self.out: nn.Module = out
        self.nade: Nade | JointNade | None = Nade(dim, nade) if nade else None

    def logits(self, encoded: Encoded) -> Tensor:
        """(B, T, 88), in single precision; with `nade`, each key's given those that are likely below it."""
        scores: Tensor = self.out(encoded.steps)
        if self.nade is not None:
            scores = self.nade.choose(encoded.steps, scores, lambda score: score.float().sigmoid() > self.threshold)
        return scores.float()

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over keys and steps, in nats, and how many steps they are."""
        return self._loss(encoded, batch)[:2]

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each key at each step, that it sounds and that it does not; with `nade`, given the true keys below it."""
        total, count, logits = self._loss(encoded, batch)
        pairs = torch.stack([functional.logsigmoid(logits), functional.logsigmoid(-logits)], dim=-1)
        return total, count, pairs.flatten(0, 1)

    def _loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, its number of terms, and (N, 88) the scores of the keys at real steps."""
        assert batch.y is not None
        steps = real_steps(self.dropout(encoded.steps), encoded.lengths)
        y = real_steps(batch.y, encoded.lengths)
        logits: Tensor = self.out(steps)
        if self.nade is not None:
            most = int(batch.y_on_cpu.sum(dim=-1).max())  # on the CPU: a GPU would have to be waited for
            logits = self.nade(steps, logits, y.long(), most)
        logits = logits.float()
        total = functional.binary_cross_entropy_with_logits(logits, y.float(), reduction="sum")
        return total, encoded.lengths.sum(), logits

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"probabilities": self.logits(encoded).sigmoid()}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a piece."""
        logits = self.logits(encoded)
        sounds = logits.sigmoid() > self.threshold
        certain = functional.logsigmoid(torch.where(sounds, logits, -logits)).sum(dim=-1).exp()
        sounds, certain = read_back(sounds, certain)
        predictions = []
        for row, confidence, length in zip(sounds, certain.tolist(), encoded.lengths.tolist(), strict=True):
            pitches = [[LOWEST + key for key in step.nonzero().flatten().tolist()] for step in row[:length]]
            predictions.append(Prediction(pitches, confidence[:length]))
        return predictions

    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """What comes after the new rows; nothing has to be kept."""
        return self.predict(encoded, batch), [() for _ in kept]

    def join_members(self, members: Sequence[Notes], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities of each key; with `nade`, given the same keys below it.

        Raises:
            TypeError: some members have `nade` and others do not.
        """
        maps, nades = [member.out for member in members], [member.nade for member in members]
        if all(nade is None for nade in nades):
            self.out, self.nade = JointScores(maps, widths, independent=True), None
            return
        known = [nade for nade in nades if isinstance(nade, Nade)]
        if len(known) < len(nades):
            raise TypeError("keys of a step depend on each other in some of them (`nade`) and not in others")
        self.out, self.nade = JointMaps(maps, widths), JointNade(known, widths)

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The steps of all parts, one after the other."""
        confidence: list[float] = []
        for piece in parts:
            assert isinstance(piece.confidence, list)
            confidence += piece.confidence
        return Prediction([step for piece in parts for step in piece.value], confidence)
