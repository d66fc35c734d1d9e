"""One step of one cell: what an answer that is read as it is written needs, many times over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from seqkit.kernels.padded import CellState

# Functions of torch's that its own cells call. A layer's call over one step lays its weights out anew each time.
_STEPS: dict[str, Callable[..., Any]] = {
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
}


def cell_step(cell: nn.RNNBase, x: Tensor, start: CellState) -> CellState:
    """(B, D) and the state before -> the state after, (h,) or (h, c), each (B, H)."""
    weights = cell.all_weights[0]
    first = tuple(part.to(x.dtype) for part in start)
    after = _STEPS[cell.mode](x, list(first) if cell.mode == "LSTM" else first[0], *weights)
    return tuple(after) if cell.mode == "LSTM" else (after,)
