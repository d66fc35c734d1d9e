"""The encoders that a recipe names under `encoder:`. Importing this imports no torch.

Each is a factory. seqkit passes `dim`, the width of an input step; a recipe sets the keyword-only options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from seqkit.encoders.option_types import Initial, Initialiser, RecurrentOptions
from seqkit.types import Count, Share

if TYPE_CHECKING:
    from seqkit.interfaces import Encoder

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

    h_t = f(W x_t + b_w + R h_{t-1} + b_r), with f the nonlinearity.

    Recurrent weights start orthogonal: such a matrix keeps the length of a vector that it multiplies, so a signal and
    its gradient neither vanish nor explode over many steps (Saxe et al. 2014, arXiv:1312.6120). With relu, `identity`
    is the initialisation of Le et al. 2015 (arXiv:1504.00941).

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        nonlinearity: tanh, or relu.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: initialiser of the input weights, applied to each gate separately.
        recurrent_init: initialiser of the recurrent weights, applied to each gate separately.
    """
    from seqkit.encoders.recurrent import Recurrent

    options = RecurrentOptions(
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
    return Recurrent("rnn", dim, options)


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
    input_bias: float = 0.0,
) -> Encoder:
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000).

    i, f, o = sigmoid(W x_t + b_w + R h_{t-1} + b_r) each with its own weights, g = tanh of the same form,
    c_t = f c_{t-1} + i g, h_t = o tanh(c_t).

    Two initial values matter. The recurrent weights of each gate start orthogonal: such a matrix keeps the length of a
    vector that it multiplies (Saxe et al. 2014, arXiv:1312.6120). The bias of the forget gate starts at 1, so that the
    cell remembers until it learns to forget; at 0 the gate is half open and halves c at each step, and the gradient
    from ten steps back is gone (Jozefowicz et al. 2015, proceedings.mlr.press/v37).

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: initialiser of the input weights, applied to each gate separately.
        recurrent_init: initialiser of the recurrent weights, applied to each gate separately.
        forget_bias: initial bias of the forget gate. Where something must be kept for T steps, about ln T (Tallec and
            Ollivier 2018, arXiv:1804.11188).
        input_bias: initial bias of the input gate. With a large forget_bias, minus that: else c sums up all inputs, and
            tanh(c) is at its limit after a few steps.
    """
    from seqkit.encoders.recurrent import Recurrent

    options = RecurrentOptions(
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
        input_bias=input_bias,
    )
    return Recurrent("lstm", dim, options)


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
    update_bias: float = 0.0,
) -> Encoder:
    """The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), in the form that cuDNN and torch compute.

    r, z = sigmoid(W x_t + b_w + R h_{t-1} + b_r) each with its own weights,
    n = tanh(W_n x_t + b_wn + r (R_n h_{t-1} + b_rn)), h_t = (1 - z) n + z h_{t-1}.
    The reset gate r acts after the recurrent product (in the first form of the paper, before it), so that the products
    of all gates are one call.

    The recurrent weights of each gate start orthogonal: such a matrix keeps the length of a vector that it multiplies,
    so a signal neither vanishes nor explodes over many steps (Saxe et al. 2014, arXiv:1312.6120). The update gate
    starts half open, so that a step keeps half of h. Where something must be kept for T steps, start its bias at about
    ln T (Tallec and Ollivier 2018, arXiv:1804.11188).

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        layer_norm: normalise each layer's output (Ba et al. 2016), after the residual sum.
        initial: the state before the first step, zero or learned.
        input_init: initialiser of the input weights, applied to each gate separately.
        recurrent_init: initialiser of the recurrent weights, applied to each gate separately.
        update_bias: initial bias of the update gate; the larger, the longer a state is kept.
    """
    from seqkit.encoders.recurrent import Recurrent

    options = RecurrentOptions(
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
        update_bias=update_bias,
    )
    return Recurrent("gru", dim, options)


def none(dim: int, /) -> Encoder:
    """No recurrence: encoded steps are the input steps. A baseline that shows how much the order of steps matters."""
    from seqkit.encoders.identity import Identity

    return Identity(dim)
