"""The encoders that a recipe names under `encoder:`. Importing this imports no torch.

Each is a factory: `dim`, the width of an input step, is given by the house; the keyword-only options are what a
recipe may say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from seqkit.types import Count, Share

if TYPE_CHECKING:
    from seqkit.interfaces import Encoder
from seqkit.encoders.option_types import Initial, Initialiser

__all__ = ["Initial", "Initialiser", "gru", "lstm", "none", "rnn"]


def rnn(
    dim: int,
    /,
    *,
    hidden: Count = 128,
    layers: Count = 1,
    bidirectional: bool = False,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    output_dropout: Share = 0.0,
    locked: bool = False,
    residual: bool = False,
    layer_norm: bool = False,
    initial: Initial = "zero",
    input_init: Initialiser = "xavier_uniform",
    recurrent_init: Initialiser = "orthogonal",
) -> Encoder:
    """The simple recurrent network (Elman 1990, doi:10.1207/s15516709cog1402_1).

    h_t = f(W x_t + b + R h_{t-1} + r), with f the nonlinearity.

    Recurrent weights start orthogonal: such a matrix keeps the length of what it multiplies, so a signal and its
    gradient neither die out nor blow up over many steps (Saxe et al. 2014, arXiv:1312.6120). With relu, `identity` is
    the start of Le et al. 2015 (arXiv:1504.00941).

    Args:
        hidden: width of the state, in each direction.
        layers: how many layers stand on each other.
        bidirectional: a second direction that starts at each sequence's true last step; the two are put side by side.
        nonlinearity: tanh, or relu.
        dropout: share of values dropped between layers; with one layer, nowhere (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: how the input weights start, gate by gate.
        recurrent_init: how the recurrent weights start, gate by gate.
    """
    from seqkit.encoders.recurrent import Recurrent

    return Recurrent(
        "rnn",
        dim,
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        nonlinearity=nonlinearity,
        dropout=dropout,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        locked=locked,
        residual=residual,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
    )


def lstm(
    dim: int,
    /,
    *,
    hidden: Count = 128,
    layers: Count = 1,
    bidirectional: bool = False,
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    output_dropout: Share = 0.0,
    locked: bool = False,
    residual: bool = False,
    layer_norm: bool = False,
    initial: Initial = "zero",
    input_init: Initialiser = "xavier_uniform",
    recurrent_init: Initialiser = "orthogonal",
    forget_bias: float = 1.0,
) -> Encoder:
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000).

    i, f, o = sigmoid(W x_t + b + R h_{t-1} + r) each with its own weights, g = tanh of the same form,
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    Two starts matter. Recurrent weights start orthogonal, gate by gate: such a matrix keeps the length of what it
    multiplies (Saxe et al. 2014, arXiv:1312.6120). The bias of the forget gate starts at 1, so that memory is kept
    until there is a reason to drop it: at 0 the gate stands half open and halves the memory at each step, so that
    nothing is left to learn from ten steps back (Jozefowicz et al. 2015, proceedings.mlr.press/v37).

    Args:
        hidden: width of the state, in each direction.
        layers: how many layers stand on each other.
        bidirectional: a second direction that starts at each sequence's true last step; the two are put side by side.
        dropout: share of values dropped between layers; with one layer, nowhere (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: how the input weights start, gate by gate.
        recurrent_init: how the recurrent weights start, gate by gate.
        forget_bias: where the bias of the forget gate starts.
    """
    from seqkit.encoders.recurrent import Recurrent

    return Recurrent(
        "lstm",
        dim,
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        dropout=dropout,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        locked=locked,
        residual=residual,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
        forget_bias=forget_bias,
    )


def gru(
    dim: int,
    /,
    *,
    hidden: Count = 128,
    layers: Count = 1,
    bidirectional: bool = False,
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    output_dropout: Share = 0.0,
    locked: bool = False,
    residual: bool = False,
    layer_norm: bool = False,
    initial: Initial = "zero",
    input_init: Initialiser = "xavier_uniform",
    recurrent_init: Initialiser = "orthogonal",
) -> Encoder:
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), in the form that cuDNN and torch compute.

    r, z = sigmoid(W x_t + b + R h_{t-1} + r) each with its own weights,
    n = tanh(W_n x_t + b_n + r (R_n h_{t-1} + r_n)), h_t = (1 - z) n + z h_{t-1}.
    The reset gate acts after the recurrent product (the paper's first form has it before), which lets the whole
    recurrent product be one call.

    Recurrent weights start orthogonal, gate by gate: such a matrix keeps the length of what it multiplies, so a
    signal neither dies out nor blows up over many steps (Saxe et al. 2014, arXiv:1312.6120).

    Args:
        hidden: width of the state, in each direction.
        layers: how many layers stand on each other.
        bidirectional: a second direction that starts at each sequence's true last step; the two are put side by side.
        dropout: share of values dropped between layers; with one layer, nowhere (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: how the input weights start, gate by gate.
        recurrent_init: how the recurrent weights start, gate by gate.
    """
    from seqkit.encoders.recurrent import Recurrent

    return Recurrent(
        "gru",
        dim,
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        dropout=dropout,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        locked=locked,
        residual=residual,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
    )


def none(dim: int, /) -> Encoder:
    """No recurrence: encoded steps are the input steps. For feed-forward baselines, and to see what order is worth."""
    from seqkit.encoders.identity import Passing

    return Passing(dim)
