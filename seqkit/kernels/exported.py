"""The recurrence as one operation, for models that `torch.export` records.

What is recorded must hold for any number of steps, and torch's own layers are recorded step by step. So a recording has
this operation in place of each layer and direction. It becomes one node of ONNX (`seqkit.export.onnx`), or torch's own
layer where the program is to run without seqkit (`seqkit.export.program`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_exporting() -> bool:
    """Whether `torch.export` records what is computed, so that nothing may depend on the values of a batch."""
    return bool(torch.compiler.is_exporting())


def run_layer(
    x: Tensor, lengths: Tensor, h: Tensor, c: Tensor, weights: list[Tensor], mode: str, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction: (T, B, D) -> (T, B, H), and the states after each sequence's last step.

    Args:
        x: (T, B, D) steps.
        lengths: (B,) true lengths.
        h: (B, H) the state before the first step.
        c: (B, H) an LSTM's memory before the first step; for other cells anything of this shape.
        weights: input and recurrent weights, and their biases, as torch's layers have them.
        mode: of the cell: LSTM, GRU, RNN_TANH or RNN_RELU.
        reverse: go from each sequence's last step to its first.
    """
    output: tuple[Tensor, Tensor, Tensor] = recurrence(x, lengths, h, c, weights, mode, reverse)
    return output


@torch.library.custom_op("seqkit::recurrence", mutates_args=())
def recurrence(
    x: Tensor, lengths: Tensor, h: Tensor, c: Tensor, weights: list[Tensor], mode: str, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As `run_layer`, step by step; outputs past a sequence's end are zero."""
    is_lstm = mode == "LSTM"
    step = {
        "LSTM": torch.lstm_cell,
        "GRU": torch.gru_cell,
        "RNN_TANH": torch.rnn_tanh_cell,
        "RNN_RELU": torch.rnn_relu_cell,
    }[mode]
    steps = x.new_zeros(x.shape[0], x.shape[1], h.shape[1])
    h, c = h.clone(), c.clone()
    for t in reversed(range(x.shape[0])) if reverse else range(x.shape[0]):
        is_real = (t < lengths).to(x.device)[:, None]
        if is_lstm:
            new_h, new_c = step(x[t], [h, c], *weights)  # type: ignore[operator]
            c = torch.where(is_real, new_c, c)
        else:
            new_h = step(x[t], h, *weights)  # type: ignore[operator]
        h = torch.where(is_real, new_h, h)
        steps[t] = torch.where(is_real, new_h, 0.0)
    return steps, h, c


@recurrence.register_fake
def _(
    x: Tensor, lengths: Tensor, h: Tensor, c: Tensor, weights: list[Tensor], mode: str, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape[0], x.shape[1], h.shape[1]), torch.empty_like(h), torch.empty_like(c)
