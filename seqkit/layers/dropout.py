"""Dropout whose random numbers depend on the example."""

from __future__ import annotations

from torch import Tensor, nn

from seqkit.kernels import RowOrder, dropout


class Dropout(nn.Module):
    """Dropout like `torch.nn.Dropout`, drawn by example (see `seqkit.kernels.draws`).

    In training by seqkit, what is dropped depends on the seed, the step, the example and the place in it alone: a batch
    that is split, accumulated or spread over processes drops the same. Elsewhere, torch's generator draws.

    Args:
        share: probability of each number to become zero; the others are divided by 1 - share.
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"the share to drop is from 0 to 1, not {share}")
        self.share = share

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, ..., W) -> the same; with `lengths` (B,), x is (N, W), the real steps of one sequence after the other."""
        if not self.training or self.share == 0.0:
            return x
        return dropout(x, self.share, None if lengths is None else RowOrder.of_real_steps(lengths))

    def extra_repr(self) -> str:
        return f"share={self.share}"
