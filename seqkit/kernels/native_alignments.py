"""The functions of `native_alignments.cpp`: sums over alignments of texts with steps, their gradient, and a search."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqkit.kernels.dispatch import runs_native
from seqkit.kernels.native_structs import SeqkitAlignments
from seqkit.runtime.native_library import load_native_alignments

_TEXTS_A_THREAD = 2
"""Texts from which another thread pays."""


def has_native_alignments(device: torch.device) -> bool:
    """Whether native code computes the loss of `ctc`, and searches its texts, on `device`."""
    return runs_native(device) and load_native_alignments().library is not None


def native_alignment_sums(
    log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor, *, blank: int, with_alpha: bool
) -> tuple[Tensor, Tensor | None]:
    """(B,) the log-probability of each text, -inf if it has no alignment; and what the gradient needs, or None.

    Sums are in double precision, and those of a text do not depend on what else is in the batch.

    Args:
        log_probs: (B, T, C) in single or double precision, arbitrary past a sequence's end.
        texts: (B, U) classes, arbitrary past a text's end.
        lengths: (B,) steps.
        counts: (B,) symbols.
        blank: the class of the blank.
        with_alpha: whether a gradient will be asked for.

    Raises:
        ValueError: a length is not from 1 to T, a count not from 0 to U, or a class not from 0 to C - 1.
    """
    library = _library()
    (batch, steps, _), symbols = log_probs.shape, texts.shape[1]
    totals = log_probs.new_empty(batch, dtype=torch.float64)
    row = library.seqkit_alignment_row(symbols=symbols)
    alpha = totals.new_empty(batch, steps, row) if with_alpha else None
    struct, referenced = _struct(log_probs, texts, lengths, counts, blank)
    failed = library.seqkit_alignment_sums(
        asked=ctypes.byref(struct),
        threads=_threads_for(batch),
        alpha=None if alpha is None else alpha.data_ptr(),
        totals=totals.data_ptr(),
    )
    del referenced
    _check(failed)
    return totals, alpha


def native_alignment_gradient(
    log_probs: Tensor,
    texts: Tensor,
    lengths: Tensor,
    counts: Tensor,
    *,
    blank: int,
    alpha: Tensor,
    totals: Tensor,
    weights: Tensor,
) -> Tensor:
    """(B, T, C) the gradient of the texts' negative log-probabilities times `weights` (B,), zero past each end.

    Args:
        log_probs, texts, lengths, counts, blank: as for `native_alignment_sums`.
        alpha, totals: what it returned.
        weights: (B,) the gradient of each text's loss.
    """
    gradient = torch.empty_like(log_probs, memory_format=torch.contiguous_format)
    struct, referenced = _struct(log_probs, texts, lengths, counts, blank)
    weights = weights.to(torch.float64).contiguous()
    failed = _library().seqkit_alignment_gradient(
        asked=ctypes.byref(struct),
        threads=_threads_for(len(totals)),
        alpha=alpha.data_ptr(),
        totals=totals.data_ptr(),
        weights=weights.data_ptr(),
        out=gradient.data_ptr(),
    )
    del referenced
    _check(failed)
    return gradient


def native_prefix_beam_search(log_probs: NDArray[np.float64], beams: int) -> list[tuple[tuple[int, ...], float]]:
    """`seqkit.decoding.ctc_beam_search.prefix_beam_search`, of numbers that are not NaN.

    Args:
        log_probs: (T, C), the blank first.
        beams: prefixes kept after each step.
    """
    log_probs = np.ascontiguousarray(log_probs, np.float64)
    steps, classes = log_probs.shape
    texts = np.empty((beams, steps), np.int64)
    counts, totals = np.empty(beams, np.int64), np.empty(beams)
    text_count = _library().seqkit_search_texts(
        log_probs=log_probs.ctypes.data,
        steps=steps,
        classes=classes,
        beams=beams,
        texts=texts.ctypes.data,
        counts=counts.ctypes.data,
        totals=totals.ctypes.data,
    )
    if text_count < 0:
        raise MemoryError("no memory for the beam search of ctc")
    rows = zip(texts[:text_count], counts[:text_count].tolist(), totals[:text_count].tolist(), strict=True)
    return [(tuple(text[:count].tolist()), total) for text, count, total in rows]


def _library() -> Any:
    library = load_native_alignments().library
    assert library is not None
    return library


def _struct(
    log_probs: Tensor, texts: Tensor, lengths: Tensor, counts: Tensor, blank: int
) -> tuple[SeqkitAlignments, tuple[Tensor, ...]]:
    """The struct, and the tensors that it points to: they must live until the call is over."""
    if log_probs.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"log_probs should be in single or double precision, not {log_probs.dtype}")
    log_probs = log_probs if log_probs.stride(-1) == 1 else log_probs.contiguous()
    texts, lengths, counts = (tensor.to(torch.int64).contiguous() for tensor in (texts, lengths, counts))
    struct = SeqkitAlignments(
        log_probs=log_probs.data_ptr(),
        by_sequence=log_probs.stride(0),
        by_step=log_probs.stride(1),
        wide=log_probs.dtype == torch.float64,
        texts=texts.data_ptr(),
        lengths=lengths.data_ptr(),
        counts=counts.data_ptr(),
        batch=log_probs.shape[0],
        steps=log_probs.shape[1],
        classes=log_probs.shape[2],
        symbols=texts.shape[1],
        blank=blank,
    )
    return struct, (log_probs, texts, lengths, counts)


def _threads_for(batch: int) -> int:
    return max(1, min(torch.get_num_threads(), batch // _TEXTS_A_THREAD))


def _check(failed: int) -> None:
    """Raise what the number that a function returned means."""
    if failed == 1:
        raise MemoryError("no memory for the sums of the loss of ctc")
    if failed == 2:
        raise ValueError("the loss of ctc: a length is not from 1 to the number of steps")
    if failed:
        raise ValueError("the loss of ctc: a text is longer than its row, or one of its classes does not exist")
