"""One tag a step, chosen together: the module behind `crf`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seqkit.fields import Tags
from seqkit.fields.labels import UNSEEN
from seqkit.heads.crf_algorithms import Chain, ForwardBackward, best_paths, marginals, negative_log_likelihood, sums
from seqkit.heads.tagging import check_aligned, spans_said
from seqkit.interfaces import Batch, Encoded, Head
from seqkit.kernels import upload
from seqkit.spans import Scheme, legal
from seqkit.types import JSON, Field, Prediction

PENALTY = -100.0
"""Nats that training takes off a path for each illegal transition: as good as barred, yet every loss stays finite."""


class RandomField(Head):
    """A linear-chain conditional random field (Lafferty et al. 2001; Lample et al. 2016); see `seqkit.heads.crf`.

    `Prediction.value` is the best sequence of tags, `confidence` the probability of each of its tags given the whole
    input (by forward and backward sums). `scores` has `spans`, where the tags mark spans: type, first step, step after
    the last, and the probability that exactly these steps have exactly these tags; and `nbest`, where more than one
    sequence is asked for: each with its probability.

    Attributes:
        transitions: (C, C) score of column after row.
        start: (C,) score of a first tag.
        end: (C,) score of a last tag.
    """

    accepts = (Tags,)

    barred_start: Tensor
    barred_transitions: Tensor
    barred_end: Tensor

    def __init__(self, dim: int, target: Field, *, dropout: float, constrain: bool, nbest: int) -> None:
        super().__init__()
        self.target: Any = target
        self.scheme: Scheme | None = getattr(target, "scheme", None)
        self.nbest = nbest
        self.constrain = constrain
        self.dropout = nn.Dropout(dropout)
        classes = target.size
        self.out = nn.Linear(dim, classes)
        self.transitions = nn.Parameter(torch.zeros(classes, classes))
        self.start = nn.Parameter(torch.zeros(classes))
        self.end = nn.Parameter(torch.zeros(classes))
        learned: Scheme | None = getattr(target, "learned", None)
        labels: list[str] = getattr(target, "labels")  # noqa: B009
        # What stands for labels that training has not seen is for scores alone: nothing leads to it.
        unseen = torch.tensor([label.endswith(UNSEEN) for label in labels])
        for name, free in zip(("start", "transitions", "end"), legal(labels, learned or "plain"), strict=True):
            self.register_buffer(f"barred_{name}", ~torch.from_numpy(free) | unseen, persistent=False)

    def emissions(self, steps: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, C)."""
        out: Tensor = self.out(self.dropout(steps))
        return out

    def chain(self, steps: Tensor, lengths: Tensor, y: Tensor | None = None) -> Chain:
        """The scores of a batch. Without true labels `y`, what the scheme forbids is barred altogether.

        With them, it costs `PENALTY`. A true sequence that begins or ends inside of a span (a window of a longer one)
        may: its edge costs nothing, or the model would be taught to avoid what is right.
        """
        free = self.start.double(), self.transitions.double(), self.end.double()
        barred = self.barred_start, self.barred_transitions, self.barred_end
        if y is None:
            start, transitions, end = (s.masked_fill(b, -torch.inf) for s, b in zip(free, barred, strict=True))
        elif not self.constrain:
            start, transitions, end = free
        else:
            start, transitions, end = (s + PENALTY * b for s, b in zip(free, barred, strict=True))
            last = y.gather(1, upload(lengths - 1, y.device)[:, None]).squeeze(1)
            start = torch.where(self.barred_start[y[:, 0]][:, None], free[0], start)
            end = torch.where(self.barred_end[last][:, None], free[2], end)
        return Chain.of(self.emissions(steps), transitions, start, end, lengths)

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the tags of each sequence, summed, in nats; and the number of real steps.

        So the mean is nats a step, comparable with `tag`'s, and a long sequence counts for as much as its steps.

        Raises:
            ValueError: there is not one tag for each encoded step.
        """
        assert batch.y is not None
        check_aligned(encoded, batch)
        with torch.autocast(encoded.steps.device.type, enabled=False):
            chain = self.chain(encoded.steps.to(self.out.weight.dtype), encoded.lengths, batch.y)
            total = negative_log_likelihood(chain, batch.y).sum()
        return total.float(), encoded.lengths.sum()

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence. Illegal sequences are barred altogether."""
        with torch.autocast(encoded.steps.device.type, enabled=False):
            chain = self.chain(encoded.steps.to(self.out.weight.dtype), encoded.lengths)
        found = sums(chain)
        paths, scores = best_paths(chain, self.nbest)
        best = paths[:, 0].t()
        sure = marginals(chain, found).gather(2, best[..., None]).squeeze(-1).clamp(max=1.0).t().tolist()
        shares = (scores - found.total[:, None]).tolist()
        along = _Along(chain, found, best) if self.scheme else None
        every = paths.cpu().numpy()
        predictions = []
        for row, length in enumerate(encoded.lengths.tolist()):
            tags = self.target.decode(every[row, 0, :length])
            more: dict[str, JSON] = {}
            if along is not None and self.scheme is not None:
                more |= spans_said(tags, self.scheme, partial(along.share, row))
            if self.nbest > 1:
                more["nbest"] = [
                    {"value": self.target.decode(path[:length]), "confidence": min(1.0, math.exp(share))}
                    for path, share in zip(every[row], shares[row], strict=True)
                    if share > -math.inf
                ]
            predictions.append(Prediction(tags, sure[row][:length], more or None))
        return predictions

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The windows' tags one after another. A span that goes on in the next window is one span again."""
        tags = [tag for part in parts for tag in part.value]
        confidence = [each for part in parts for each in part.confidence or ()]  # type: ignore[union-attr]
        if self.scheme is None:
            return Prediction(tags, confidence)
        pieces: list[tuple[int, float]] = []
        offset = 0
        for part in parts:
            pieces += [(offset + each["start"], each["confidence"]) for each in part.scores["spans"]]
            offset += len(part.value)

        def joined(first: int, after: int) -> float:
            return math.prod(share for start, share in pieces if first <= start < after)

        return Prediction(tags, confidence, spans_said(tags, self.scheme, joined))


class _Along:
    """What there is to sum along the best paths, on the CPU, so that any stretch of one has its probability at once."""

    def __init__(self, chain: Chain, found: ForwardBackward, best: Tensor) -> None:
        assert found.after is not None
        before, after, said = (
            part.gather(2, best[..., None]).squeeze(-1) for part in (found.before, found.after, chain.emissions)
        )
        moved = chain.transitions[best[:-1], best[1:]] + said[1:]
        climbed = torch.cat([torch.zeros_like(said[:1]), moved.masked_fill(~chain.mask[1:], 0.0).cumsum(0)])
        # log P(steps a to b) = before[a] + (climbed[b] - climbed[a]) + after[b] - said[b] - log Z
        self._opens = (before - climbed - found.total).t().cpu().numpy()
        self._closes = (climbed + after - said).t().cpu().numpy()

    def share(self, row: int, first: int, after: int) -> float:
        """The probability of the best path's states from step `first` up to, not including, `after`."""
        return math.exp(self._opens[row, first] + self._closes[row, after - 1])
