"""From many steps to one vector. Padding does not count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit.heads.option_types import Pool
from seqkit.interfaces import Encoded


class Pooling(nn.Module):
    """One vector for each sequence: `last`, `mean`, `max`, or `attention`. Public, for heads of your own.

    Attention weighs step t by softmax(v . tanh(W h_t + b)) over the real steps (Yang et al. 2016, N16-1174).
    """

    def __init__(self, pool: Pool, dim: int) -> None:
        super().__init__()
        self.pool = pool
        self.score: nn.Module | None = None
        if pool == "attention":
            self.score = nn.Sequential(nn.Linear(dim, dim), nn.Tanh(), nn.Linear(dim, 1, bias=False))

    def forward(self, encoded: Encoded) -> Tensor:
        """-> (B, H)."""
        if self.pool == "last":
            return encoded.last
        steps, mask = encoded.steps, encoded.mask[..., None]
        if self.pool == "mean":
            return steps.masked_fill(~mask, 0.0).sum(dim=1) / mask.sum(dim=1)
        if self.pool == "max":
            return steps.masked_fill(~mask, -torch.inf).amax(dim=1)
        weights = torch.softmax(self._scores(encoded), dim=1)
        return (weights[..., None] * steps.masked_fill(~mask, 0.0)).sum(dim=1)

    def running(self, encoded: Encoded) -> Tensor:
        """-> (B, T, H): at each step the vector that `forward` would return if the sequence ended there.

        This needs an encoder that does not read later steps. Attention needs B x T x T numbers for it.
        """
        steps, mask = encoded.steps, encoded.mask[..., None]
        if self.pool == "last":
            return steps
        time = steps.shape[1]
        if self.pool == "mean":
            counts = torch.arange(1, time + 1, device=steps.device)[:, None]
            return steps.masked_fill(~mask, 0.0).cumsum(dim=1) / counts
        if self.pool == "max":
            return steps.cummax(dim=1).values
        is_later = torch.ones(time, time, dtype=torch.bool, device=steps.device).triu(1)
        scores = self._scores(encoded)[:, None, :].masked_fill(is_later, -torch.inf)
        weights = torch.softmax(scores, dim=-1)
        return weights.to(steps.dtype) @ steps.masked_fill(~mask, 0.0)

    def _scores(self, encoded: Encoded) -> Tensor:
        """(B, T) in single precision, -inf past each sequence's end."""
        assert self.score is not None
        scores: Tensor = self.score(encoded.steps)
        return scores.squeeze(-1).float().masked_fill(~encoded.mask, -torch.inf)

    def extra_repr(self) -> str:
        return self.pool
