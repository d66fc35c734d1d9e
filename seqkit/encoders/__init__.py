"""The encoders that a recipe names under `encoder:`. Importing this imports no torch.

Each is a factory. seqkit passes `dim`, the width of an input step; a recipe sets the keyword-only options.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from seqkit.encoders.option_types import Initial, Initialiser, RecurrentOptions, StackOptions
from seqkit.encoders.stepped import jordan, lngru, lnlstm, slstm
from seqkit.errors import UsageError
from seqkit.option_conditions import only_with
from seqkit.types import Count, Positive, Share

if TYPE_CHECKING:
    from seqkit.interfaces import Encoder

__all__ = [
    "Initial",
    "Initialiser",
    "gru",
    "jordan",
    "lngru",
    "lnlstm",
    "lru",
    "lstm",
    "mingru",
    "minlstm",
    "none",
    "rnn",
    "slstm",
    "tdnn",
]


@only_with("highway", residual=False)
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
    weight_drop: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
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

    One call, in C++ or of cuDNN, computes all steps, so there is no `zoneout` between them; `jordan`, `lnlstm` and
    `lngru` have it.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        nonlinearity: tanh, or relu.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        weight_drop: share of the recurrent weights that are zero in a training step, the same ones for all sequences
            (DropConnect, as in Merity et al. 2018, arXiv:1708.02182).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        initial: the state before the first step: zero, learned, or random. Random states are drawn in training, by
            example, uniformly from -0.1 to 0.1; otherwise they are zero.
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
        weight_drop=weight_drop,
        residual=residual,
        highway=highway,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
    )
    return Recurrent("rnn", dim, options)


@only_with("highway", residual=False)
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
    weight_drop: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
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

    One call, in C++ or of cuDNN, computes all steps, so there is no `zoneout` between them; `lnlstm` has it.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        weight_drop: share of the recurrent weights that are zero in a training step, the same ones for all sequences
            (DropConnect, as in Merity et al. 2018, arXiv:1708.02182).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        initial: the state before the first step: zero, learned, or random. Random states are drawn in training, by
            example, uniformly from -0.1 to 0.1; otherwise they are zero.
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
        weight_drop=weight_drop,
        residual=residual,
        highway=highway,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
        forget_bias=forget_bias,
        input_bias=input_bias,
    )
    return Recurrent("lstm", dim, options)


@only_with("highway", residual=False)
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
    weight_drop: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
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

    One call, in C++ or of cuDNN, computes all steps, so there is no `zoneout` between them; `lngru` has it.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        weight_drop: share of the recurrent weights that are zero in a training step, the same ones for all sequences
            (DropConnect, as in Merity et al. 2018, arXiv:1708.02182).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        initial: the state before the first step: zero, learned, or random. Random states are drawn in training, by
            example, uniformly from -0.1 to 0.1; otherwise they are zero.
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
        weight_drop=weight_drop,
        residual=residual,
        highway=highway,
        layer_norm=layer_norm,
        initial=initial,
        input_init=input_init,
        recurrent_init=recurrent_init,
        update_bias=update_bias,
    )
    return Recurrent("gru", dim, options)


@only_with("highway", residual=False)
def minlstm(
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
    highway: bool = False,
    layer_norm: bool = False,
    forget_bias: float = 1.0,
) -> Encoder:
    """The minimal LSTM (Feng et al. 2024, arXiv:2410.01201), whose gates do not see the state.

    f, i = sigmoid(W x_t + b) each with its own weights, h_t = f / (f + i) h_{t-1} + i / (f + i) (W_h x_t + b_h).

    All steps are computed at once, by a scan. What the gates cannot see in one layer they see in the next, so use two
    or more, with `residual` and `layer_norm`. It is causal unless bidirectional, and carries its state. It cannot be
    exported, because how many rounds a scan has depends on the number of steps.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        forget_bias: initial bias of the forget gate. Where something must be kept for T steps, about ln T.
    """
    from seqkit.encoders.scanned import MinLSTMCell, Scanned

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

    return Scanned("minlstm", dim, lambda width: MinLSTMCell(width, hidden, forget_bias), options)


@only_with("highway", residual=False)
def mingru(
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
    highway: bool = False,
    layer_norm: bool = False,
    update_bias: float = 1.0,
) -> Encoder:
    """The minimal GRU (Feng et al. 2024, arXiv:2410.01201), whose gate does not see the state.

    z = sigmoid(W x_t + b), h_t = z h_{t-1} + (1 - z) (W_h x_t + b_h): z is what is kept, as in `gru`.

    All steps are computed at once, by a scan; use two layers or more, with `residual` and `layer_norm` (see `minlstm`).
    It is causal unless bidirectional, and carries its state. It cannot be exported, because how many rounds a scan has
    depends on the number of steps.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        update_bias: initial bias of the gate; the larger, the longer a state is kept: ln T for about T steps.
    """
    from seqkit.encoders.scanned import MinGRUCell, Scanned

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
    return Scanned("mingru", dim, lambda width: MinGRUCell(width, hidden, update_bias), options)


@only_with("highway", residual=False)
def lru(
    dim: int,
    /,
    *,
    hidden: Count = 128,
    state: Count | None = None,
    layers: Count = 1,
    bidirectional: bool = False,
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    output_dropout: Share = 0.0,
    locked: bool = False,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
    min_radius: Share = 0.9,
    max_radius: Share = 0.999,
    max_phase: Positive = 6.283,
) -> Encoder:
    """The linear recurrent unit (Orvieto et al. 2023, arXiv:2303.06349): a complex diagonal recurrence.

    h_t = lambda h_{t-1} + gamma B x_t, with lambda = exp(-exp(nu) + i exp(theta)) for each of the N numbers of h, so
    that none grows; the output is a gated linear unit of gelu(Re(C h_t) + D x_t).

    All steps are computed at once, by a scan. What is kept does not depend on the input, so use two or more layers,
    with `residual` and `layer_norm`. It is causal unless bidirectional, and carries its state. It cannot be exported,
    because how many rounds a scan has depends on the number of steps.

    Args:
        hidden: width of the output, in each direction.
        state: N, the complex numbers of the state (null: as many as `hidden`).
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        min_radius: the least absolute value of an initial lambda.
        max_radius: the greatest; the nearer to 1, the longer something is kept: 0.999 halves it in 700 steps.
        max_phase: the greatest angle of an initial lambda, in radians; smaller ones help where T is very long.

    Raises:
        UsageError: the radii are not in their order.
    """
    from seqkit.encoders.scanned import LRUCell, Scanned

    if min_radius >= max_radius:
        raise UsageError(f"lru: min_radius: {min_radius} should be below max_radius, {max_radius}")
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
    size, radius = state or hidden, (min_radius, max_radius)
    return Scanned("lru", dim, lambda width: LRUCell(width, hidden, size, radius, max_phase), options)


@only_with("highway", residual=False)
def tdnn(
    dim: int,
    /,
    *,
    hidden: Count = 128,
    layers: Count = 3,
    width: Count = 3,
    dilation: Count = 2,
    causal: bool = False,
    dropout: Share = 0.0,
    input_dropout: Share = 0.0,
    output_dropout: Share = 0.0,
    locked: bool = False,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
) -> Encoder:
    """The time-delay neural network (Waibel et al. 1989, doi:10.1109/29.21701): convolutions over time.

    Layer l computes relu(b + the sum over `width` steps, dilation^l apart, of W_k x) at each step, so that L layers see
    1 + (width - 1)(1 + dilation + ... + dilation^(L-1)) steps: 15 with the defaults. There are zeros before the first
    step and after the last.

    With `causal` a step sees itself and earlier ones only (van den Oord et al. 2016, arXiv:1609.03499); then it carries
    a state, the last inputs of each layer, and reads streams. It can be exported.

    Args:
        hidden: width of each layer.
        layers: number of stacked layers.
        width: steps that a layer sees; odd, unless causal.
        dilation: how many times as far apart the steps of each further layer are; 1: next to each other in all layers.
        causal: no step sees later ones.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.

    Raises:
        UsageError: an even width that is not causal.
    """
    from seqkit.encoders.time_delay import TimeDelay

    options = StackOptions(
        hidden=hidden,
        layers=layers,
        dropout=dropout,
        input_dropout=input_dropout,
        output_dropout=output_dropout,
        locked=locked,
        residual=residual,
        highway=highway,
        layer_norm=layer_norm,
    )
    return TimeDelay(dim, options, width=width, dilation=dilation, causal=causal)


def none(dim: int, /) -> Encoder:
    """No recurrence: encoded steps are the input steps. A baseline that shows how much the order of steps matters."""
    from seqkit.encoders.identity import Identity

    return Identity(dim)
