"""The padded recurrence: torch's own call with one layer and one direction (oneDNN on a CPU, cuDNN on a GPU).

cuDNN has persistent kernels for such calls only, not for stacked or bidirectional ones. It also leaves the operations
between layers (dropout, residual sum, normalisation) to the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.interfaces import mask_of
from seqkit.kernels.cudnn_precision import run_low_precision
from seqkit.kernels.exported import is_exporting, run_layer
from seqkit.kernels.ragged import all_full, gather_last, reverse_sequences
from seqkit.runtime.precision import has_fast_bf16

CellState: TypeAlias = tuple[Tensor, ...]
"""(h,) or (h, c), each (B, H)."""


@dataclass(frozen=True, slots=True)
class PaddedOutput:
    """The result of one layer in one direction.

    Attributes:
        steps: (T, B, H) outputs in the order of the input; past a sequence's end they mean nothing.
        final_state: returns the state after each sequence's own last step in this direction; computed when called.
    """

    steps: Tensor
    final_state: Callable[[], CellState]


def run_padded(
    cell: nn.RNNBase, x: Tensor, lengths: Tensor, initial: CellState, *, reverse: bool = False
) -> PaddedOutput:
    """One layer over (T, B, D) from the state `initial`; with `reverse`, from each sequence's true last step.

    The cell is torch's (`nn.RNN`, `nn.GRU`, `nn.LSTM`) with one layer, one direction, time first.
    """
    if is_exporting():
        return _run_exported(cell, x, lengths, initial, reverse=reverse)
    if reverse:
        x = reverse_sequences(x, lengths)
    steps, final = _run_cell(cell, x, initial)

    def final_state() -> CellState:
        if all_full(lengths, x.shape[0]):
            return tuple(tensor[0] for tensor in final) if isinstance(cell, nn.LSTM) else (final[0],)
        if isinstance(cell, nn.LSTM):
            return gather_last(steps, lengths), final_memory(cell, x, steps, lengths, initial)
        return (gather_last(steps, lengths),)

    return PaddedOutput(reverse_sequences(steps, lengths) if reverse else steps, final_state)


def _run_cell(cell: nn.RNNBase, x: Tensor, initial: CellState) -> tuple[Tensor, Any]:
    """Torch's call. Where there is no such layer in the low precision of autocast, fp32 runs."""
    if x.device.type == "cuda" and torch.is_autocast_enabled("cuda") and not torch.compiler.is_compiling():
        return run_low_precision(cell, x, initial)
    is_low = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    is_missing = is_low and isinstance(cell, nn.LSTM) and not has_fast_bf16(x.device)
    with torch.autocast("cpu", enabled=False) if is_missing else nullcontext():
        x = x.to(cell.all_weights[0][0].dtype) if is_missing else x
        # cuDNN refuses a state that is a slice of another or an expansion.
        stacked = tuple(tensor.to(x.dtype)[None].contiguous() for tensor in initial)
        steps, final = cell(x, stacked if isinstance(cell, nn.LSTM) else stacked[0])
    return steps, final


def _run_exported(cell: nn.RNNBase, x: Tensor, lengths: Tensor, initial: CellState, *, reverse: bool) -> PaddedOutput:
    steps, h, c = run_layer(x, lengths, initial[0], initial[-1], list(cell.all_weights[0]), cell.mode, reverse)
    return PaddedOutput(steps, lambda: (h, c) if isinstance(cell, nn.LSTM) else (h,))


def final_memory(cell: nn.LSTM, x: Tensor, steps: Tensor, lengths: Tensor, initial: CellState) -> Tensor:
    """(B, H): an LSTM's c after each sequence's own last step, which torch's call does not return.

    The outputs are h before each step, so the gates of all steps are one product, and only c is computed step by
    step. The result is exact and costs about as much as a forward pass.
    """
    with torch.autocast(x.device.type, enabled=False):
        # In the weights' type: under autocast the steps may be in half precision, and a sum like c would drift in it.
        w, r, w_bias, r_bias = cell.all_weights[0]
        dtype = w.dtype
        h, c = (tensor.to(dtype) for tensor in initial)
        h_prev = torch.cat([h[None], steps[:-1].to(dtype)])
        gates = functional.linear(x.to(dtype), w, w_bias) + functional.linear(h_prev, r, r_bias)
        i, f, g, _ = gates.chunk(4, dim=-1)
        i, f, g = i.sigmoid(), f.sigmoid(), g.tanh()
        is_active = mask_of(lengths, x.shape[0], x.device).t()[..., None]
        for t in range(x.shape[0]):
            c = torch.where(is_active[t], f[t] * c + i[t] * g[t], c)
    return c
