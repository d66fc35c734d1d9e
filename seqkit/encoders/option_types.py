"""Types of the options that encoders share. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Initial: TypeAlias = Literal["zero", "learned", "random"]

Initialiser: TypeAlias = Literal[
    "orthogonal",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "uniform",
    "normal",
    "identity",
    "zeros",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What stacked encoders without recurrent weights have in common; `seqkit.encoders` documents each."""

    hidden: int
    layers: int
    bidirectional: bool = False
    dropout: float
    input_dropout: float
    output_dropout: float
    locked: bool
    residual: bool
    highway: bool
    layer_norm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentOptions:
    """The options of `seqkit.encoders.rnn`, `lstm` and `gru`, which document them and give their defaults.

    Some options belong to one cell each, and other cells leave them out: `nonlinearity` to rnn, `forget_bias` and
    `input_bias` to lstm, `update_bias` to gru.
    """

    hidden: int
    layers: int
    bidirectional: bool
    dropout: float
    input_dropout: float
    output_dropout: float
    locked: bool
    residual: bool
    highway: bool
    layer_norm: bool
    weight_drop: float = 0.0
    initial: Initial
    input_init: Initialiser
    recurrent_init: Initialiser
    nonlinearity: Literal["tanh", "relu"] | None = None
    forget_bias: float | None = None
    input_bias: float | None = None
    update_bias: float | None = None
