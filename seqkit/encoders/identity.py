"""The encoder `none`, which changes nothing."""

from __future__ import annotations

from torch import Tensor

from seqkit.interfaces import Encoded, Encoder, State, mask_of
from seqkit.kernels import all_full, gather_last


class Identity(Encoder):
    """The input steps, with zeros past the end. `last` is the last real step; there is no state to carry."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.out_dim = dim
        self.causal = True

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        """(B, T, D), (B,) -> Encoded with H = D."""
        if not all_full(lengths, x.shape[1]):
            x = x.masked_fill(~mask_of(lengths, x.shape[1], x.device)[..., None], 0.0)
        return Encoded(x, lengths, gather_last(x.transpose(0, 1), lengths), tuple)
