"""A softmax over many symbols that works most steps out over a few of them: `softmax: adaptive` of a language model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.heads import chunked_cross_entropy

NARROWER = 4
"""How much narrower the vectors of each rarer cluster are than those of the one before."""
AT_ONCE = 1 << 24
"""Numbers of a distribution over all symbols that a prediction holds at a time."""


def default_cutoffs(size: int) -> tuple[int, ...]:
    """Where the rarer clusters of a vocabulary of this size begin, the most frequent symbols being the first ones.

    The shortlist has 4 sqrt(V) symbols, and a quarter of the vocabulary comes before the last cluster: near to what
    costs least where frequencies fall as Zipf has them. 400 and 2,500 of 10,000; 1,265 and 25,000 of 100,000.
    """
    first = max(1, min(round(4 * math.sqrt(size)), size // 2))
    return tuple(sorted({first, max(first, size // 4)}))


class AdaptiveSoftmax(nn.Module):
    """Grave et al. 2017, arXiv:1609.04309: frequent symbols in a shortlist, the others in clusters of ever rarer ones.

    The probability of a rare symbol is that of its cluster, which stands beside the symbols of the shortlist, times its
    own among those of the cluster, from narrower vectors. Most steps are worked out over the shortlist alone; the
    probabilities of all symbols sum to one all the same.

    Args:
        dim: H, width of a step.
        size: V, how many symbols, the most frequent ones first.
        cutoffs: the first symbol of each cluster, rising; empty: `default_cutoffs`.

    Raises:
        UsageError: the cutoffs do not rise, or lie outside of the vocabulary.
    """

    bounds: Tensor

    def __init__(self, dim: int, size: int, cutoffs: Sequence[int] = ()) -> None:
        super().__init__()
        cutoffs = tuple(cutoffs) or default_cutoffs(size)
        if not all(a < b for a, b in zip((0, *cutoffs), (*cutoffs, size), strict=True)):
            said = ", ".join(map(str, cutoffs))
            raise UsageError(f"cutoffs: {said} must rise and lie between 0 and {size:,}, the number of symbols")
        self.size, self.cutoffs = size, cutoffs
        self.register_buffer("bounds", torch.tensor(cutoffs), persistent=False)
        self.near = nn.Linear(dim, cutoffs[0] + len(cutoffs))
        widths = [max(1, dim // NARROWER**k) for k in range(1, len(cutoffs) + 1)]
        self.sizes = [b - a for a, b in zip(cutoffs, (*cutoffs[1:], size), strict=True)]
        self.narrow = nn.ModuleList(nn.Linear(dim, width, bias=False) for width in widths)
        self.far = nn.ModuleList(nn.Linear(width, count) for width, count in zip(widths, self.sizes, strict=True))
        for layer in (self.near, *self.narrow, *self.far):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def loss(self, steps: Tensor, y: Tensor) -> Tensor:
        """(N, H) steps, (N,) symbols, -1 where there is none -> () minus their log-probabilities, summed."""
        entry, rows, counts = self._clusters(y)
        total = chunked_cross_entropy.nats(steps, self.near.weight, self.near.bias, entry)
        # A cluster without a step stays in the sum, with gradients of zero: a step of the optimiser is one for all.
        for k, (part, own) in enumerate(self._parts(steps, y, rows, counts)):
            far = self.far[k]
            assert isinstance(far, nn.Linear)
            total = total + chunked_cross_entropy.nats(self.narrow[k](part), far.weight, far.bias, own)
        return total

    @torch.no_grad()
    def nats(self, steps: Tensor, y: Tensor) -> Tensor:
        """As `loss`, but each symbol's own (N,), 0 where there is none; for predictions."""
        entry, rows, counts = self._clusters(y)
        nats = functional.cross_entropy(self.near(steps).float(), entry, ignore_index=-1, reduction="none")
        more = [
            functional.cross_entropy(self._within(k, part), own, reduction="none")
            for k, (parts, owns) in enumerate(self._parts(steps, y, rows, counts))
            for part, own in self._few(k, parts, owns)
        ]
        return nats.index_add(0, rows, torch.cat(more)) if more else nats

    def _clusters(self, y: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """(N,) what each symbol is in the first softmax; the steps whose symbol is in a cluster, cluster by cluster;
        how many each has. A GPU is waited for once, to know them.
        """
        cluster = torch.bucketize(y, self.bounds, right=True)  # 0 is the shortlist, and no symbol
        entry = torch.where(cluster > 0, self.cutoffs[0] + cluster - 1, y)
        numbers = torch.arange(1, len(self.cutoffs) + 1, device=y.device)
        counts = (cluster[:, None] == numbers).sum(0).tolist()
        return entry, cluster.argsort(stable=True)[len(y) - sum(counts) :], counts

    def _parts(self, steps: Tensor, y: Tensor, rows: Tensor, counts: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each cluster its steps, and their symbols counted from its first one."""
        parts = (torch.split(each.index_select(0, rows), counts) for each in (steps, y))
        for begins, part, own in zip(self.cutoffs, *parts, strict=True):
            yield part, own - begins

    def _few(self, k: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same rows of each, as many at a time as may be looked at over all symbols of a cluster."""
        count = max(1, AT_ONCE // self.sizes[k])
        if len(tensors[0]):
            yield from zip(*(torch.split(each, count) for each in tensors), strict=True)

    def log_probabilities(self, steps: Tensor) -> Tensor:
        """(..., H) -> (..., V), of all symbols."""
        near = self.near(steps).float().log_softmax(dim=-1)
        first = self.cutoffs[0]
        parts = [near[..., :first]]
        for k in range(len(self.cutoffs)):
            parts.append(self._within(k, steps).log_softmax(dim=-1) + near[..., first + k, None])
        return torch.cat(parts, dim=-1)

    def best(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H) -> (N,) the log-probability of the likeliest symbol, and (N,) that symbol.

        A cluster is looked into only for the steps at which all of it is likelier than the best symbol before it.
        """
        first = self.cutoffs[0]
        near = self.near(steps).float().log_softmax(dim=-1)
        sure, best = near[:, :first].max(dim=-1)
        for k, begins in enumerate(self.cutoffs):
            rows = torch.nonzero(near[:, first + k] > sure).squeeze(-1)
            for (part,) in self._few(k, rows):
                most, which = self._within(k, steps[part]).log_softmax(dim=-1).max(dim=-1)
                most = most + near[part, first + k]
                better = most > sure[part]
                best[part] = torch.where(better, which + begins, best[part])
                sure[part] = torch.where(better, most, sure[part])
        return sure, best

    def _within(self, k: int, steps: Tensor) -> Tensor:
        """(..., H) -> (..., symbols of the cluster) scores, in single precision."""
        scores: Tensor = self.far[k](self.narrow[k](steps))
        return scores.float()

    def extra_repr(self) -> str:
        return f"size={self.size}, cutoffs={self.cutoffs}"
