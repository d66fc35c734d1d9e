"""Labels that have an order: one score for each input, and thresholds between each label and the next."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

import torch
from seqkit import Batch, Encoded, Field, Head, Label, Prediction, Share, UsageError
from seqkit.heads import Pool, Pooling
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Ordinal"]


class Ordinal(Head):
    """The cumulative logit model, also called that of proportional odds (P. McCullagh, Regression models for ordinal
    data, Journal of the Royal Statistical Society B 42 (1980) 109, doi:10.1111/j.2517-6161.1980.tb01109.x).

    P(label <= k) = sigmoid(t_k - f(x)), with f a linear map of the pooled steps and thresholds t_1 < t_2 < ... that all
    inputs share. So an error of two labels costs more than an error of one, and there are fewer weights than with one
    score for each label. Loss: the negative log-likelihood in nats for each example.

    `Prediction.value` is the label, `confidence` its probability, `scores` `{label: probability}`, lowest label first.

    Args:
        order: the labels, lowest first; empty: sorted (numbers by value, else alphabetically).
        pool: how steps become one vector: the last one, their mean, their maximum, or attention.
        dropout: share of the pooled values dropped.
        say: which label is predicted. likeliest, the most probable one; median, the one with the smallest expected error.
    """

    accepts = (Label,)

    ranks: Tensor

    def __init__(
        self,
        dim: int,
        target: Field,
        layer: nn.Module | None = None,
        /,
        *,
        order: tuple[str, ...] = (),
        pool: Pool = "last",
        dropout: Share = 0.0,
        say: Literal["likeliest", "median"] = "likeliest",
    ) -> None:
        super().__init__()
        labels: list[str] = list(getattr(target, "labels", []))
        self.labels = list(order) or labels
        if sorted(self.labels) != sorted(labels):
            raise UsageError(f"ordinal: order has {', '.join(order)}, but the labels are: {', '.join(labels)}")
        if len(labels) < 2:
            raise UsageError(f"ordinal: an order needs at least two labels, but there is one: {', '.join(labels)}")
        self.say = say
        self.pool = Pooling(pool, dim)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(dim, 1, bias=False)  # the thresholds take the place of a bias
        self.lowest = nn.Parameter(torch.tensor(-0.5 * (len(labels) - 2)))
        self.gaps = nn.Parameter(torch.full((len(labels) - 2,), 0.5413))  # softplus of it is 1
        # The rank of each of the field's numbers in the order.
        ranks = torch.tensor([self.labels.index(label) for label in labels])
        self.register_buffer("ranks", ranks, persistent=False)

    def thresholds(self) -> Tensor:
        """(C - 1,), each greater than the one before."""
        return torch.cat([self.lowest[None], self.lowest + functional.softplus(self.gaps).cumsum(dim=0)])

    def log_shares(self, encoded: Encoded) -> Tensor:
        """(B, C) log-probabilities of the labels, lowest first.

        A label is between two thresholds: its probability is sigmoid(above) - sigmoid(below). It is computed as
        sigmoid(above) sigmoid(-below) (1 - exp(below - above)), which does not subtract nearly equal numbers.
        """
        score = self.score(self.dropout(self.pool(encoded))).float()
        logits = self.thresholds().float() - score  # (B, C - 1)
        upper, lower = functional.logsigmoid(logits), functional.logsigmoid(-logits)
        zero = torch.zeros_like(score)
        gaps = logits[:, 1:] - logits[:, :-1]
        inside = torch.cat([zero, torch.log(-torch.expm1(-gaps)), zero], dim=1)
        return torch.cat([upper, zero], dim=1) + torch.cat([zero, lower], dim=1) + inside

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood in nats, and the number of examples."""
        assert batch.y is not None
        rank = self.ranks[batch.y]
        return -self.log_shares(encoded).gather(1, rank[:, None]).sum(), torch.tensor(batch.size)

    @torch.no_grad()
    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        """One prediction for each input."""
        return [self._prediction(row) for row in self.log_shares(encoded).exp().tolist()]

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the windows' probabilities."""
        columns = zip(*(prediction.scores.values() for prediction in parts), strict=True)
        return self._prediction([fmean(shares) for shares in columns])

    def average(self, parts: Sequence[Prediction]) -> Prediction:
        """The mean of the views' probabilities."""
        return self.stitch(parts)

    def _prediction(self, shares: list[float]) -> Prediction:
        best = shares.index(max(shares))
        if self.say == "median":
            best, below = 0, shares[0]
            while below < 0.5 and best + 1 < len(shares):
                best += 1
                below += shares[best]
        scores: dict[str, Any] = dict(zip(self.labels, shares, strict=True))
        return Prediction(self.labels[best], shares[best], scores)
