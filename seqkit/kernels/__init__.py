"""Recurrent layers over padded sequences of true lengths, and which implementation runs them.

There are two ways to the same numbers. `run_padded` runs one direction of a layer over a padded block (T, B, ...) by
torch's own call (oneDNN, cuDNN). `run_unpadded` runs all directions of a layer over rows without padding, which
`lay_out` orders; its recurrence is C++ or plain PyTorch. `choose` picks one by device and cell, and says why.

Packed sequences are never used: on a CPU they keep an LSTM from oneDNN, and on a GPU they rule out cuDNN's persistent
kernels. They are not needed either. Padding is on the right, so no step before a sequence's end reads it, and the
backward direction runs over sequences reversed within their own lengths.
"""

from __future__ import annotations

from seqkit.kernels.cell_step import cell_step, cell_step_weights
from seqkit.kernels.chains import ChainKernels, chain_kernels
from seqkit.kernels.dispatch import Dispatch, choose, describe, has_native, runs_native
from seqkit.kernels.draws import (
    RowOrder,
    by_example,
    draw_normal,
    draw_uniform,
    draws_by_example,
    dropout,
    dropout_choice,
    dropout_weights,
)
from seqkit.kernels.engine import DirectionPass
from seqkit.kernels.input_feeding import FeedingWeights, feed_readouts
from seqkit.kernels.layout import Layout, lay_out, pad, unpad
from seqkit.kernels.linear_scan import linear_scan
from seqkit.kernels.native import describe_bf16, has_bf16_recurrence
from seqkit.kernels.native_alignments import (
    has_native_alignments,
    native_alignment_gradient,
    native_alignment_sums,
    native_prefix_beam_search,
)
from seqkit.kernels.padded import CellState, PaddedOutput, run_padded
from seqkit.kernels.ragged import all_full, gather_last, real_rows, real_steps, reverse_sequences
from seqkit.kernels.request import use
from seqkit.kernels.second_derivative import differentiate_with_graph
from seqkit.kernels.stack_steps import StackSteps, stack_steps
from seqkit.kernels.triton_choice import TritonChoice, choose_triton
from seqkit.kernels.triton_sums import (
    MAX_CLASSES,
    MAX_POSITIONS,
    alignment_options,
    triton_alignment_shares,
    triton_alignment_sums,
)
from seqkit.kernels.unpadded import UnpaddedOutput, kind_of, run_unpadded, run_unpadded_weights, watch_backward

__all__ = [
    "MAX_CLASSES",
    "MAX_POSITIONS",
    "CellState",
    "ChainKernels",
    "DirectionPass",
    "Dispatch",
    "FeedingWeights",
    "Layout",
    "PaddedOutput",
    "RowOrder",
    "StackSteps",
    "TritonChoice",
    "UnpaddedOutput",
    "alignment_options",
    "all_full",
    "by_example",
    "cell_step",
    "cell_step_weights",
    "chain_kernels",
    "choose",
    "choose_triton",
    "describe",
    "describe_bf16",
    "differentiate_with_graph",
    "draws_by_example",
    "dropout",
    "dropout_choice",
    "dropout_weights",
    "feed_readouts",
    "gather_last",
    "has_bf16_recurrence",
    "has_native",
    "has_native_alignments",
    "kind_of",
    "lay_out",
    "linear_scan",
    "native_alignment_gradient",
    "native_alignment_sums",
    "native_prefix_beam_search",
    "pad",
    "real_rows",
    "real_steps",
    "reverse_sequences",
    "run_padded",
    "run_unpadded",
    "run_unpadded_weights",
    "runs_native",
    "triton_alignment_shares",
    "triton_alignment_sums",
    "stack_steps",
    "draw_normal",
    "draw_uniform",
    "unpad",
    "use",
    "watch_backward",
]
