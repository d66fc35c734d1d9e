"""One tag a step, all chosen together: the module behind `crf`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seqkit.fields import Tags
from seqkit.fields.labels import UNSEEN
from seqkit.heads.crf_algorithms import (
    Chain,
    ForwardBackward,
    best_paths,
    forward_backward,
    log_marginals,
    marginals,
    negative_log_likelihood,
    recorded_best_path,
)
from seqkit.heads.joining import mean_map, scale_map
from seqkit.heads.tagging import check_aligned, span_scores
from seqkit.interfaces import Batch, Encoded, FiniteCheck, Head
from seqkit.kernels.ragged import real_steps
from seqkit.layers.dropout import Dropout
from seqkit.spans import Scheme, legal
from seqkit.types import JSON, Field, Prediction
from seqkit.uploads import from_lengths, last_steps, read_back

PENALTY = -100.0
"""Nats that an illegal transition adds to a path's score in training: as good as forbidden, but losses stay finite."""


class LinearChainCRF(Head):
    """A linear-chain conditional random field (Lafferty et al. 2001; Lample et al. 2016); see `seqkit.heads.crf`.

    `Prediction.value` is the best sequence of tags, `confidence` the probability of each of its tags given the whole
    input (by the forward-backward algorithm). `scores` has `spans`, if the tags mark spans: type, first step, step
    after the last, and the probability that exactly these steps have exactly these tags; and `nbest`, if more than one
    sequence is asked for, each with its probability.

    Attributes:
        transitions: (C, C) score of column after row.
        start: (C,) score of a first tag.
        end: (C,) score of a last tag.
    """

    accepts = (Tags,)
    gives_log_probs = True
    output_axes = MappingProxyType({"emissions": ("batch", "steps", "labels"), "tags": ("batch", "steps")})

    forbidden_start: Tensor
    forbidden_transitions: Tensor
    forbidden_end: Tensor
    start_penalties: Tensor
    transitions_penalties: Tensor
    end_penalties: Tensor

    def __init__(self, dim: int, target: Field, *, dropout: float, constrain: bool, nbest: int) -> None:
        super().__init__()
        self.target: Any = target
        self.scheme: Scheme | None = getattr(target, "scheme", None)
        self.nbest = nbest
        self.constrain = constrain
        self.dropout = Dropout(dropout)
        classes = target.size
        self.out = nn.Linear(dim, classes)
        self.transitions = nn.Parameter(torch.zeros(classes, classes))
        self.start = nn.Parameter(torch.zeros(classes))
        self.end = nn.Parameter(torch.zeros(classes))
        learned: Scheme | None = getattr(target, "learned", None)
        labels: list[str] = getattr(target, "labels")  # noqa: B009
        # The class for labels that training has not seen exists for scores alone: it is never predicted.
        unseen = torch.tensor([label.endswith(UNSEEN) for label in labels])
        for name, allowed in zip(("start", "transitions", "end"), legal(labels, learned or "plain"), strict=True):
            forbidden = ~torch.from_numpy(allowed) | unseen
            self.register_buffer(f"forbidden_{name}", forbidden, persistent=False)
            self.register_buffer(f"{name}_penalties", _penalties(forbidden), persistent=False)

    def emissions(self, steps: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, C)."""
        steps = self.dropout(steps)
        if steps.is_cuda and steps.dim() == 3 and not steps.is_contiguous():  # time first: no copy, one operation
            by_time: Tensor = self.out(steps.transpose(0, 1))
            return by_time.transpose(0, 1)
        out: Tensor = self.out(steps)
        return out

    def _emissions_of(self, encoded: Encoded) -> Tensor:
        """(B, T, C); where no gradients are computed, in double precision and once for loss and predictions."""
        if self.training or torch.is_grad_enabled():
            return self.emissions(encoded.steps.to(self.out.weight.dtype))
        if self not in encoded.scored:
            encoded.scored[self] = self.emissions(encoded.steps.to(self.out.weight.dtype)).double()
        return encoded.scored[self]

    def chain(self, steps: Tensor, lengths: Tensor, y: Tensor | None = None) -> Chain:
        """The scores of a batch.

        Without true labels `y`, the scores of what the scheme forbids are -inf. With them, `PENALTY` is added. A true
        sequence may begin or end inside a span (as a window of a longer one does): then there is no penalty at that
        edge, or the model would learn to avoid what is right.
        """
        return self._chain(self.emissions(steps), lengths, y)

    def _chain(self, emissions: Tensor, lengths: Tensor, y: Tensor | None) -> Chain:
        start: Tensor = self.start
        transitions: Tensor = self.transitions
        end: Tensor = self.end
        if y is None:
            scores = (s.double() for s in (start, transitions, end))
            forbidden = self.forbidden_start, self.forbidden_transitions, self.forbidden_end
            start, transitions, end = (s.masked_fill(f, -torch.inf) for s, f in zip(scores, forbidden, strict=True))
        elif self.constrain:
            last = y.gather(1, from_lengths(last_steps, lengths, y.shape[1], y.device)[:, None]).squeeze(1)
            # What is added has no gradient, so the sums' is that of the scores.
            start = start + self.start_penalties.index_select(0, y[:, 0])
            transitions = transitions + self.transitions_penalties
            end = end + self.end_penalties.index_select(0, last)
        return Chain.of(emissions, transitions, start, end, lengths)

    @torch.no_grad()
    def transition_scores(self) -> Tensor:
        """(C + 1, C + 1) scores on the CPU: of a tag (column) after a tag (row), NaN where that is forbidden.

        The last row holds those of a first tag, the last column those of a last one.
        """
        classes = len(self.start)
        scores = torch.full((classes + 1, classes + 1), torch.nan)
        scores[:classes, :classes] = self.transitions.float().cpu()
        scores[classes, :classes], scores[:classes, classes] = self.start.float().cpu(), self.end.float().cpu()
        if self.constrain:
            scores[:classes, :classes][self.forbidden_transitions.cpu()] = torch.nan
            scores[classes, :classes][self.forbidden_start.cpu()] = torch.nan
            scores[:classes, classes][self.forbidden_end.cpu()] = torch.nan
        return scores

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood of the tags of each sequence, summed, in nats; and the number of real steps.

        So the mean is in nats a step, comparable with that of `tag`, and a sequence weighs as much as it has steps.

        Raises:
            ValueError: there is not one tag for each encoded step.
        """
        assert batch.y is not None
        check_aligned(encoded, batch)
        with torch.autocast(encoded.steps.device.type, enabled=False):
            chain = self._chain(self._emissions_of(encoded), encoded.lengths, batch.y)
            total = negative_log_likelihood(chain, batch.y).sum()
        return total.float(), encoded.lengths.sum()

    def loss_with_log_probs(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of each real step the marginal probabilities of the tags.

        What the scheme forbids has next to no probability. The marginals have a graph over all steps, which takes some
        times as long as the loss alone.
        """
        assert batch.y is not None
        check_aligned(encoded, batch)
        with torch.autocast(encoded.steps.device.type, enabled=False):
            emissions = self.emissions(encoded.steps.to(self.out.weight.dtype))
            chain = self._chain(emissions, encoded.lengths, batch.y)
            total = negative_log_likelihood(chain, batch.y).sum()
            start: Tensor = self.start
            transitions: Tensor = self.transitions
            end: Tensor = self.end
            if self.constrain:
                start = start + PENALTY * self.forbidden_start
                transitions = transitions + PENALTY * self.forbidden_transitions
                end = end + PENALTY * self.forbidden_end
            log_probs = log_marginals(Chain.of(emissions, transitions, start, end, encoded.lengths)).transpose(0, 1)
        return total.float(), encoded.lengths.sum(), real_steps(log_probs, encoded.lengths).float()

    def outputs(self, encoded: Encoded) -> dict[str, Tensor]:
        """The scores of the tags at each step, and the numbers of the best sequence of tags."""
        chain = self.chain(encoded.steps, encoded.lengths)
        return {"emissions": self.emissions(encoded.steps), "tags": recorded_best_path(chain)}

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One a sequence, without illegal transitions."""
        with torch.autocast(encoded.steps.device.type, enabled=False):
            chain = self._chain(self._emissions_of(encoded), encoded.lengths, None)
        check = FiniteCheck(chain.emissions.transpose(0, 1), batch, encoded.lengths)
        sums = forward_backward(chain)
        paths, scores = best_paths(chain, self.nbest)
        best = paths[:, 0].t()
        probabilities = marginals(chain, sums).gather(2, best[..., None]).squeeze(-1).clamp(max=1.0).t()
        along = _sums_along(chain, sums, best) if self.scheme else ()
        outputs = paths, probabilities, scores - sums.log_z[:, None], *along
        states, probabilities, path_log_probs, *prefix_sums = read_back(*outputs)
        check.finish()
        span_probabilities = _SpanProbabilities(*(tensor.numpy() for tensor in prefix_sums)) if along else None
        confidence, log_probs, labels = probabilities.tolist(), path_log_probs.tolist(), states.numpy()
        predictions = []
        for row, length in enumerate(encoded.lengths.tolist()):
            tags = self.target.decode(labels[row, 0, :length])
            details: dict[str, JSON] = {}
            if span_probabilities is not None and self.scheme is not None:
                details |= span_scores(tags, self.scheme, partial(span_probabilities.probability, row))
            if self.nbest > 1:
                details["nbest"] = [
                    {"value": self.target.decode(path[:length]), "confidence": min(math.exp(log_prob), 1.0)}
                    for path, log_prob in zip(labels[row], log_probs[row], strict=True)
                    if log_prob > -math.inf
                ]
            predictions.append(Prediction(tags, confidence[row][:length], details or None))
        return predictions

    @torch.no_grad()
    def scale_scores(self, factor: float) -> None:
        """In the emissions and the transitions, so that the scores of all paths are scaled; the best path stays."""
        scale_map(self.out, factor)
        for scores in (self.transitions, self.start, self.end):
            scores.mul_(factor)

    @torch.no_grad()
    def join_members(self, members: Sequence[LinearChainCRF], widths: Sequence[int]) -> None:
        """The mean of the members' scores of a path, its emissions and its transitions.

        So the probability of a path is in proportion to the geometric mean of theirs (a logarithmic opinion pool;
        Hinton 2002, doi:10.1162/089976602760128018), and the best path, the marginals and the probabilities of spans
        are exact. The arithmetic mean of theirs is of no chain, and its best path cannot be computed.
        """
        self.out = mean_map([member.out for member in members])
        for name in ("transitions", "start", "end"):
            mean = torch.stack([getattr(member, name) for member in members]).mean(dim=0)
            getattr(self, name).data = mean

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The windows' tags one after another. A span that was cut by a window's end is one span again."""
        tags = [tag for part in parts for tag in part.value]
        confidence = [probability for part in parts for probability in part.confidence or ()]  # type: ignore[union-attr]
        if self.scheme is None:
            return Prediction(tags, confidence)
        pieces: list[tuple[int, float]] = []
        offset = 0
        for part in parts:
            pieces += [(offset + span["start"], span["confidence"]) for span in part.scores["spans"]]
            offset += len(part.value)

        def probability(start: int, end: int) -> float:
            return math.prod(p for position, p in pieces if start <= position < end)

        return Prediction(tags, confidence, span_scores(tags, self.scheme, probability))


def _penalties(forbidden: Tensor) -> Tensor:
    """(C, C) double: what is added to each transition; at an edge, to each tag if the true one is that of the row."""
    if forbidden.dim() == 1:  # where the true tag is forbidden itself, there is no penalty
        forbidden = forbidden & ~forbidden[:, None]
    return PENALTY * forbidden.double()


def _sums_along(chain: Chain, sums: ForwardBackward, best: Tensor) -> tuple[Tensor, Tensor]:
    """What `_SpanProbabilities` is made of: (B, T) twice.

    log P(steps a to b) = alpha[a] + (path[b] - path[a]) + beta[b] - emissions[b] - log Z
    """
    assert sums.beta is not None
    alpha, beta, emissions = (
        scores.gather(2, best[..., None]).squeeze(-1) for scores in (sums.alpha, sums.beta, chain.emissions)
    )
    steps = chain.transitions[best[:-1], best[1:]] + emissions[1:]
    path = torch.cat([torch.zeros_like(emissions[:1]), steps.masked_fill(~chain.mask[1:], 0.0).cumsum(0)])
    return (alpha - path - sums.log_z).t(), (path + beta - emissions).t()


@dataclass(frozen=True, slots=True)
class _SpanProbabilities:
    """Prefix sums along the best paths, on the CPU, from which the probability of any span of one is read at once."""

    _first: np.ndarray
    _last: np.ndarray

    def probability(self, row: int, start: int, end: int) -> float:
        """That the sequence has the best path's states at the steps from `start` up to, not including, `end`."""
        return math.exp(self._first[row, start] + self._last[row, end - 1])
