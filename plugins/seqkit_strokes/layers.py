"""The input layer of drawings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqkit.nn import draw_normal

_SHARPEN = 5.0
"""Movements from point to point are multiplied by this, to be about as large as the other numbers."""
_WAVES, _FREQUENCY = 4, 1.5
"""Of a deformation; a drawing is 2 wide, so that a wave of this angular frequency is about two drawings long."""


class Points(nn.Module):
    """A linear map of each point; in training, drawings are first distorted.

    Attributes:
        distort: standard deviation of the numbers of the matrix, beside the identity, by which a drawing is multiplied.
        warp: root mean square of how far a random smooth deformation of the plane moves a point.
        shift: standard deviation of how far each stroke is moved.
        noise: standard deviation of what is added to each number.
    """

    pointwise = True

    def __init__(
        self, dim: int, *, distort: float = 0.0, warp: float = 0.0, shift: float = 0.0, noise: float = 0.0
    ) -> None:
        super().__init__()
        self.distort, self.warp, self.shift, self.noise = distort, warp, shift, noise
        self.linear = nn.Linear(5, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 5) -> (B, T, dim)."""
        places, moves, begins = x[..., :2], x[..., 2:4], x[..., 4:]
        if self.training and self.distort > 0:
            matrix = torch.eye(2, device=x.device) + self.distort * draw_normal((len(x), 2, 2), x.device)
            places, moves = places @ matrix, moves @ matrix
        if self.training and self.warp > 0:
            deform = _deformation(places, self.warp)
            offsets = deform(places)
            moves = moves + offsets - deform(places - moves)
            places = places + offsets
        if self.training and self.shift > 0:
            shifts = self.shift * _of_first_point(draw_normal(tuple(places.shape), x.device), begins)
            places = places + shifts
            moves = moves + torch.diff(shifts, dim=1, prepend=shifts[:, :1])
        moved = torch.cat([places, moves * _SHARPEN], dim=-1)
        if self.training and self.noise > 0:
            moved = moved + self.noise * draw_normal(tuple(moved.shape), moved.device)
        return self.linear(torch.cat([moved, begins], dim=-1)), lengths


def _deformation(places: Tensor, size: float) -> Callable[[Tensor], Tensor]:
    """A random smooth deformation for each drawing: how far it moves points (B, T, 2), a sum of sine waves."""
    normal = draw_normal((len(places), _WAVES, 5), places.device)
    directions = normal[..., :2] * _FREQUENCY
    phases = torch.pi * normal[..., 2] * 2
    heights = normal[..., 3:] * (size / _WAVES**0.5)

    def moves(points: Tensor) -> Tensor:
        moved: Tensor = torch.sin(points @ directions.transpose(1, 2) + phases[:, None]) @ heights
        return moved

    return moves


def _of_first_point(values: Tensor, begins: Tensor) -> Tensor:
    """(B, T, 2), at each point the value of the first point of its stroke."""
    steps = torch.arange(values.shape[1], device=values.device)
    first = torch.where(begins.squeeze(-1) > 0.5, steps, 0).cummax(dim=1).values
    return values.gather(1, first[..., None].expand_as(values))
