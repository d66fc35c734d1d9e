"""How weights start."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import init


@torch.no_grad()
def start_weights(cell: nn.RNNBase, input_init: str, recurrent_init: str, forget_bias: float) -> None:
    """Start a cell's weights gate by gate, its biases at zero and an LSTM's forget gate at `forget_bias`."""
    hidden = cell.hidden_size
    w, r, w_bias, r_bias = cell.all_weights[0]
    for gate in torch.split(w, hidden):
        initialise(gate, input_init)
    for gate in torch.split(r, hidden):
        initialise(gate, recurrent_init)
    w_bias.zero_()
    r_bias.zero_()
    if isinstance(cell, nn.LSTM):
        # Gates stand in torch's order: input, forget, new, output. The second bias stays at zero: the two are summed.
        w_bias[hidden : 2 * hidden] = forget_bias


def initialise(weight: Tensor, name: str) -> None:
    """Fill (H, D) in place. `uniform` is within 1 / sqrt(H), torch's own; `normal` has a spread of 1 / sqrt(D)."""
    rows, columns = weight.shape
    if name == "orthogonal":
        init.orthogonal_(weight)
    elif name == "xavier_uniform":
        init.xavier_uniform_(weight)
    elif name == "xavier_normal":
        init.xavier_normal_(weight)
    elif name == "kaiming_uniform":
        init.kaiming_uniform_(weight, nonlinearity="relu")
    elif name == "kaiming_normal":
        init.kaiming_normal_(weight, nonlinearity="relu")
    elif name == "uniform":
        init.uniform_(weight, -(rows**-0.5), rows**-0.5)
    elif name == "normal":
        init.normal_(weight, std=columns**-0.5)
    elif name == "identity":
        init.eye_(weight)
    elif name == "zeros":
        init.zeros_(weight)
    else:
        raise ValueError(f"unknown initialiser {name!r}")
