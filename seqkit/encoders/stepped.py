"""The factories of `jordan`, `slstm`, `lnlstm` and `lngru`, whose cells go from step to step. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqkit.encoders.option_types import StackOptions
from seqkit.errors import UsageError
from seqkit.option_conditions import only_with
from seqkit.types import Count, Share

if TYPE_CHECKING:
    from seqkit.interfaces import Encoder


@only_with("highway", residual=False)
def jordan(
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
    zoneout: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
    decay: Share = 0.0,
) -> Encoder:
    """The network of Jordan 1986: its output is fed back, where that of Elman (`rnn`) feeds back what is hidden.

    h_t = tanh(W x_t + b + R s_{t-1}), y_t = tanh(V h_t + c), s_t = decay s_{t-1} + y_t. Encoded steps are y.

    It goes from step to step in plain PyTorch, so it is slower than `rnn`. It is causal unless bidirectional, and
    carries its state, the context s. It cannot be exported, because its loop is as long as the sequence.

    Args:
        hidden: width of h, y and s, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        zoneout: in training, the probability that a number of s keeps its value at a step; in evaluation, a step gives
            zoneout times the old s plus 1 - zoneout times the new one (Krueger et al. 2017, arXiv:1606.01305). y_t is
            passed on as it is.
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        decay: share of the context that is kept at each step.
    """
    from seqkit.encoders.scanned import Scanned
    from seqkit.encoders.stepped_cells import JordanCell

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
    return Scanned("jordan", dim, lambda width: JordanCell(width, hidden, decay, zoneout=zoneout), options)


@only_with("highway", residual=False)
def slstm(
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
    zoneout: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
    heads: Count = 1,
    forget_bias: float = 1.0,
) -> Encoder:
    """The sLSTM layer of xLSTM (Beck et al. 2024, arXiv:2405.04517): an LSTM with an exponential input gate.

    z = tanh, f, o = sigmoid and i = exp, each of W x_t + b + R h_{t-1} with its own weights; c_t = f c_{t-1} + i z,
    n_t = f n_{t-1} + i, h_t = o c_t / n_t. A strong input gate can so overrule all that was kept before. It is computed
    with logarithms, so that nothing overflows. It is the recurrent layer alone, without the blocks around it; use
    `residual` and `layer_norm`.

    It goes from step to step in plain PyTorch, so it is slower than `lstm`. It is causal unless bidirectional, and
    carries its state. It cannot be exported, because its loop is as long as the sequence.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        zoneout: in training, the probability that a number of h keeps its value at a step, and independently of that a
            pair of numbers of c and n; in evaluation, a step gives zoneout times the old h, c and n plus 1 - zoneout
            times the new ones (Krueger et al. 2017, arXiv:1606.01305). The new h comes from the new c and n.
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        heads: R is a matrix for each of so many equal parts of h, which see each other in the next layer only.
        forget_bias: initial bias of the forget gate. Where something must be kept for T steps, about ln T.

    Raises:
        UsageError: `hidden` cannot be divided by `heads`.
    """
    from seqkit.encoders.scanned import Scanned
    from seqkit.encoders.stepped_cells import SLSTMCell

    if hidden % heads:
        raise UsageError(f"slstm: heads: {heads} parts of {hidden} hidden numbers are not equally large")
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
    return Scanned("slstm", dim, lambda width: SLSTMCell(width, hidden, heads, forget_bias, zoneout=zoneout), options)


@only_with("highway", residual=False)
def lnlstm(
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
    zoneout: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
    forget_bias: float = 1.0,
) -> Encoder:
    """An LSTM with layer normalisation inside (Ba et al. 2016, arXiv:1607.06450, equations 20 to 22).

    i, f, g, o = LN(W x_t) + LN(R h_{t-1}) + b, c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),
    h_t = sigmoid(o) tanh(LN(c_t) + b_c). LN takes a vector's mean away, divides by its standard deviation and
    multiplies by trained numbers: over all 4 H numbers of a product, and over the H of c. So the scale of inputs and
    of weights does not matter. The option `layer_norm` is another thing: it normalises what a layer passes on.

    It goes from step to step in plain PyTorch, so it is slower than `lstm`. It is causal unless bidirectional, and
    carries its state. It cannot be exported, because its loop is as long as the sequence.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        zoneout: in training, the probability that a number of h keeps its value at a step, and independently of that a
            number of c; in evaluation, a step gives zoneout times the old h and c plus 1 - zoneout times the new ones
            (Krueger et al. 2017, arXiv:1606.01305). As in the paper, the new h comes from the new c.
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        forget_bias: initial bias of the forget gate. Where something must be kept for T steps, about ln T.

    Raises:
        UsageError: `hidden` is 1: a single number that is normalised is always 0.
    """
    from seqkit.encoders.scanned import Scanned
    from seqkit.encoders.stepped_cells import LayerNormLSTMCell

    _check_width("lnlstm", hidden)
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
    return Scanned("lnlstm", dim, lambda width: LayerNormLSTMCell(width, hidden, forget_bias, zoneout=zoneout), options)


@only_with("highway", residual=False)
def lngru(
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
    zoneout: Share = 0.0,
    residual: bool = False,
    highway: bool = False,
    layer_norm: bool = False,
    update_bias: float = 0.0,
) -> Encoder:
    """A GRU with layer normalisation inside (Ba et al. 2016, arXiv:1607.06450).

    r, z = sigmoid(LN(W x_t) + LN(R h_{t-1}) + b), n = tanh(LN(W_n x_t) + b_wn + r (LN(R_n h_{t-1}) + b_rn)),
    h_t = (1 - z) n + z h_{t-1}: z is what is kept, as in `gru`. LN as in `lnlstm`, over the 2 H numbers of both gates
    and over the H of n.

    It goes from step to step in plain PyTorch, so it is slower than `gru`. It is causal unless bidirectional, and
    carries its state. It cannot be exported, because its loop is as long as the sequence.

    Args:
        hidden: width of the state, in each direction.
        layers: number of stacked layers.
        bidirectional: add a second direction that starts at each sequence's true last step; outputs are concatenated.
        dropout: share of values dropped between layers; no effect with one layer (see output_dropout).
        input_dropout: share of values dropped from the input steps.
        output_dropout: share of values dropped from the encoded steps.
        locked: each dropout drops the same values at every step of a sequence (Gal and Ghahramani 2016).
        zoneout: in training, the probability that a number of h keeps its value at a step; in evaluation, a step gives
            zoneout times the old h plus 1 - zoneout times the new one (Krueger et al. 2017, arXiv:1606.01305).
        residual: add each layer's input to its output where the widths agree.
        highway: instead of that sum, mix both by a trained gate where the widths agree (Srivastava et al. 2015,
            arXiv:1505.00387).
        layer_norm: normalise each layer's output (Ba et al. 2016), after the sum or the gate.
        update_bias: initial bias of the update gate; the larger, the longer a state is kept.

    Raises:
        UsageError: `hidden` is 1: a single number that is normalised is always 0.
    """
    from seqkit.encoders.scanned import Scanned
    from seqkit.encoders.stepped_cells import LayerNormGRUCell

    _check_width("lngru", hidden)
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
    return Scanned("lngru", dim, lambda width: LayerNormGRUCell(width, hidden, update_bias, zoneout=zoneout), options)


def _check_width(name: str, hidden: int) -> None:
    if hidden == 1:
        raise UsageError(f"{name}: hidden: 1 number that is normalised is always 0; set it to 2 or more")
