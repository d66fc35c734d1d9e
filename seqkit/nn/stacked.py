"""Encoders from a cell of one's own: layers, directions, dropout, sums and norms around it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from seqkit.encoders.option_types import StackOptions
from seqkit.encoders.scanned import Scanned
from seqkit.interfaces import Encoder


def stack_cells(
    name: str,
    dim: int,
    make_cell: Callable[[int], nn.Module],
    *,
    hidden: int,
    layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    output_dropout: float = 0.0,
    locked: bool = False,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
) -> Encoder:
    """An encoder of stacked layers, in one direction or two, each of a cell that the plugin brings.

    A cell is a module with the attributes `states`, how many tensors its state is, and `state_width`, N, the width of
    each. It is called as `cell(x, first)`: x (T, B, D), `first` the state before the first step, a tuple of (B, N), or
    None; it returns the outputs (T, B, H) and the state after each step, a tuple of (T, B, N). No step may depend on a
    later one, nor a sequence on another; what is past a sequence's end is zero and is not looked at.

    The encoder is causal unless bidirectional, and carries its state. It cannot be exported.

    Args:
        name: of the encoder, for messages.
        dim: D, the width of an input step.
        make_cell: gets the width of a layer's input and makes its cell.
        hidden: H, the width of a cell's output.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers.
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence.
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output, after the sum or the gate.
    """
    options = StackOptions(
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        dropout=dropout,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        locked=locked,
        residual=residual,
        highway=highway,
        layer_norm=layer_norm,
    )
    return Scanned(name, dim, make_cell, options)
