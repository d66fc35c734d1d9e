"""Types of the options that encoders share. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    pass


Initial: TypeAlias = Literal["zero", "learned"]


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
