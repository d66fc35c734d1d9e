"""An input layer, an encoder and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import Batch, Count, Encoded, Encoder, Field, Head, Label, Prediction, Share, State, mask_of
from seqkit.heads import Pool, serves


class Looked(nn.Module):
    """An input layer: (B, T) numbers and (B,) lengths to (B, T, dim) steps and (B,) lengths."""

    def __init__(self, size: int, dim: int, drop: float) -> None:
        super().__init__()
        self.vectors = nn.Embedding(size, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return self.drop(self.vectors(x)), lengths


class GoldenGRU(Encoder):
    """PyTorch's GRU as an encoder.

    Args:
        hidden: width of the state.
        dropout: share of the outputs dropped.
    """

    def __init__(self, dim: int, /, *, hidden: Count = 32, dropout: Share = 0.0) -> None:
        super().__init__()
        self.out_dim, self.causal = hidden, True
        self.gru = nn.GRU(dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        steps, _ = self.gru(x, None if state is None else state[0][None].contiguous())
        steps = steps * mask_of(lengths, x.shape[1], x.device)[..., None]
        ends = steps[torch.arange(len(lengths)), lengths - 1]
        return Encoded(self.dropout(steps), lengths, self.dropout(ends), lambda: (ends,))


@serves(Label, loss_name="nats")
def pick(
    dim: int,
    target: Field,
    layer: nn.Module | None = None,
    /,
    *,
    pool: Pool = "last",
    temperature: float = 1.0,
) -> Head:
    """One label, by a factory that is a function.

    Args:
        pool: last, or mean.
        temperature: what scores are divided by.
    """
    return Pick(dim, target, pool, temperature)


class Pick(Head):
    """A linear map of one vector to the labels."""

    accepts = (Label,)
    loss_name = "nats"

    def __init__(self, dim: int, target: Field, pool: str, temperature: float) -> None:
        super().__init__()
        self.target: Any = target
        self.pool, self.temperature = pool, temperature
        self.out = nn.Linear(dim, target.size)

    def scores(self, encoded: Encoded) -> Tensor:
        """(B, C)."""
        seen = encoded.last
        if self.pool == "mean":
            seen = (encoded.steps * encoded.mask[..., None]).sum(dim=1) / encoded.mask.sum(dim=1, keepdim=True)
        found: Tensor = self.out(seen) / self.temperature
        return found

    def loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.y is not None
        return functional.cross_entropy(self.scores(encoded), batch.y, reduction="sum"), torch.tensor(batch.size)

    def predict(self, encoded: Encoded, batch: Batch) -> list[Prediction]:
        return [self.say(row) for row in self.scores(encoded).softmax(dim=-1).tolist()]

    def stitch(self, parts: Sequence[Prediction]) -> Prediction:
        rows = [list(part.scores.values()) for part in parts]
        return self.say([sum(shares) / len(rows) for shares in zip(*rows, strict=True)])

    def say(self, shares: list[float]) -> Prediction:
        best = max(range(len(shares)), key=shares.__getitem__)
        return Prediction(self.target.labels[best], shares[best], dict(zip(self.target.labels, shares, strict=True)))
