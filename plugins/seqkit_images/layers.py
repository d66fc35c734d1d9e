"""The input layer of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit import mask_of


class Steps(nn.Module):
    """A linear map of each row, column or pixel; in training, images are first moved by some pixels.

    Attributes:
        scale: what pixels are multiplied by, so that they are between 0 and 1.
        shift: most pixels by which training moves an image, along the steps and across them.
    """

    pointwise = True

    def __init__(self, size: int, dim: int, *, scale: float, shift: int) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift
        self.linear = nn.Linear(size, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, size) whole numbers -> (B, T, dim)."""
        x = x.float() * self.scale
        if self.training and self.shift > 0:
            draw = torch.randint(-self.shift, self.shift + 1, (2, len(x)), device=x.device)
            x = moved(x, lengths, draw[0], draw[1])
        return self.linear(x), lengths


def moved(x: Tensor, lengths: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """(B, T, D) images moved by so many pixels along the steps and across them, (B,) each; what comes in is 0."""
    steps = torch.arange(x.shape[1], device=x.device) - along[:, None]
    columns = torch.arange(x.shape[2], device=x.device) - across[:, None]
    is_inside = (steps >= 0) & (steps < lengths.to(x.device)[:, None])
    is_beside = (columns >= 0) & (columns < x.shape[2])
    rows = torch.arange(len(x), device=x.device)[:, None, None]
    taken = x[rows, steps.clamp(0, x.shape[1] - 1)[:, :, None], columns.clamp(0, x.shape[2] - 1)[:, None, :]]
    real = mask_of(lengths, x.shape[1], x.device)
    return taken * (is_inside & real)[:, :, None] * is_beside[:, None, :]
