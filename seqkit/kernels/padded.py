"""The padded recurrence: torch's own single-layer, single-direction call (oneDNN on a CPU, cuDNN on a GPU).

One call a layer and direction keeps cuDNN's persistent kernels within reach (a stacked or bidirectional call never
gets them) and leaves what stands between layers (dropout, residual, norm) to the encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqkit.kernels.ragged import all_full, gather_last, reverse_sequences

CellState: TypeAlias = tuple[Tensor, ...]
"""(h,) or (h, c), each (B, H)."""


@dataclass(frozen=True, slots=True)
class PaddedOutput:
    """What one layer in one direction gives.

    Attributes:
        steps: (T, B, H) outputs in the order of the input; past a sequence's end they mean nothing.
        finish: the state after each sequence's own last step of travel, worked out when called.
    """

    steps: Tensor
    finish: Callable[[], CellState]


def run_padded(
    cell: nn.RNNBase, x: Tensor, lengths: Tensor, start: CellState, *, reverse: bool = False
) -> PaddedOutput:
    """One layer over (T, B, D), from `start`; `reverse` begins at each sequence's true last step.

    The cell is torch's (`nn.RNN`, `nn.GRU`, `nn.LSTM`) with one layer, one direction, time first.
    """
    if reverse:
        x = reverse_sequences(x, lengths)
    first = tuple(part.to(x.dtype)[None] for part in start)
    hx = first if isinstance(cell, nn.LSTM) else first[0]
    steps, after = cell(x, hx)

    def finish() -> CellState:
        if all_full(lengths, x.shape[0]):
            return tuple(part[0] for part in after) if isinstance(cell, nn.LSTM) else (after[0],)
        if isinstance(cell, nn.LSTM):
            return gather_last(steps, lengths), memory_at_end(cell, x, steps, lengths, start)
        return (gather_last(steps, lengths),)

    return PaddedOutput(reverse_sequences(steps, lengths) if reverse else steps, finish)


def memory_at_end(cell: nn.LSTM, x: Tensor, steps: Tensor, lengths: Tensor, start: CellState) -> Tensor:
    """(B, H): an LSTM's memory c after each sequence's own last step, which the padded call does not give.

    The outputs say what h was before every step, so the gates of all steps are one product; only the memory itself
    is then followed step by step. Costs about a forward pass, and is exact.
    """
    with torch.autocast(x.device.type, enabled=False):
        # Weights keep their own type: under autocast the steps may be halves, and a memory summed in halves drifts.
        w, r, w_bias, r_bias = cell.all_weights[0]
        dtype = w.dtype
        h, c = (part.to(dtype) for part in start)
        before = torch.cat([h[None], steps[:-1].to(dtype)])
        gates = functional.linear(x.to(dtype), w, w_bias) + functional.linear(before, r, r_bias)
        enter, keep, new, _ = gates.chunk(4, dim=-1)
        enter, keep, new = enter.sigmoid(), keep.sigmoid(), new.tanh()
        going = (torch.arange(x.shape[0])[:, None] < lengths).to(x.device)[..., None]
        for t in range(x.shape[0]):
            c = torch.where(going[t], keep[t] * c + enter[t] * new[t], c)
    return c
