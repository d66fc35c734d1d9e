"""Initial values of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import init


@torch.no_grad()
def initialise_cell(
    cell: nn.RNNBase, input_init: str, recurrent_init: str, *, keep_bias: float | None, new_bias: float | None = None
) -> None:
    """Fill the weights of each gate by the named initialisers, first W, then R, and the biases with zeros.

    `keep_bias` is the bias of the gate that says how much of the old state is kept: an LSTM's forget gate, a GRU's
    update gate. An Elman cell has none. `new_bias` is that of an LSTM's input gate.
    """
    hidden = cell.hidden_size
    w, r, w_bias, r_bias = cell.all_weights[0]
    for gate in torch.split(w, hidden):
        initialise_matrix(gate, input_init)
    for gate in torch.split(r, hidden):
        initialise_matrix(gate, recurrent_init)
    w_bias.zero_()
    r_bias.zero_()
    if isinstance(cell, nn.LSTM | nn.GRU) and keep_bias is not None:
        # Torch's order of gates is i, f, g, o, and r, z, n. The cell adds up both biases, so only one of them is set.
        w_bias[hidden : 2 * hidden] = keep_bias
    if isinstance(cell, nn.LSTM) and new_bias is not None:
        w_bias[:hidden] = new_bias


def initialise_matrix(weight: Tensor, name: str) -> None:
    """Fill (H, D) in place: `uniform` within 1 / sqrt(H), as torch does; `normal` with standard deviation 1 / sqrt(D).

    The other names are those of functions in `torch.nn.init`.

    Raises:
        ValueError: there is no initialiser of this name.
    """
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
