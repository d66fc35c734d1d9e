"""Dropout whose random numbers depend on the example."""

from __future__ import annotations

from torch import Tensor, nn

from seqkit.kernels import RowOrder, dropout


class Dropout(nn.Dropout):
    """A `torch.nn.Dropout` that draws by example (see `seqkit.kernels.draws`).

    In training by seqkit, what is dropped depends on the seed, the step, the example and the place in it alone: a batch
    that is split, accumulated or spread over processes drops the same. Elsewhere, torch's generator draws.

    Args:
        p: probability of each number to become zero; the others are divided by 1 - p.
        inplace: as in torch; the result is a new tensor all the same.
    """

    def forward(self, input: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, ..., W) -> the same; with `lengths` (B,): (N, W), the real steps of one sequence after the other."""
        if not self.training or self.p == 0.0:
            return input
        return dropout(input, self.p, None if lengths is None else RowOrder.of_real_steps(lengths))
