"""The input layer of drawings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit.nn import draw_normal

_SHARPEN = 5.0
"""Movements from point to point are multiplied by this, to be about as large as the other numbers."""


class Points(nn.Module):
    """A linear map of each point; in training, drawings are first distorted.

    Attributes:
        distort: standard deviation of the numbers of the matrix, beside the identity, by which a drawing is multiplied.
        noise: standard deviation of what is added to each number.
    """

    pointwise = True

    def __init__(self, dim: int, *, distort: float, noise: float) -> None:
        super().__init__()
        self.distort, self.noise = distort, noise
        self.linear = nn.Linear(5, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 5) -> (B, T, dim)."""
        places, moves, begins = x[..., :2], x[..., 2:4], x[..., 4:]
        if self.training and self.distort > 0:
            matrix = torch.eye(2, device=x.device) + self.distort * draw_normal((len(x), 2, 2), x.device)
            places, moves = places @ matrix, moves @ matrix
        moved = torch.cat([places, moves * _SHARPEN], dim=-1)
        if self.training and self.noise > 0:
            moved = moved + self.noise * draw_normal(tuple(moved.shape), moved.device)
        return self.linear(torch.cat([moved, begins], dim=-1)), lengths
