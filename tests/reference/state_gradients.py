"""The gradient of a loss with respect to every state of stacked recurrent layers, by autograd over single steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def run_with_states(encoder: Any, x: Tensor, length: int) -> tuple[Tensor, dict[tuple[int, int, int], list[Tensor]]]:
    """One sequence (T, D) through a `Recurrent` encoder without dropout, each state a tensor of its own.

    Returns:
        (T, H x directions) outputs, and {(layer, direction, step): [h] or [h, c]}.
    """
    states: dict[tuple[int, int, int], list[Tensor]] = {}
    x = x[:length]
    for layer in range(encoder.layers):
        outputs = []
        for direction in range(encoder.directions):
            number = layer * encoder.directions + direction
            cell = encoder.cells[number]
            state = [torch.zeros(encoder.hidden, dtype=x.dtype, requires_grad=True) for _ in range(encoder.states)]
            if encoder.initial is not None:
                state = list(encoder.initial[:, number])
            steps: list[Any] = [None] * length
            for t in range(length) if direction == 0 else reversed(range(length)):
                state = step(cell, x[t], state)
                states[layer, direction, t] = state
                steps[t] = state[0]
            outputs.append(torch.stack(steps))
        y = torch.cat(outputs, dim=-1)
        if encoder.residual and x.shape == y.shape:
            y = y + x
        if encoder.highway is not None and x.shape == y.shape:
            g = encoder.highway[str(layer)](x).sigmoid()
            y = g * y + (1 - g) * x
        x = y if encoder.norms is None else encoder.norms[layer](y)
    return x, states


def step(cell: nn.RNNBase, x: Tensor, state: list[Tensor]) -> list[Tensor]:
    """One step of a cell by its equations: x (D,), [h] or [h, c] each (H,)."""
    w, r, w_bias, r_bias = cell.all_weights[0]
    h = state[0]
    from_x, from_h = w @ x + w_bias, r @ h + r_bias
    if cell.mode == "LSTM":
        i, f, g, o = (from_x + from_h).chunk(4)
        c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return [o.sigmoid() * c.tanh(), c]
    if cell.mode == "GRU":
        (x_r, x_z, x_n), (h_r, h_z, h_n) = from_x.chunk(3), from_h.chunk(3)
        z = (x_z + h_z).sigmoid()
        return [(1 - z) * (x_n + (x_r + h_r).sigmoid() * h_n).tanh() + z * h]
    total = from_x + from_h
    return [total.tanh() if cell.mode == "RNN_TANH" else total.relu()]
