"""The input layer: from stored bases to steps, of one strand or both, with motif scanners in front of the recurrence.

Each part gets and gives zeros past the end of a sequence and computes the shortened lengths exactly, so that nothing
depends on padding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit import State, UsageError, mask_of, upload
from seqkit.nn import Dropout, draw_uniform
from seqkit_genome.alphabet import COMPLEMENT, LOWER, PLAIN, PROBABILITIES
from seqkit_genome.options import Scan, Strands

PAD, UNKNOWN = 0, 1


class SequenceLayer(nn.Module):
    """Strand -> vectors of bases -> motif scanners -> projection -> positions.

    Attributes:
        steps: makes vectors of bases, (B, T) -> (B, T', width).
    """

    def __init__(
        self, steps: BaseVectors, dim: int, *, strands: Strands = "given", scan: Scan | None = None, middle: int = 0
    ) -> None:
        super().__init__()
        self.steps = steps
        self.augment, self.average = strands in ("augment", "both"), strands in ("average", "both")
        width = steps.width
        self.scanners = None if scan is None else MotifScanners(width, scan, dim)
        width = width if scan is None else (scan.filters or dim)
        self.project = nn.Identity() if width == dim else _linear(width, dim)
        self.places = MiddlePositions(middle, dim) if middle else None
        self.register_buffer("complement", torch.from_numpy(COMPLEMENT.astype("int64")), persistent=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) codes of bases -> (B, T', dim).

        With `augment`, training reads each sequence from its other strand with probability one half.
        """
        x = x.masked_fill(~mask_of(lengths, x.shape[1], x.device), PAD)
        if self.training and self.augment:
            is_turned = draw_uniform((x.shape[0],), x.device) < 0.5
            x = torch.where(is_turned[:, None], self.other_strand(x, lengths), x)
        steps, lengths = self.steps(x, lengths)
        if self.scanners is not None:
            steps, lengths = self.scanners(steps, lengths)
        steps = self.project(steps)
        if self.places is not None:
            steps = steps + self.places(lengths, steps.shape[1], steps.device)
        return steps.masked_fill(~mask_of(lengths, steps.shape[1], steps.device)[..., None], 0.0), lengths

    @property
    def not_in_pieces(self) -> str:
        """Why a sequence cannot be read while it is coming; empty if it can."""
        if self.average:
            return "strands: the other strand, over which predictions are averaged, begins at the end of the sequence"
        if self.places is not None:
            return "middle: where the middle of a sequence is depends on its end"
        return ""

    @property
    def pointwise(self) -> bool:
        """Whether a step depends on its own base alone."""
        return not isinstance(self.steps, KmerEmbedding) and self.scanners is None and not self.not_in_pieces

    def advance(self, x: Tensor | None, kept: State, end: bool) -> tuple[Tensor, State]:
        """(T,) codes of new bases -> the steps that are certain now, (T', dim), and what is kept.

        Raises:
            UsageError: the whole sequence is needed.
        """
        if self.not_in_pieces:
            raise UsageError(self.not_in_pieces)
        if x is None:
            x = torch.zeros(0, dtype=torch.int64, device=self.device)
        own = self.steps.advance_tensors
        steps, of_steps = self.steps.advance(x, kept[:own], end)
        of_scanners: State = ()
        if self.scanners is not None:
            steps, of_scanners = self.scanners.advance(steps, kept[own:], end)
        return self.project(steps), (*of_steps, *of_scanners)

    @property
    def device(self) -> torch.device:
        assert isinstance(self.complement, Tensor)
        return self.complement.device

    def views(self, x: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        """The other strand, if predictions are the mean of both."""
        return [self.other_strand(x, lengths)] if self.average else []

    def other_strand(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The reverse complement, (B, T) -> (B, T), which begins at step 0; padding stays behind the end."""
        assert isinstance(self.complement, Tensor)
        positions = lengths[:, None] - 1 - torch.arange(x.shape[1])
        inside = upload(positions >= 0, x.device, is_fixed=True)
        complement: Tensor = self.complement[x.gather(1, upload(positions.clamp(min=0), x.device, is_fixed=True))]
        return complement.masked_fill(~inside, 0)


class BaseVectors(nn.Module):
    """Makes vectors of bases.

    Attributes:
        width: numbers of a step.
        advance_tensors: how many tensors `advance` keeps.
    """

    width: int
    advance_tensors = 0

    def __call__(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) codes -> (B, T', width), zero past the end, and the lengths."""
        output: tuple[Tensor, Tensor] = super().__call__(x, lengths)
        return output

    def advance(self, x: Tensor, kept: State, end: bool) -> tuple[Tensor, State]:
        """(T,) codes of new bases -> (T', width) that are certain now, and what is kept."""
        return self(x[None], torch.tensor([len(x)]))[0][0], ()


class BaseProbabilities(BaseVectors):
    """The probabilities of A, C, G and T. A fifth number is 1 for a lower-case letter, if case is kept."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.width = size
        table = torch.from_numpy(PROBABILITIES)
        lower = (torch.arange(len(table)) >= LOWER).float()[:, None]
        self.register_buffer("table", torch.cat([table, lower], dim=1)[:, :size].contiguous(), persistent=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.table, Tensor)
        return functional.embedding(x, self.table), lengths


class LetterEmbedding(BaseVectors):
    """A learned vector for each of A, C, G, T and N, and for each of them in lower case if case is kept."""

    def __init__(self, size: int, width: int = 16) -> None:
        super().__init__()
        self.width = width
        letters = torch.from_numpy(PLAIN).remainder(5) + 1  # -1, an ambiguous base, becomes the fifth letter
        lower = (torch.arange(len(letters)) >= LOWER).long() * (5 if size > 6 else 0)
        numbers = letters + lower
        numbers[PAD] = PAD
        self.register_buffer("numbers", numbers, persistent=False)
        self.weight = nn.Parameter(torch.empty(size, width))
        _initialise_embedding(self.weight)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.numbers, Tensor)
        return functional.embedding(self.numbers[x], self.weight, padding_idx=PAD), lengths


class KmerEmbedding(BaseVectors):
    """A learned vector for each k-mer of the vocabulary; see `seqkit_genome.fields.Kmers`.

    Args:
        known: numbers of the k-mers in the vocabulary.
        width: of a vector.
        k: bases of a k-mer.
        stride: bases from one k-mer to the next.
        drop: share of the k-mers that training reads as unknown.
    """

    advance_tensors = 3

    def __init__(self, known: Sequence[int], width: int, *, k: int, stride: int, drop: float = 0.0) -> None:
        super().__init__()
        self.k, self.stride, self.width, self.drop = k, stride, width, drop
        self.sparse = False  # `lazy_adamw` sets it: the gradient then holds only the rows that were read
        table = torch.full((4**k + 1,), UNKNOWN)
        table[torch.tensor(known)] = torch.arange(2, 2 + len(known))
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("digits", torch.from_numpy(PLAIN), persistent=False)
        self.register_buffer("powers", 4 ** torch.arange(k).flip(0), persistent=False)
        self.weight = nn.Parameter(torch.empty(2 + len(known), width))
        _initialise_embedding(self.weight)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) -> (B, T', width), T' = (T - k) // stride + 1, or 1 where T < k."""
        assert isinstance(self.table, Tensor)
        assert isinstance(self.digits, Tensor)
        assert isinstance(self.powers, Tensor)
        digits = self.digits[functional.pad(x, (0, max(0, self.k - x.shape[1])))]
        windows = digits.unfold(1, self.k, self.stride)
        numbers = (windows * self.powers).sum(dim=2).masked_fill((windows < 0).any(dim=2), len(self.table) - 1)
        ids = self.table[numbers]
        lengths = ((lengths - self.k) // self.stride + 1).clamp(min=1)
        if self.training and self.drop > 0.0:
            ids = ids.masked_fill(draw_uniform(tuple(ids.shape), ids.device) < self.drop, UNKNOWN)
        ids = ids.masked_fill(~mask_of(lengths, ids.shape[1], ids.device), PAD)
        return functional.embedding(ids, self.weight, padding_idx=PAD, sparse=self.sparse), lengths

    def advance(self, x: Tensor, kept: State, end: bool) -> tuple[Tensor, State]:
        """Kept are the bases from the beginning of the next k-mer on, how many have to come before it, and whether
        there has been a k-mer.
        """
        bases, skip, has_kmer = (kept[0], int(kept[1]), bool(kept[2])) if kept else (x[:0], 0, False)
        bases = torch.cat([bases, x])
        passed_over = min(skip, len(bases))
        bases, skip = bases[passed_over:], skip - passed_over
        count = (len(bases) - self.k) // self.stride + 1 if len(bases) >= self.k else 0
        size = (count - 1) * self.stride + self.k if count else 0
        if end and not has_kmer and not count:
            count, size = int(len(bases) > 0), len(bases)  # a sequence shorter than k is one unknown k-mer
        steps = self.weight.new_zeros(0, self.width)
        if count:
            steps = self(bases[None, :size], torch.tensor([size]))[0][0]
        used = count * self.stride
        skip += max(0, used - len(bases))
        return steps, (bases[used:].clone(), torch.tensor(skip), torch.tensor(has_kmer or count > 0))


class MotifScanners(nn.Module):
    """Convolution over time, ReLU, max pooling, dropout (as in DanQ, Quang and Xie 2016, doi:10.1093/nar/gkw226).

    The filters learn motifs, and the recurrence behind them learns how motifs follow each other. A filter sees zeros
    before the first and after the last base, so T bases give T responses, however few they are. Of each `pool`
    responses the strongest is kept: T' = ceil(T / pool); the last window is as short as it has to be.
    """

    def __init__(self, width: int, scan: Scan, dim: int) -> None:
        super().__init__()
        self.reach, self.pool = scan.width, scan.pool
        self.convolution = nn.Conv1d(width, scan.filters or dim, scan.width)
        nn.init.kaiming_uniform_(self.convolution.weight, nonlinearity="relu")
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]
        self.dropout = Dropout(scan.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, width) zero past the end -> (B, T', filters) zero past the end."""
        left = (self.reach - 1) // 2
        outside = ~mask_of(lengths, x.shape[1], x.device)[:, None]
        padded = functional.pad(x.transpose(1, 2).masked_fill(outside, 0.0), (left, self.reach - 1 - left))
        # No response is below zero, so zeros behind the end never win a window.
        responses = functional.relu(self.convolution(padded)).masked_fill(outside, 0.0)
        if self.pool > 1:
            responses = self._strongest(responses)
            lengths = (lengths + self.pool - 1) // self.pool
        return self.dropout(responses.transpose(1, 2)), lengths

    def advance(self, x: Tensor, kept: State, end: bool) -> tuple[Tensor, State]:
        """(T, width) -> (T', filters) that are certain. Kept are bases before the next filter, and a begun window."""
        left = (self.reach - 1) // 2
        if kept:
            vectors, window = kept
        else:
            vectors = x.new_zeros(left, x.shape[1])
            window = x.new_zeros(0, self.convolution.out_channels)
        vectors = torch.cat([vectors, x, x.new_zeros(self.reach - 1 - left if end else 0, x.shape[1])])
        if len(vectors) >= self.reach:
            responses = functional.relu(self.convolution(vectors.t()[None]))[0].t()
            window = torch.cat([window, responses])
            vectors = vectors[len(vectors) - self.reach + 1 :]
        count = len(window) if end else len(window) // self.pool * self.pool
        whole, window = window[:count], window[count:].clone()
        if self.pool > 1 and count:
            whole = functional.max_pool1d(whole.t()[None], self.pool, ceil_mode=True)[0].t()
        return whole, (vectors.clone(), window)

    def _strongest(self, responses: Tensor) -> Tensor:
        """(B, filters, T) of each `pool` responses the largest one, (B, filters, ceil(T / pool))."""
        if not torch.compiler.is_exporting():
            return functional.max_pool1d(responses, self.pool, ceil_mode=True)
        # torch records no pooling with a last window that is shorter for any T.
        padded = functional.pad(responses, (0, -responses.shape[2] % self.pool))
        return padded.reshape(*padded.shape[:2], -1, self.pool).amax(dim=3)


class MiddlePositions(nn.Module):
    """A learned vector for each distance from the middle of the sequence, up to `reach` steps on either side.

    This is for sequences that are aligned at their middle (a site with its surroundings). The middle of T steps lies
    behind step T // 2; steps further away than `reach` share the outermost vectors.
    """

    def __init__(self, reach: int, dim: int) -> None:
        super().__init__()
        self.reach = reach
        self.weight = nn.Parameter(torch.zeros(2 * reach, dim))

    def forward(self, lengths: Tensor, steps: int, device: torch.device) -> Tensor:
        """(B,) lengths -> (B, steps, dim)."""
        positions = torch.arange(steps) - (lengths // 2)[:, None] + self.reach
        # Not self.weight[...]: several threads would sum its gradient, in any order.
        return nn.functional.embedding(
            upload(positions.clamp(0, 2 * self.reach - 1), device, is_fixed=True), self.weight
        )


def _linear(width: int, dim: int) -> nn.Linear:
    linear = nn.Linear(width, dim)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _initialise_embedding(weight: nn.Parameter) -> None:
    nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    with torch.no_grad():
        weight[PAD].zero_()
