"""Input layers for symbols and for vectors of numbers.

An input layer is a module `(x, lengths) -> (steps (B, T', dim), lengths (B,))`. It may shorten time; these do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.kernels import draw_normal, draw_uniform, dropout_weights
from seqkit.types import PAD, UNKNOWN


class RowDropout:
    """Dropout of whole vectors of a table (Gal and Ghahramani 2016, arXiv:1512.05287; Merity et al. 2018).

    In an optimiser step, a share of the symbols have a vector of zeros, wherever they occur in any example, and the
    vectors of the others are divided by what is left of the share.

    Attributes:
        share: of the symbols; `train.embedding_dropout`.
        number: tells the tables of a model apart.
    """

    def __init__(self, share: float = 0.0, number: int = 0) -> None:
        self.share, self.number = share, number

    def __call__(self, vectors: Tensor, ids: Tensor, size: int) -> Tensor:
        """(..., W) vectors of (...) ids below `size`."""
        if self.share == 0.0:
            return vectors
        kept = dropout_weights(vectors.new_ones(size, 1), self.share, self.number)
        return vectors * functional.embedding(ids, kept)


class Embedding(nn.Module):
    """A learned vector for each symbol.

    With `drop`, a share of the symbols is replaced by <unk> during training (word dropout), so that the vector of
    <unk> is learned and the model does not rely on rare symbols. The vector of <pad> starts at zero and gets no
    gradient from look-ups.

    Attributes:
        size: number of symbols.
        row_dropout: share of the symbols whose vector is zero in a training step, and which `train.embedding_dropout`
            sets, with the number by which they are drawn.
        sparse: whether the gradient holds only the rows that were looked up; see `seqkit.optim.lazy_adamw`.
        weight: (size, dim), for heads that tie their output weights to it.
    """

    pointwise = True

    def __init__(self, size: int, dim: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.size, self.dim, self.drop, self.sparse = size, dim, drop, False
        self.row_dropout = RowDropout()
        self.weight = nn.Parameter(torch.empty(size, dim))
        # Standard deviation 1 / sqrt(dim): vectors have a length of about 1, which also suits tied output weights.
        nn.init.normal_(self.weight, std=dim**-0.5)
        with torch.no_grad():
            self.weight[PAD].zero_()

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) ids -> (B, T, dim)."""
        if x.dtype not in (torch.int64, torch.int32):
            x = x.long()
        if self.training and self.drop > 0.0:
            dropped = draw_uniform(tuple(x.shape), x.device) < self.drop
            x = x.masked_fill(dropped & (x != PAD), UNKNOWN)
        vectors = functional.embedding(x, self.weight, padding_idx=PAD, sparse=self.sparse)
        return self.row_dropout(vectors, x, self.size) if self.training else vectors, lengths

    def extra_repr(self) -> str:
        return f"size={self.size}, dim={self.dim}, drop={self.drop}"


class Projection(nn.Module):
    """A linear map, for inputs that are vectors of numbers.

    With `noise`, Gaussian noise of that standard deviation is added to each number during training, which does much
    of what weight decay does, and more where the data are few (Bishop 1995, doi:10.1162/neco.1995.7.1.108).

    Attributes:
        weight: (dim, size).
    """

    pointwise = True

    def __init__(self, size: int, dim: int, *, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.linear = nn.Linear(size, dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, size) -> (B, T, dim)."""
        if self.training and self.noise > 0.0:
            x = x + self.noise * draw_normal(tuple(x.shape), x.device).to(x.dtype)
        return self.linear(x), lengths
