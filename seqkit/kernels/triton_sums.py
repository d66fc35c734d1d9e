"""Launches the kernels of `triton_chains` and `triton_alignments`, with the arguments of their counterparts in C++.

They are compared with torch's operations at their first use on a device, and used if they agree (`triton_choice`).
Lengths come from the CPU, as everywhere; their copies on the device are made once a batch, and nothing waits for it.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from seqkit.uploads import from_lengths, real_lengths

MAX_CLASSES: Final = 64
"""Of more states the transitions and their expected numbers do not fit on the chip in double precision."""

MAX_POSITIONS: Final = 2048
"""Of a text with its blanks; longer ones are the business of the loop in torch."""


def triton_chain_sums(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    with_beta: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """As `native_chain_sums`: log Z, alpha, beta or None, scores of the paths or None."""
    from seqkit.kernels import triton_chains

    steps, batch, classes = emissions.shape
    alpha, log_z = emissions.new_zeros(batch, steps, classes), emissions.new_empty(batch)
    beta = torch.zeros_like(alpha) if with_beta else None
    scores = None if paths is None else torch.empty_like(log_z)
    emissions, transitions, start, end = _in_rows(emissions, transitions, start, end)
    by_time, by_chain = emissions.stride(0), emissions.stride(1)
    lengths = from_lengths(real_lengths, lengths, steps, emissions.device)
    states = lengths if paths is None else paths.contiguous()
    options = chain_options(classes)
    triton_chains.chain_sums[(batch,)](
        emissions,
        by_time,
        by_chain,
        transitions,
        start,
        end,
        lengths,
        states,
        alpha,
        log_z,
        log_z if scores is None else scores,
        steps,
        HAS_PATHS=paths is not None,
        **options,
    )
    if beta is not None:
        triton_chains.chain_ends[(batch,)](
            emissions, by_time, by_chain, transitions, end, lengths, beta, steps, **options
        )
    return log_z, alpha.transpose(0, 1), None if beta is None else beta.transpose(0, 1), scores


def triton_chain_gradient(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    lengths: Tensor,
    paths: Tensor | None = None,
    *,
    alpha: Tensor,
    log_z: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `native_chain_gradient`: the gradients of emissions (T, B, C), transitions (C, C), start and end (B, C)."""
    from seqkit.kernels import triton_chains

    steps, batch, classes = emissions.shape
    grad_emissions = emissions.new_zeros(batch, steps, classes)
    grad_transitions = emissions.new_empty(batch, classes, classes)
    grad_start, grad_end = emissions.new_empty(batch, classes), emissions.new_empty(batch, classes)
    emissions, transitions, end = _in_rows(emissions, transitions, end)
    lengths = from_lengths(real_lengths, lengths, steps, emissions.device)
    triton_chains.chain_gradient[(batch,)](
        emissions,
        emissions.stride(0),
        emissions.stride(1),
        transitions,
        end,
        lengths,
        lengths if paths is None else paths.contiguous(),
        alpha.transpose(0, 1).contiguous(),
        log_z,
        grad.to(log_z.dtype).contiguous(),
        grad_emissions,
        grad_transitions,
        grad_start,
        grad_end,
        steps,
        HAS_PATHS=paths is not None,
        **chain_options(classes),
    )
    return grad_emissions.transpose(0, 1), grad_transitions.sum(0), grad_start, grad_end


def triton_best_paths(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """As `native_best_paths`: the best path of each chain (B, T), zero past the end, and the scores (B,)."""
    from seqkit.kernels import triton_chains

    steps, batch, classes = emissions.shape
    emissions, transitions, start, end = _in_rows(emissions, transitions, start, end)
    backpointers = torch.empty(batch, steps, classes, dtype=torch.int32, device=emissions.device)
    paths = torch.zeros(batch, steps, dtype=torch.int64, device=emissions.device)
    scores = emissions.new_empty(batch)
    lengths = from_lengths(real_lengths, lengths, steps, emissions.device)
    triton_chains.chain_best_paths[(batch,)](
        emissions,
        emissions.stride(0),
        emissions.stride(1),
        transitions,
        start,
        end,
        lengths,
        backpointers,
        paths,
        scores,
        steps,
        **chain_options(classes),
    )
    return paths, scores


def triton_alignment_sums(
    log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor, *, blank: int
) -> tuple[Tensor, Tensor]:
    """The log-probability of each text (B,) and alpha (B, T, S), both in double precision.

    Args:
        log_probs: (B, T, C).
        texts: (B, U) int64 classes.
        lengths: (B,) steps, on the CPU.
        counts: (B,) symbols, on the CPU.
        blank: its class.
    """
    from seqkit.kernels import triton_alignments

    (batch, steps, classes), width = log_probs.shape, texts.shape[1]
    alpha = torch.full(
        (batch, steps, 2 * width + 1), -torch.inf, dtype=torch.float64, device=log_probs.device
    )  # the kernel leaves out what no text has
    totals = alpha.new_empty(batch)
    triton_alignments.alignment_sums[(batch,)](
        *_alignment_inputs(log_probs, texts, lengths, counts),
        alpha,
        totals,
        steps,
        classes,
        width,
        **alignment_options(width, blank),
    )
    return totals, alpha


def triton_alignment_shares(
    log_probs: Tensor,
    texts: Tensor,
    lengths: Tensor,
    counts: Tensor,
    *,
    alpha: Tensor,
    totals: Tensor,
    weights: Tensor,
    blank: int,
) -> Tensor:
    """(B, T, S) the probability that an alignment is at a position at a step, times `weights` (B,); zero elsewhere.

    Args:
        log_probs, texts, lengths, counts, blank: as for `triton_alignment_sums`.
        alpha: what it returned.
        totals: the same.
        weights: (B,).
    """
    from seqkit.kernels import triton_alignments

    (batch, steps, classes), width = log_probs.shape, texts.shape[1]
    shares = torch.zeros_like(alpha)
    triton_alignments.alignment_shares[(batch,)](
        *_alignment_inputs(log_probs, texts, lengths, counts),
        alpha,
        totals,
        weights.to(alpha.dtype).contiguous(),
        shares,
        steps,
        classes,
        width,
        **alignment_options(width, blank),
    )
    return shares


def _in_rows(emissions: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Tensors as the kernels read them."""
    emissions = emissions if emissions.stride(2) == 1 else emissions.contiguous()
    return emissions, *(tensor.contiguous() for tensor in others)


def _alignment_inputs(log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
    """The first arguments of the kernels of alignments. Of texts without any symbol there is nothing to point to."""
    steps, width, device = log_probs.shape[1], texts.shape[1], log_probs.device
    return (
        log_probs.contiguous(),
        texts.contiguous() if width else texts.new_zeros(len(texts), 1),
        from_lengths(real_lengths, lengths, steps, device),
        from_lengths(real_lengths, counts, width, device),
    )


def chain_options(classes: int) -> dict[str, Any]:
    """What the kernels of chains are compiled with: a matrix of double precision in the registers of so many warps."""
    width = max(16, 1 << (classes - 1).bit_length())
    return {"C": classes, "WIDTH": width, "num_warps": {16: 1, 32: 4}.get(width, 8), "num_stages": 1}


def alignment_options(width: int, blank: int) -> dict[str, Any]:
    """The same for alignments with texts of at most `width` symbols."""
    positions = max(16, 1 << (2 * width).bit_length())
    return {"BLANK": blank, "WIDTH": positions, "num_warps": max(1, min(8, positions // 64)), "num_stages": 1}
