"""What stacked encoders share: checks of a batch, dropout at their layers, and what a layer passes on to the next."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from seqkit.encoders.option_types import RecurrentOptions, StackOptions
from seqkit.errors import UsageError
from seqkit.kernels import RowOrder, dropout

GATE_BIAS: Final = -1.0
"""The initial bias of a highway gate, so that a layer begins by passing on most of its input."""


def check_batch(x: Tensor, lengths: Tensor) -> None:
    """Raise ValueError if the lengths (B,) do not fit x (B, T, D). What is traced or compiled cannot look at values."""
    if lengths.device.type != "cpu" or lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths must be ({x.shape[0]},) on the CPU, not {tuple(lengths.shape)} on {lengths.device}")
    if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
        return
    is_bad = (lengths < 1) | (lengths > max(1, x.shape[1]))
    if bool(is_bad.any()):
        row = int(is_bad.nonzero()[0])
        raise ValueError(f"lengths must be from 1 to {x.shape[1]}; that of row {row} is {int(lengths[row])}")


def drop(values: Tensor, share: float, locked: bool, training: bool) -> Tensor:
    """(T, B, H) with a share of the values dropped in training; locked: the same ones at each step of a sequence."""
    if not training or share == 0.0:
        return values
    if not locked:
        return dropout(values, share, RowOrder(values.shape[1], time_first=True))
    return values * dropout(values.new_ones(values.shape[1:]), share)


def highway_gates(options: RecurrentOptions | StackOptions, dim: int, out_dim: int) -> nn.ModuleDict | None:
    """The gates of `pass_on`, by the number of their layer; None without the option.

    Args:
        options: of the stack.
        dim: width of the input of the first layer.
        out_dim: width of the output of each layer.

    Raises:
        UsageError: residual sums are asked for as well, or no layer's input is as wide as its output.
    """
    if not options.highway:
        return None
    if options.residual:
        raise UsageError("encoder: residual and highway are two ways of passing a layer's input on; choose one of them")
    gates = nn.ModuleDict()
    for layer in range(options.layers):
        if layer or dim == out_dim:
            gate = nn.Linear(out_dim, out_dim)
            nn.init.xavier_uniform_(gate.weight)
            nn.init.constant_(gate.bias, GATE_BIAS)
            gates[str(layer)] = gate
    if not gates:
        raise UsageError(
            f"encoder: highway has no effect: the only layer gives {out_dim} numbers for {dim}; it needs as many, or a "
            "second layer"
        )
    return gates


def pass_on(
    x: Tensor, y: Tensor, layer: int, *, residual: bool, highway: nn.ModuleDict | None, norms: nn.ModuleList | None
) -> Tensor:
    """What a layer gives to the next one: (..., D) its input and (..., H) its output -> (..., H).

    Where the widths agree, with residual sums y + x, with highway gates g y + (1 - g) x, g = sigmoid(W x + b); then
    normalised.
    """
    if highway is not None and str(layer) in highway:
        gate = torch.sigmoid(highway[str(layer)](x))
        y = gate * y + (1.0 - gate) * x
    elif residual and x.shape[-1] == y.shape[-1]:
        y = y + x
    return y if norms is None else norms[layer](y)
