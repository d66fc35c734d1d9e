"""Convolutions over time and bands, between the frames and the recurrence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Convolutions(nn.Module):
    """Patterns in a spectrogram, found wherever in the bands they lie: (B, T, channels) -> (B, T, size).

    Each layer has 3 x 3 filters, a rectifier, and the stronger of each two neighbouring bands (Arık et al. 2017,
    arXiv:1703.05390, have the like in front of a GRU). A filter sees a frame and the two before it, never one that
    comes later, so that time is kept: T frames stay T, and nothing behind a clip's end reaches a frame of it.

    Args:
        planes: how often the bands stand in a frame: once, and once for each order of deltas.
        bands: of a frame.
        filters: how many each layer has.
    """

    def __init__(self, planes: int, bands: int, filters: Sequence[int]) -> None:
        super().__init__()
        self.planes, self.bands = planes, bands
        sizes = [planes, *filters]
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(sizes))
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, arXiv:1502.01852
            nn.init.zeros_(layer.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, planes x bands) -> (B, T, filters of the last layer x bands that are left)."""
        found = frames.reshape(*frames.shape[:2], self.planes, self.bands).transpose(1, 2)
        for layer in self.layers:
            found = layer(nn.functional.pad(found, (1, 1, 2, 0))).relu()
            found = nn.functional.max_pool2d(found, (1, 2), ceil_mode=True)
        return found.transpose(1, 2).flatten(2)
