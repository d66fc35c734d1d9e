"""Attention of a decoder over encoded steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.heads.option_types import Score
from seqkit.interfaces import Encoded


@dataclass(frozen=True)
class Memory:
    """The encoded steps as attention reads them, computed once for a whole text. Rows are examples, never beams.

    Attributes:
        steps: (B, T, H) encoded steps.
        keys: (B, T, A) the vectors that queries are compared with.
        padding: (B, T) True where there is no step.
    """

    steps: Tensor
    keys: Tensor
    padding: Tensor

    def take_rows(self, index: Tensor) -> Self:
        """The memory of these examples only."""
        return type(self)(self.steps[index], self.keys[index], self.padding[index])


class Attention(nn.Module):
    """A weighted mean of the encoded steps for each query. Padding has a weight of exactly 0.

    The score of a step s for a query q is `q . s` (dot), `q . W s` (general; both Luong et al. 2015, arXiv:1508.04025)
    or `v . tanh(W s + U q + b)` (additive; Bahdanau et al. 2015, arXiv:1409.0473). With `coverage`, a score also
    depends on the weights that the step has had so far: inside the tanh as in See et al. 2017 (arXiv:1704.04368), or as
    a term of the sum.

    Args:
        dim: H, the width of an encoded step.
        query: A, the width of a query.
        score: how a step is scored.
        coverage: whether scores depend on the weights that each step has had so far.

    Raises:
        UsageError: `score` is dot and the two widths differ.
    """

    def __init__(self, dim: int, query: int, *, score: Score, coverage: bool = False) -> None:
        super().__init__()
        if score == "dot" and dim != query:
            raise UsageError(
                f"attend: a dot product needs equal widths, but the encoder's steps have {dim} and the decoder's state "
                f"has {query}; leave hidden out, or take attention: general"
            )
        self.score = score
        self.key = nn.Identity() if score == "dot" else nn.Linear(dim, query, bias=score == "additive")
        self.query = nn.Linear(query, query, bias=False) if score == "additive" else nn.Identity()
        self.weigh = nn.Parameter(torch.randn(query) * query**-0.5) if score == "additive" else None
        self.covered = nn.Parameter(torch.zeros(query if score == "additive" else 1)) if coverage else None
        for layer in (self.key, self.query):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)

    def build_memory(self, encoded: Encoded) -> Memory:
        """The memory of a batch."""
        return Memory(encoded.steps, self.key(encoded.steps), ~encoded.mask)

    def forward(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, U, A) queries -> (B, U, H) contexts, and (B, U, T) the weights, which sum to 1 for each query.

        Args:
            queries: (B, U, A).
            memory: the encoded steps.
            coverage: (B, U, T) the sum of the weights that each step has had before.
        """
        if self.weigh is not None:
            hidden = memory.keys[:, None] + self.query(queries)[:, :, None]
            if coverage is not None and self.covered is not None:
                hidden = hidden + coverage[..., None] * self.covered
            scores = torch.tanh(hidden) @ self.weigh
        else:
            scores = queries @ memory.keys.transpose(1, 2)
            if coverage is not None and self.covered is not None:
                scores = scores + coverage * self.covered
        scores = scores.float().masked_fill(memory.padding[:, None], -torch.inf)
        weights = functional.softmax(scores, dim=-1).to(memory.steps.dtype)
        return weights @ memory.steps, weights

    def extra_repr(self) -> str:
        return f"score={self.score}, coverage={self.covered is not None}"
