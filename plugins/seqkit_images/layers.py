"""The input layer of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit import mask_of
from seqkit.nn import draw_uniform


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
            draws = draw_uniform((len(x), 2), x.device) * (2 * self.shift + 1)
            along, across = (draws.floor().long() - self.shift).unbind(dim=1)
            x = moved(x, lengths, along, across)
        return self.linear(x), lengths


def moved(x: Tensor, lengths: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """(B, T, D) images moved by so many pixels along the steps and across them, (B,) each; what comes in is 0."""
    steps = torch.arange(x.shape[1], device=x.device) - along[:, None]
    columns = torch.arange(x.shape[2], device=x.device) - across[:, None]
    real = mask_of(lengths, x.shape[1], x.device)
    is_inside = (steps >= 0) & (steps < x.shape[1]) & real.gather(1, steps.clamp(0, x.shape[1] - 1))
    is_beside = (columns >= 0) & (columns < x.shape[2])
    rows = torch.arange(len(x), device=x.device)[:, None, None]
    taken = x[rows, steps.clamp(0, x.shape[1] - 1)[:, :, None], columns.clamp(0, x.shape[2] - 1)[:, None, :]]
    return taken * (is_inside & real)[:, :, None] * is_beside[:, None, :]
