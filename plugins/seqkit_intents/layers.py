"""One pass through the encoder for two heads: the label of a sentence and the tags of its words."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Encoded, Field, Head, Prediction, real_steps
from seqkit.heads import Pool, Pooling, mean_log_probs
from seqkit.nn import CRF, Dropout
from seqkit.spans import spans_of
from seqkit_intents.fields import INTENT, SLOTS, IntentAndSlots

_LEAST = 1e-12
"""The least probability of a tag whose logarithm is taken."""


class IntentAndSlotsHead(Head):
    """A label and tags from the same steps; see `seqkit_intents.intent_slots_head` for the options.

    The loss is the sum of both in nats, and its terms are sentences. `Prediction.value` is `{"intent", "slots"}`,
    `confidence` the probability of the intent, and `scores` has `intents` (the probability of each) and `spans` (the
    slots with their first word and the one after their last).
    """

    accepts = (IntentAndSlots,)
    output_axes = MappingProxyType(
        {"intent_probabilities": ("batch", "intents"), "slot_scores": ("batch", "steps", "tags")}
    )

    def __init__(
        self,
        dim: int,
        target: Field,
        layer: nn.Module,
        *,
        pool: Pool,
        dropout: float,
        intent_weight: float,
        condition: bool,
    ) -> None:
        super().__init__()
        assert isinstance(target, IntentAndSlots)
        self.target = target
        self.intent_weight = intent_weight
        self.dropout = Dropout(dropout)
        self.pool = Pooling(pool, dim)
        self.intents = nn.Linear(dim, target.intents.size)
        self.slots = nn.Linear(dim, target.slots.size)
        self.crf = CRF(target.slots.size, batch_first=True)
        self.gate = nn.Linear(target.intents.size, target.slots.size, bias=False) if condition else None
        self.members: nn.ModuleList | None = None
        self.widths: list[int] = []

    def logits(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """(B, C) scores of the intents and (B, T, S) of the tags, in single precision."""
        if self.members is not None:
            return self._mean_logits(encoded)
        intents: Tensor = self.intents(self.dropout(self.pool(encoded))).float()
        slots: Tensor = self.slots(self.dropout(encoded.steps)).float()
        if self.gate is not None:
            slots = slots + self.gate(intents.softmax(dim=-1))[:, None]
        return intents, slots

    def _mean_logits(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """What the members of an ensemble say together."""
        heads: list[Any] = list(self.members or ())
        pairs = [head.logits(part) for head, part in zip(heads, encoded.split(self.widths), strict=True)]
        intents, slots = zip(*pairs, strict=True)
        return mean_log_probs([scores.log_softmax(dim=-1) for scores in intents]), torch.stack(slots).mean(dim=0)

    @torch.no_grad()
    def join_members(self, members: Sequence[IntentAndSlotsHead], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities of an intent, and of their scores of a path of tags.

        So the probability of a path is in proportion to the geometric mean of theirs, as with `crf`.
        """
        del self.pool, self.intents, self.slots, self.gate
        self.members, self.widths = nn.ModuleList(members), list(widths)
        for name, parameter in self.crf.named_parameters():
            parameter.copy_(torch.stack([member.crf.get_parameter(name) for member in members]).mean(dim=0))

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over sentences in nats, and how many they are."""
        return self._loss(*self.logits(encoded), encoded, batch)

    def _loss(self, intents: Tensor, slots: Tensor, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        label = functional.cross_entropy(intents, batch.y[:, 0, 1].long(), reduction="sum")
        log_likelihood = self.crf(slots, batch.y[..., 0].long(), lengths=encoded.lengths)
        return self.intent_weight * label - log_likelihood, torch.tensor(batch.size)

    def comparison(self) -> str:
        return "the probabilities of intents and of the tags of each word"

    def loss_to_compare(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """What `loss` gives, (B, C) log-probabilities of the intents, and (N, S) of the tags of each word.

        Those of tags are the marginals of the chain, whose graph takes some times as long as the loss.
        """
        intents, slots = self.logits(encoded)
        marginals = real_steps(self.crf.marginals(slots, lengths=encoded.lengths), encoded.lengths)
        tags = marginals.clamp(min=_LEAST).log()
        return (*self._loss(intents, slots, encoded, batch), (intents.log_softmax(dim=-1), tags))

    def divergence(self, p: tuple[Tensor, ...], q: tuple[Tensor, ...], temperature: float = 1.0) -> Tensor:
        """() that of the intents, times `intent_weight`, and that of the tags."""
        of_intents = super().divergence(p[:1], q[:1], temperature)
        return self.intent_weight * of_intents + super().divergence(p[1:], q[1:], temperature)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        intents, slots = self.logits(encoded)
        return {"intent_probabilities": intents.softmax(dim=-1), "slot_scores": slots}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sentence."""
        intents, slots = self.logits(encoded)
        paths = self.crf.decode(slots, lengths=encoded.lengths)
        return [self._prediction(row, path) for row, path in zip(intents.softmax(dim=-1).tolist(), paths, strict=True)]

    def _prediction(self, probabilities: list[float], path: list[int]) -> Prediction:
        import numpy as np

        labels = self.target.intents.labels
        best = max(range(len(labels)), key=probabilities.__getitem__)
        tags: list[str] = self.target.slots.decode(np.array(path))
        spans: list[dict[str, Any]] = [
            {"type": kind, "start": start, "end": end} for kind, start, end in spans_of(tags, "iob2")
        ]
        scores = {"intents": dict(zip(labels, probabilities, strict=True)), "spans": spans}
        return Prediction({INTENT: labels[best], SLOTS: tags}, probabilities[best], scores)
