"""One step of one cell, for decoding and other uses that feed one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seqkit.kernels.padded import CellState

# The functions behind torch's cell modules. A layer's call over one step would lay its weights out anew each time.
_CELL_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
    "LSTM": torch.lstm_cell,
    "GRU": torch.gru_cell,
}


def cell_step(cell: nn.RNNBase, x: Tensor, state: CellState) -> CellState:
    """(B, D) and the state before the step -> the state after it, (h,) or (h, c), each (B, H)."""
    return cell_step_weights(cell.mode, cell.all_weights[0], x, tuple(tensor.to(x.dtype) for tensor in state))


def cell_step_weights(mode: str, weights: Sequence[Tensor], x: Tensor, state: CellState) -> CellState:
    """The same as `cell_step`, with the mode of a torch module and a cell's weights: W, R, and two biases or none."""
    if mode == "LSTM":
        return tuple(_CELL_FUNCTIONS["LSTM"](x, list(state), *weights))
    return (_CELL_FUNCTIONS[mode](x, state[0], *weights),)
