"""The head that ranks what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Encoded, Field, Head, Prediction, State, UsageError, read_back, real_steps, upload
from seqkit.heads import mean_log_probs
from seqkit.nn import Dropout
from seqkit_sessions.catalogue import UNKNOWN
from seqkit_sessions.fields import NextItems, fitted

_NEVER = -1e9
"""A score whose probability is 0 in single precision; -inf would make differences of exported scores NaN."""

_STEPS = 128
"""So many steps are compared with all items at once: the items' vectors are read once for them, not once a sequence,
and their scores take 20 MB for 40,000 items, not gigabytes."""


class Rank(Head):
    """A softmax over all items at each step; see `seqkit_sessions.rank` for the options.

    `Prediction.value` is the likeliest next item after each step, `confidence` its probability, `scores["top"]` the
    likeliest items after each step, best first. The loss is the negative log-likelihood in nats for each step whose
    next item is known.
    """

    accepts = (NextItems,)
    needs_causal = True
    per_step = True
    gives_log_probs = True
    output_axes = MappingProxyType({"log_probs": ("batch", "steps", "items")})

    draw: Tensor

    def __init__(
        self,
        dim: int,
        target: Field,
        layer: nn.Module,
        *,
        top: int,
        leave_out_seen: bool,
        negatives: int,
        power: float,
        dropout: float,
        scale: float | None,
    ) -> None:
        super().__init__()
        weight: Any = getattr(layer, "weight", None)
        if not isinstance(target, NextItems) or weight is None or len(weight) != target.size:
            raise UsageError("rank: the input must be items, because the next one is ranked by their vectors")
        self.catalogue = fitted(target.catalogue)
        self.top = min(top, len(self.catalogue.items))
        self.leave_out_seen, self.negatives = leave_out_seen, negatives
        self.dropout, self.scale = Dropout(dropout), scale
        self._layer = (layer,)  # a tuple hides it from torch, which would register its weights here too
        self.narrow = nn.Linear(dim, weight.shape[1])
        self.bias = nn.Parameter(torch.zeros(target.size)) if scale is None else None
        self.members: nn.ModuleList | None = None
        self.widths: list[int] = []
        self.vector_widths: list[int] = []
        counts = torch.tensor([0, *self.catalogue.counts], dtype=torch.float64)
        share = torch.where(counts > 0, counts.clamp(min=1) ** power, 0.0)
        draw = (share / share.sum()).float()
        self.register_buffer("draw", draw, persistent=False)
        self._shares = (draw,)  # on the CPU, where numbers are drawn: the same ones whatever the device

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The sum over the steps whose next item is known, in nats, and how many they are."""
        steps, y, count = self._known_steps(encoded, batch)
        if self.training and self.negatives:
            return self._sampled_loss(steps, y), count
        if self.training:
            return functional.cross_entropy(self.scores(steps), y, reduction="sum"), count
        parts = zip(torch.split(steps, _STEPS), torch.split(y, _STEPS), strict=True)
        nats = [functional.cross_entropy(self.scores(part), true, reduction="sum") for part, true in parts]
        return torch.stack(nats).sum(), count

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each step whose next item is known, all items, also where the loss is of some `negatives` alone.

        They are in memory at once, N steps times all items.
        """
        steps, y, count = self._known_steps(encoded, batch)
        log_probs = self.scores(steps).log_softmax(dim=-1)
        if self.training and self.negatives:
            return self._sampled_loss(steps, y), count, log_probs
        return functional.nll_loss(log_probs, y, reduction="sum"), count, log_probs

    def _known_steps(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(N, dim) the steps whose next item is known, as wide as the items' vectors; (N,) that item; and N."""
        assert batch.y is not None
        y = real_steps(batch.y, encoded.lengths).long()
        steps = self._vectors(real_steps(self.dropout(encoded.steps), encoded.lengths))
        # Looked at where the targets came from: a GPU would have to be waited for.
        known = real_steps(batch.y_on_cpu, encoded.lengths) != UNKNOWN
        if not bool(known.all()):
            rows = upload(known.nonzero().squeeze(1), steps.device)
            steps, y = steps.index_select(0, rows), y.index_select(0, rows)
        return steps, y, known.sum()

    def _sampled_loss(self, steps: Tensor, y: Tensor) -> Tensor:
        """() with items that are drawn in place of all."""
        sampled = torch.multinomial(self._shares[0], self.negatives, replacement=True)
        return self.sampled_nats(steps, y, upload(sampled, y.device)).sum()

    def scores(self, steps: Tensor) -> Tensor:
        """(..., dim) -> (..., size) in single precision; the number of unknown items is never predicted."""
        if self.members is not None:
            parts = torch.split(steps, self.vector_widths, dim=-1)
            return mean_log_probs([head.scores(part).log_softmax(dim=-1) for head, part in self._pairs(parts)])
        scores = functional.linear(steps, self._weight(), self.bias).float()
        is_unknown = torch.arange(scores.shape[-1], device=scores.device) == UNKNOWN
        return scores.masked_fill(is_unknown, _NEVER)

    def sampled_nats(self, steps: Tensor, y: Tensor, sampled: Tensor) -> Tensor:
        """(N,) nats of the true items, with the sum over all others estimated from the sampled ones.

        Each sampled item stands for as many as it is drawn too rarely: exp(score) / (K times its share) is, on average,
        the sum over all items but the true one.

        Args:
            steps: (N, dim).
            y: (N,) the true items.
            sampled: (K,) the others, drawn by `draw` with replacement.
        """
        weight = self._weight()
        expected = (self.draw * len(sampled)).clamp(min=1e-20).log()
        bias = None if self.bias is None else self.bias[sampled]
        true = (steps * weight[y]).sum(-1)
        if self.bias is not None:
            true = true + self.bias[y]
        others = functional.linear(steps, weight[sampled], bias) - expected[sampled]
        others = others.masked_fill(sampled[None, :] == y[:, None], -torch.inf)  # the true item is no wrong one
        return torch.logsumexp(torch.cat([true[:, None], others], dim=1).float(), dim=1) - true.float()

    def join_members(self, members: Sequence[Rank], widths: Sequence[int]) -> None:
        """The mean of the members' probabilities of each item."""
        del self.narrow, self.bias
        self.members, self.widths = nn.ModuleList(members), list(widths)
        self.vector_widths = [member.narrow.out_features for member in members]

    def _pairs(self, parts: Sequence[Tensor]) -> Iterator[tuple[Rank, Tensor]]:
        """The members of an ensemble, each with its part of a tensor."""
        heads: list[Any] = list(self.members or ())
        return zip(heads, parts, strict=True)

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"log_probs": self.scores(self._vectors(encoded.steps)).log_softmax(dim=-1)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence."""
        return self._predict(encoded, [row[:length] for row, length in zip(batch.x, encoded.lengths, strict=True)])

    @torch.no_grad()
    def advance(self, encoded: Encoded, batch: Batch, kept: Sequence[State]) -> tuple[list[Prediction], list[State]]:
        """For the new steps; the items so far are kept if they are left out."""
        rows = [row[:length] for row, length in zip(batch.x, encoded.lengths, strict=True)]
        items = [torch.cat([*past, row]) for past, row in zip(kept, rows, strict=True)]
        return self._predict(encoded, items), [(row.clone(),) if self.leave_out_seen else () for row in items]

    def _predict(self, encoded: Encoded, items: Sequence[Tensor]) -> list[Prediction]:
        """One a sequence, whose last steps are those of `encoded`.

        Args:
            encoded: the steps.
            items: of each sequence, (n,), all of its items up to its last step.
        """
        steps = torch.split(self._vectors(real_steps(encoded.steps, encoded.lengths)), _STEPS)
        seen: Iterable[Tensor | None] = [None] * len(steps)
        if self.leave_out_seen:
            seen = _seen_so_far(items, encoded.lengths)
        ranked = [self._rank(*part) for part in zip(steps, seen, strict=True)]
        best, confidence = read_back(*(torch.cat(column) for column in zip(*ranked, strict=True)))
        lengths = encoded.lengths.tolist()
        rows = zip(torch.split(best, lengths), torch.split(confidence, lengths), strict=True)
        return [self._prediction(*row) for row in rows]

    def _rank(self, steps: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """The likeliest items (N, K), best first, and the probability of the first (N,).

        Args:
            steps: (N, dim).
            seen: (N, L) what is not to be ranked at each step; None: everything is, but unknown items.
        """
        probabilities = self.scores(steps).softmax(dim=-1)
        ranked = probabilities.clone()
        if seen is not None:
            ranked.scatter_(1, seen, -1.0)
        ranked[:, UNKNOWN] = -2.0
        best = ranked.topk(self.top, dim=-1).indices
        return best, probabilities.gather(1, best[:, :1]).squeeze(1)

    def _prediction(self, best: Tensor, confidence: Tensor) -> Prediction:
        """(T, K) numbers of the likeliest items, best first, and (T,) the probability of the first; on the CPU."""
        top = [self.catalogue.decode(row) for row in best.tolist()]
        return Prediction([row[0] for row in top], confidence.tolist(), {"top": top})

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The steps of all parts, one after the other."""
        confidence: list[float] = []
        for piece in parts:
            assert isinstance(piece.confidence, list)
            confidence += piece.confidence
        value = [item for piece in parts for item in piece.value]
        return Prediction(value, confidence, {"top": [row for piece in parts for row in piece.scores["top"]]})

    def _vectors(self, steps: Tensor) -> Tensor:
        """(..., dim) as wide as the items' vectors, and with `scale` as long as it says.

        Of an ensemble, those of the members side by side.
        """
        if self.members is not None:
            parts = torch.split(steps, self.widths, dim=-1)
            return torch.cat([head._vectors(part) for head, part in self._pairs(parts)], dim=-1)
        narrow: Tensor = self.narrow(steps)
        return narrow if self.scale is None else functional.normalize(narrow, dim=-1) * self.scale

    def _weight(self) -> Tensor:
        """(size, width) the items' vectors; with `scale`, those of known items have the length 1."""
        layer: Any = self._layer[0]
        weight: Tensor = layer.weight
        return weight if self.scale is None else functional.normalize(weight, dim=-1)


def _seen_so_far(items: Sequence[Tensor], lengths: Tensor) -> Iterator[Tensor]:
    """For each `_STEPS` steps, of all sequences one after the other, (N, L) the items up to each of them.

    Where there are fewer than L, UNKNOWN stands in their place.

    Args:
        items: of each sequence, (n,), all of its items up to its last step.
        lengths: (B,) on the CPU, how many of these are steps, the last ones.
    """
    padded = nn.utils.rnn.pad_sequence(list(items), batch_first=True, padding_value=UNKNOWN).long()
    counts = [
        torch.arange(len(row) - length, len(row)) + 1 for row, length in zip(items, lengths.tolist(), strict=True)
    ]
    sequences = torch.arange(len(items)).repeat_interleave(lengths)
    positions = torch.arange(padded.shape[1], device=padded.device)
    parts = zip(torch.split(sequences, _STEPS), torch.split(torch.cat(counts), _STEPS), strict=True)
    for sequence, count in parts:
        is_later = positions >= upload(count, padded.device)[:, None]
        yield padded.index_select(0, upload(sequence, padded.device)).masked_fill(is_later, UNKNOWN)
