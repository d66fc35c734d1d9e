"""`CRF`: a linear-chain conditional random field with the interface and the numbers of pytorch-crf."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from seqkit.heads.crf_algorithms import (
    LOWEST,
    Chain,
    best_paths,
    forward_backward,
    log_partition,
    marginals,
    negative_log_likelihood,
)
from seqkit.interfaces import padding_of
from seqkit.nn.compiling import outside_graphs

Reduction: TypeAlias = Literal["none", "sum", "mean", "token_mean"]


class CRF(nn.Module):
    """A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001), as pytorch-crf has it.

    Emissions are (T, B, C), tags and masks (T, B); with `batch_first`, (B, T, C) and (B, T). A mask is true at the real
    steps of each sequence, of which there is at least one, and padding comes after them; without a mask every step is
    real. Tags and emissions of padding may be anything. Sums are in double precision, whatever the inputs are. An
    emission of -inf forbids a tag at a step.

    Instead of a mask, every method takes `lengths` (B,), the number of real steps of each sequence. On the CPU they
    spare a GPU what a mask costs: that the mask comes back, and that it is waited for.

    Args:
        num_tags: C.
        batch_first: whether the batch is the first dimension.

    Attributes:
        start_transitions: (C,) score of a first tag.
        end_transitions: (C,) score of a last tag.
        transitions: (C, C) score of the column's tag after the row's. A score of -inf forbids it.

    Raises:
        ValueError: `num_tags` is not at least 1.
    """

    def __init__(self, num_tags: int, batch_first: bool = False) -> None:
        if num_tags <= 0:
            raise ValueError(f"invalid number of tags: {num_tags}")
        super().__init__()
        self.num_tags, self.batch_first = num_tags, batch_first
        self.start_transitions = nn.Parameter(torch.empty(num_tags))
        self.end_transitions = nn.Parameter(torch.empty(num_tags))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all scores from -0.1 to 0.1."""
        for scores in (self.start_transitions, self.end_transitions, self.transitions):
            nn.init.uniform_(scores, -0.1, 0.1)

    @outside_graphs
    def forward(
        self,
        emissions: Tensor,
        tags: Tensor,
        mask: Tensor | None = None,
        reduction: Reduction = "sum",
        *,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """The log-likelihood of the tags: (B,) for `none`, else a number.

        Args:
            emissions: the score of each tag at each step.
            tags: the true tags, from 0 to C - 1.
            mask: which steps are real; None: all.
            reduction: `none`, `sum` or `mean` over sequences, or `token_mean` over real steps.
            lengths: how many steps of each sequence are real, in place of a mask.

        Raises:
            ValueError: shapes do not fit, a mask or lengths are not as described above, or a tag of a real step is not
                one.
        """
        if reduction not in get_args(Reduction):
            raise ValueError(f"invalid reduction: {reduction}; it can be {', '.join(get_args(Reduction))}")
        self._check(emissions, tags)
        lengths = self._lengths(emissions, mask, lengths)
        log_likelihood = self._log_likelihood(emissions, tags, lengths)
        if reduction == "none":
            return log_likelihood
        if reduction == "mean":
            return log_likelihood.mean()
        total = log_likelihood.sum()
        return total if reduction == "sum" else total / int(lengths.sum())

    @outside_graphs
    @torch.no_grad()
    def decode(
        self, emissions: Tensor, mask: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> list[list[int]]:
        """The most likely tags of each sequence. Of equally likely ones, those with the lowest last tags.

        Raises:
            ValueError: shapes do not fit, or a mask is not as described above.
        """
        self._check(emissions)
        lengths = self._lengths(emissions, mask, lengths)
        if not len(lengths):
            return []
        paths, _ = best_paths(self._chain(emissions, lengths))
        return [path[:length] for path, length in zip(paths[:, 0].tolist(), lengths.tolist(), strict=True)]

    @outside_graphs
    @torch.no_grad()
    def nbest(
        self, emissions: Tensor, n: int, mask: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> list[list[tuple[list[int], float]]]:
        """The n most likely tags of each sequence, best first, each with its log-likelihood; the first is `decode`'s.

        There are fewer if a sequence has fewer that are possible. By list Viterbi (Seshadri and Sundberg 1994), which
        is exact.

        Raises:
            ValueError: `n` is not at least 1, shapes do not fit, or a mask is not as described above.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        self._check(emissions)
        lengths = self._lengths(emissions, mask, lengths)
        if not len(lengths):
            return []
        chain = self._chain(emissions, lengths)
        paths, scores = best_paths(chain, n)
        log_likelihoods = scores - forward_backward(chain, with_beta=False).log_z[:, None]
        return [
            [(path[:length], value) for path, value in zip(*ranked, strict=True) if value > LOWEST / 2]
            for *ranked, length in zip(paths.tolist(), log_likelihoods.tolist(), lengths.tolist(), strict=True)
        ]

    @outside_graphs
    def marginals(self, emissions: Tensor, mask: Tensor | None = None, *, lengths: Tensor | None = None) -> Tensor:
        """The probability of each tag at each step given the whole sequence, in the shape of the emissions.

        They are zero at padding, and can be differentiated.

        Raises:
            ValueError: shapes do not fit, or a mask is not as described above.
        """
        self._check(emissions)
        lengths = self._lengths(emissions, mask, lengths)
        if not len(lengths):
            return torch.zeros_like(emissions)
        has_gradient = emissions.requires_grad or any(p.requires_grad for p in self.parameters())
        if torch.is_grad_enabled() and has_gradient:
            if not emissions.requires_grad:
                emissions = emissions.detach().requires_grad_()
            log_z = log_partition(self._chain(emissions, lengths)).sum()
            return torch.autograd.grad(log_z, emissions, create_graph=True)[0]
        chain = self._chain(emissions, lengths)
        probabilities = marginals(chain, forward_backward(chain)).to(emissions.dtype)
        return probabilities.transpose(0, 1) if self.batch_first else probabilities

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}" + (", batch_first=True" if self.batch_first else "")

    def _chain(self, emissions: Tensor, lengths: Tensor) -> Chain:
        scores = self.transitions, self.start_transitions, self.end_transitions
        emissions = (emissions if self.batch_first else emissions.transpose(0, 1)).double()
        is_forbidden = emissions == -torch.inf
        if emissions.device.type != "cpu" or bool(is_forbidden.any()):
            emissions = emissions.masked_fill(is_forbidden, LOWEST)  # so low that its probability is zero
        return Chain.of(emissions, *scores, lengths)

    def _log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """(B,), in the type that the sums of emissions and transitions have."""
        dtype = torch.promote_types(emissions.dtype, self.transitions.dtype)
        if not len(lengths):
            return emissions.flatten(0, 1).sum(1)[:0].to(dtype)
        tags = (tags if self.batch_first else tags.t()).long()
        tags = tags.masked_fill(padding_of(lengths, tags.shape[1], tags.device), 0)
        if tags.device.type == "cpu" and bool(((tags < 0) | (tags >= self.num_tags)).any()):
            raise ValueError(
                f"tags must be from 0 to {self.num_tags - 1}, not from {int(tags.min())} to {int(tags.max())}"
            )
        return -negative_log_likelihood(self._chain(emissions, lengths), tags).to(dtype)

    def _check(self, emissions: Tensor, tags: Tensor | None = None) -> None:
        if emissions.dim() != 3:
            raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
        if emissions.shape[2] != self.num_tags:
            raise ValueError(f"expected last dimension of emissions is {self.num_tags}, got {emissions.shape[2]}")
        if emissions.shape[1 if self.batch_first else 0] == 0:
            raise ValueError("emissions have no steps; a sequence needs at least one")
        if tags is None:
            return
        _check_same("tags", tags, emissions)
        if tags.is_floating_point() or tags.dtype in (torch.bool, torch.complex64, torch.complex128):
            raise ValueError(f"tags must be whole numbers, not {tags.dtype}")

    def _lengths(self, emissions: Tensor, mask: Tensor | None, lengths: Tensor | None) -> Tensor:
        """(B,) on the CPU."""
        batch, time = emissions.shape[:2] if self.batch_first else emissions.shape[1::-1]
        if lengths is not None:
            if mask is not None:
                raise ValueError("a mask and lengths say the same: pass one of them")
            return _checked_lengths(lengths, batch, time)
        if mask is None:
            return torch.full((batch,), time)
        _check_same("mask", mask, emissions)
        is_real = (mask if self.batch_first else mask.t()).bool().cpu()
        if not bool(is_real[:, 0].all()):
            raise ValueError("mask of the first timestep must all be on")
        lengths = is_real.sum(1)
        has_gap = (is_real != (torch.arange(time) < lengths[:, None])).any(1)
        if bool(has_gap.any()):
            row = int(has_gap.nonzero()[0])
            raise ValueError(f"the mask of sequence {row} has a gap; padding must come after all real steps")
        return lengths


def _checked_lengths(lengths: Tensor, batch: int, time: int) -> Tensor:
    """Lengths that a caller gave, on the CPU."""
    if lengths.shape != (batch,) or lengths.is_floating_point():
        raise ValueError(f"lengths must be {batch} whole numbers, got {tuple(lengths.shape)} of {lengths.dtype}")
    lengths = lengths if lengths.device.type == "cpu" else lengths.cpu()
    if batch and not 1 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise ValueError(f"lengths must be from 1 to {time}, not from {int(lengths.min())} to {int(lengths.max())}")
    return lengths.long()


def _check_same(name: str, tensor: Any, emissions: Tensor) -> None:
    if emissions.shape[:2] != tensor.shape:
        raise ValueError(
            f"the first two dimensions of emissions and {name} must match, "
            f"got {tuple(emissions.shape[:2])} and {tuple(tensor.shape)}"
        )
