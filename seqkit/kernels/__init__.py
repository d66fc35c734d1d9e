"""Recurrent layers over padded sequences of true lengths, and which implementation runs them.

Two ways lead to the same numbers. `recur` runs one layer in one direction over a padded block, (T, B, ...), by torch's
own call (oneDNN, cuDNN). `run_unpadded` runs all directions of a layer over rows without padding (`lay_out`), its
recurrence by an engine: C++ or plain PyTorch. `choose` says which, by device and cell, and why.

Packed sequences are never used. On a CPU they keep an LSTM from oneDNN, and on a GPU they forbid cuDNN's persistent
kernels. Nothing is lost: padding stands on the right, so no step before a sequence's end ever reads it, and the
backward direction runs over sequences that are turned round within their own lengths.
"""

from __future__ import annotations

from seqkit.kernels.cell_step import cell_step
from seqkit.kernels.dispatch import Dispatch, choose, describe, runs_native, use
from seqkit.kernels.layout import Layout, lay_out, pad, unpad
from seqkit.kernels.native import native_best_paths, native_chain_gradient, native_chain_sums
from seqkit.kernels.padded import CellState, PaddedOutput, run_padded
from seqkit.kernels.ragged import all_full, gather_last, real_rows, reverse_sequences, upload
from seqkit.kernels.unpadded import UnpaddedOutput, run_unpadded

__all__ = [
    "CellState",
    "Dispatch",
    "Layout",
    "PaddedOutput",
    "UnpaddedOutput",
    "cell_step",
    "all_full",
    "gather_last",
    "choose",
    "describe",
    "reverse_sequences",
    "unpad",
    "lay_out",
    "native_best_paths",
    "native_chain_gradient",
    "native_chain_sums",
    "real_rows",
    "run_padded",
    "run_unpadded",
    "runs_native",
    "pad",
    "upload",
    "use",
]
