"""An input layer that reads several steps of numbers at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqkit.uploads import upload


class Patches(nn.Module):
    """A linear map of each `patch` consecutive steps to one vector: time becomes shorter, as in SegRNN.

    Patches are counted from a sequence's end, so that the last one is whole; the first one begins with zeros where the
    sequence has no more steps. Lin et al. 2023, "SegRNN", arXiv:2308.11200.

    Args:
        size: C, the channels of a step.
        dim: width of a vector.
        patch: P, the steps of a patch.
    """

    def __init__(self, size: int, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.linear = nn.Linear(size * patch, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) -> (B, ceil(T / P), dim)."""
        counts = (lengths + self.patch - 1) // self.patch
        count = (x.shape[1] + self.patch - 1) // self.patch
        # Step j of patch k: negative before the beginning of the sequence.
        index = (lengths - counts * self.patch)[:, None] + torch.arange(count * self.patch, device=lengths.device)
        index = upload(index, x.device, is_fixed=True)
        rows = x.gather(1, index.clamp(0, x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[2]))
        rows = rows.masked_fill((index < 0)[..., None], 0.0)
        return self.linear(rows.reshape(x.shape[0], count, -1)), counts

    @property
    def not_in_pieces(self) -> str:
        """Why no stream can be read: what belongs to a patch is known at the end of a sequence only."""
        return f"patches of {self.patch} steps are counted from the end of a sequence, which a stream lacks"

    def extra_repr(self) -> str:
        return f"patch={self.patch}"
