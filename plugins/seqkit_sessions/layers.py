"""The input layer of items."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit_sessions.catalogue import UNKNOWN


class ItemVectors(nn.Module):
    """A learned vector for each item; unknown items have one too, which stays 0.

    Attributes:
        weight: (size, dim).
    """

    pointwise = True

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, dim) * dim**-0.5)
        with torch.no_grad():
            self.weight[UNKNOWN].zero_()

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) numbers -> (B, T, dim)."""
        return functional.embedding(x.long(), self.weight, padding_idx=UNKNOWN), lengths
