"""A softmax over many symbols that computes most steps over a few of them: `softmax: adaptive` of `language`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.errors import UsageError
from seqkit.heads import chunked_cross_entropy

DIVISOR = 4
"""The vectors of each cluster are this many times narrower than those of the more frequent one before."""

MAX_NUMBERS = 1 << 24
"""Numbers of a distribution over all symbols of a cluster that a prediction holds at a time."""


def default_cutoffs(size: int) -> tuple[int, ...]:
    """The first symbol of each cluster for a vocabulary of this size, the most frequent symbols coming first.

    The shortlist has 4 sqrt(V) symbols, and the last cluster begins after a quarter of the vocabulary. That is near the
    least cost if frequencies follow Zipf's law. 400 and 2,500 of 10,000; 1,265 and 25,000 of 100,000.
    """
    first = max(1, min(round(4 * math.sqrt(size)), size // 2))
    return tuple(sorted({first, max(first, size // 4)}))


class AdaptiveSoftmax(nn.Module):
    """Grave et al. 2017, arXiv:1609.04309: frequent symbols in a shortlist, the others in clusters by frequency.

    The first softmax is over the symbols of the shortlist and the clusters. The probability of a rare symbol is that of
    its cluster times its own within the cluster, from narrower vectors. Most steps need the first softmax only; the
    probabilities of all symbols still sum to one.

    Args:
        dim: H, width of a step.
        size: V, how many symbols, the most frequent ones first.
        cutoffs: the first symbol of each cluster, rising; empty: `default_cutoffs`.

    Raises:
        UsageError: the cutoffs do not rise, or are outside the vocabulary.
    """

    bounds: Tensor

    def __init__(self, dim: int, size: int, cutoffs: Sequence[int] = ()) -> None:
        super().__init__()
        cutoffs = tuple(cutoffs) or default_cutoffs(size)
        if not all(a < b for a, b in zip((0, *cutoffs), (*cutoffs, size), strict=True)):
            numbers = ", ".join(map(str, cutoffs))
            raise UsageError(f"cutoffs: {numbers} must rise and lie between 0 and {size:,}, the number of symbols")
        self.size, self.cutoffs = size, cutoffs
        self.register_buffer("bounds", torch.tensor(cutoffs), persistent=False)
        self.near = nn.Linear(dim, cutoffs[0] + len(cutoffs))
        widths = [max(1, dim // DIVISOR**k) for k in range(1, len(cutoffs) + 1)]
        self.sizes = [b - a for a, b in zip(cutoffs, (*cutoffs[1:], size), strict=True)]
        self.narrow = nn.ModuleList(nn.Linear(dim, width, bias=False) for width in widths)
        self.far = nn.ModuleList(nn.Linear(width, count) for width, count in zip(widths, self.sizes, strict=True))
        for layer in (self.near, *self.narrow, *self.far):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def loss(self, steps: Tensor, y: Tensor) -> Tensor:
        """(N, H) steps, (N,) symbols or -1 for none -> () the sum of their negative log-probabilities."""
        entries, rows, counts = self._assign_clusters(y)
        total = chunked_cross_entropy.nats(steps, self.near.weight, self.near.bias, entries)
        # A cluster without a step stays in the sum, so that its weights get gradients of zero rather than none.
        for k, (cluster_steps, cluster_y) in enumerate(self._split(steps, y, rows, counts)):
            far = self.far[k]
            assert isinstance(far, nn.Linear)
            total = total + chunked_cross_entropy.nats(self.narrow[k](cluster_steps), far.weight, far.bias, cluster_y)
        return total

    @torch.no_grad()
    def nats(self, steps: Tensor, y: Tensor) -> Tensor:
        """As `loss`, but (N,) for each symbol, 0 where there is none; for predictions."""
        entries, rows, counts = self._assign_clusters(y)
        nats = functional.cross_entropy(self.near(steps).float(), entries, ignore_index=-1, reduction="none")
        within = [
            functional.cross_entropy(self._scores_within(k, chunk), chunk_y, reduction="none")
            for k, (cluster_steps, cluster_y) in enumerate(self._split(steps, y, rows, counts))
            for chunk, chunk_y in self._chunks(k, cluster_steps, cluster_y)
        ]
        return nats.index_add(0, rows, torch.cat(within)) if within else nats

    def _assign_clusters(self, y: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """(N,) symbols -> (N,) their entries in the first softmax; the steps whose symbol is in a cluster, cluster by
        cluster; how many steps each cluster has. This waits for a GPU once.
        """
        cluster = torch.bucketize(y, self.bounds, right=True)  # 0: in the shortlist, or no symbol
        entries = torch.where(cluster > 0, self.cutoffs[0] + cluster - 1, y)
        numbers = torch.arange(1, len(self.cutoffs) + 1, device=y.device)
        counts = (cluster[:, None] == numbers).sum(0).tolist()
        return entries, cluster.argsort(stable=True)[len(y) - sum(counts) :], counts

    def _split(self, steps: Tensor, y: Tensor, rows: Tensor, counts: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each cluster its steps, and their symbols counted from the cluster's first one."""
        split_steps, split_y = (torch.split(tensor.index_select(0, rows), counts) for tensor in (steps, y))
        for cutoff, cluster_steps, cluster_y in zip(self.cutoffs, split_steps, split_y, strict=True):
            yield cluster_steps, cluster_y - cutoff

    def _chunks(self, k: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same rows of each tensor, few enough that their scores over a cluster are at most `MAX_NUMBERS`."""
        count = max(1, MAX_NUMBERS // self.sizes[k])
        if len(tensors[0]):
            yield from zip(*(torch.split(tensor, count) for tensor in tensors), strict=True)

    def log_probabilities(self, steps: Tensor) -> Tensor:
        """(..., H) -> (..., V), of all symbols."""
        near = self.near(steps).float().log_softmax(dim=-1)
        shortlist = self.cutoffs[0]
        log_probs = [near[..., :shortlist]]
        for k in range(len(self.cutoffs)):
            log_probs.append(self._scores_within(k, steps).log_softmax(dim=-1) + near[..., shortlist + k, None])
        return torch.cat(log_probs, dim=-1)

    def best(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H) -> (N,) the log-probability of the most probable symbol, and (N,) that symbol.

        A cluster is computed only for the steps at which the cluster is more probable than the best symbol so far.
        """
        shortlist = self.cutoffs[0]
        near = self.near(steps).float().log_softmax(dim=-1)
        log_probs, symbols = near[:, :shortlist].max(dim=-1)
        for k, cutoff in enumerate(self.cutoffs):
            candidates = torch.nonzero(near[:, shortlist + k] > log_probs).squeeze(-1)
            for (rows,) in self._chunks(k, candidates):
                top, top_symbols = self._scores_within(k, steps[rows]).log_softmax(dim=-1).max(dim=-1)
                top = top + near[rows, shortlist + k]
                is_better = top > log_probs[rows]
                symbols[rows] = torch.where(is_better, top_symbols + cutoff, symbols[rows])
                log_probs[rows] = torch.where(is_better, top, log_probs[rows])
        return log_probs, symbols

    def _scores_within(self, k: int, steps: Tensor) -> Tensor:
        """(..., H) -> (..., symbols of the cluster) scores, in single precision."""
        scores: Tensor = self.far[k](self.narrow[k](steps))
        return scores.float()

    def extra_repr(self) -> str:
        return f"size={self.size}, cutoffs={self.cutoffs}"
