"""Attention over encoded steps: what a decoder looks at while it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.interfaces import Encoded

Score: TypeAlias = Literal["dot", "general", "additive"]


@dataclass(frozen=True)
class Memory:
    """What there is to look at, worked out once for a whole text. Rows are examples, never beams.

    Attributes:
        steps: (B, T, H) encoded steps.
        keys: (B, T, A) what queries are compared with.
        outside: (B, T) True where there is no step.
    """

    steps: Tensor
    keys: Tensor
    outside: Tensor

    def rows(self, index: Tensor) -> Self:
        """The memory of some examples only."""
        return type(self)(self.steps[index], self.keys[index], self.outside[index])


class Attention(nn.Module):
    """A weighted mean of the encoded steps for each query. A step behind an example's end has weight 0, exactly.

    The score of a step s for a query q is `q . s` (dot), `q . W s` (general; both Luong et al. 2015, arXiv:1508.04025)
    or `v . tanh(W s + U q + b)` (additive; Bahdanau et al. 2015, arXiv:1409.0473). With `coverage`, what a step has
    been given so far counts too: inside the tanh as in See et al. 2017 (arXiv:1704.04368), or as a term of its own.

    Args:
        dim: H, the width of an encoded step.
        query: the width of a query.
        score: how a step is scored.
        coverage: whether scores depend on what each step has been given so far.

    Raises:
        UsageError: a dot product of two widths.
    """

    def __init__(self, dim: int, query: int, *, score: Score = "general", coverage: bool = False) -> None:
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

    def remember(self, encoded: Encoded) -> Memory:
        """The memory of a batch."""
        return Memory(encoded.steps, self.key(encoded.steps), ~encoded.mask)

    def forward(self, queries: Tensor, memory: Memory, coverage: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, U, A) queries -> (B, U, H) what they see, and (B, U, T) the weights, each query's summing to 1.

        `coverage`, (B, U, T), is the sum of the weights that each step has been given before.
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
        scores = scores.float().masked_fill(memory.outside[:, None], -torch.inf)
        weights = functional.softmax(scores, dim=-1).to(memory.steps.dtype)
        return weights @ memory.steps, weights

    def extra_repr(self) -> str:
        return f"score={self.score}, coverage={self.covered is not None}"
