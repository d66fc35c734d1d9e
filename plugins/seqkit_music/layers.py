"""The input layer of the task `music`."""

from __future__ import annotations

from torch import Tensor, nn


class Keys(nn.Module):
    """A linear map of the keys that sound."""

    pointwise = True

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.map = nn.Linear(size, dim)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, 89) -> (B, T, dim)."""
        steps: Tensor = self.map(x.to(self.map.weight.dtype))
        return steps, lengths
