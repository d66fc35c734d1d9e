"""A stacked recurrent encoder over one sequence, without padding, with the weights of the module under test."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqkit.encoders.recurrent import Recurrent
from tests.reference import cells

STEPS: dict[str, cells.Step] = {
    "RNN_TANH": cells.elman,
    "RNN_RELU": cells.elman_relu,
    "LSTM": cells.lstm,
    "GRU": cells.gru,
}


@dataclass
class EncodedSequence:
    """steps (T, H), last (H,), state: (L x directions, H) each."""

    steps: Tensor
    last: Tensor
    state: cells.State


def encode(encoder: Recurrent, x: Tensor, state: cells.State | None = None) -> EncodedSequence:
    """(T, D) -> what the encoder should return for this sequence, without dropout. `state`: as in the result."""
    final_states = []
    for layer in range(encoder.layers):
        outputs = []
        for direction in range(encoder.directions):
            number = layer * encoder.directions + direction
            cell = encoder.cells[number]
            if state is not None:
                start = tuple(tensor[number] for tensor in state)
            elif encoder.initial is not None:
                start = tuple(tensor[number] for tensor in encoder.initial)
            else:
                start = (x.new_zeros(encoder.hidden),) * encoder.states
            weights = tuple(cell.all_weights[0])
            steps, final_state = cells.run(STEPS[cell.mode], x, weights, start, backward=direction == 1)
            outputs.append(steps)
            final_states.append(final_state)
        y = torch.cat(outputs, dim=1)
        if encoder.residual and y.shape == x.shape:
            y = x + y
        if encoder.highway is not None and y.shape == x.shape:
            gate = encoder.highway[str(layer)]
            g = 1.0 / (1.0 + torch.exp(-(x @ gate.weight.t() + gate.bias)))
            y = torch.stack([g[t] * y[t] + (1.0 - g[t]) * x[t] for t in range(len(x))])
        if encoder.norms is not None:
            y = layer_norm(y, encoder.norms[layer].weight, encoder.norms[layer].bias)
        x = y
    hidden = encoder.hidden
    last = x[-1] if encoder.directions == 1 else torch.cat([x[-1, :hidden], x[0, hidden:]])
    return EncodedSequence(x, last, tuple(torch.stack(tensors) for tensors in zip(*final_states, strict=True)))


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    """Ba, Kiros and Hinton 2016, over the last axis."""
    mean = x.sum(dim=-1, keepdim=True) / x.shape[-1]
    variance = ((x - mean) ** 2).sum(dim=-1, keepdim=True) / x.shape[-1]
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain + bias
