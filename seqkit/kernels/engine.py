"""The interface between a recurrent layer and an implementation of its recurrence.

The unpadded layer makes one `DirectionPass` for each of its directions and hands them to an `Engine`. There are two
engines: `seqkit.kernels.native.native_pass` and `seqkit.kernels.stepwise.stepwise_pass`. The padded layer, torch's own
call (on every GPU), needs none; `seqkit.kernels.dispatch` chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from torch import Tensor

from seqkit.kernels.layout import Layout

CellKind: TypeAlias = Literal["tanh", "relu", "lstm", "gru"]

NUM_GATES: dict[CellKind, int] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True, slots=True)
class DirectionPass:
    """The tensors of one direction of one layer, for the forward pass and then for the backward pass.

    Rows (N, ...) are the real steps as a `Layout` orders them; states (B, H) have the layout's order of sequences. The
    gates have torch's order: i, f, g, o for an LSTM and r, z, n for a GRU.

    Attributes:
        kind: the cell.
        reverse: from each sequence's last step to its first.
        weights: R (G H, H), contiguous. In low precision, what is multiplied with them is rounded to it; all else is
            in single precision.
        bias: a GRU's second bias of gate n (H,); None for other cells.
        gates: (N, G H), contiguous. Input: W x + b. Output: the values of the gates (not for an Elman cell).
        memory: (N, H). Output: c of an LSTM; R h + bias of a GRU's gate n. None for an Elman cell.
        h: (N, H). Output: the hidden states.
        initial: (h,) or (h, c) before the first step, each (B, H); None: zero.
        grad_h: (N, H). Input of the backward pass: the gradient of `h`.
        grad_gates: (N, G H). Output of the backward pass: the gradient of the gates' arguments. A GRU has (N, 4 H):
            gates n, r, z, and then R h + bias of gate n.
        h_prev: (N, H). Output of the backward pass: h before each step.
        grad_state: (B, H). For an LSTM the gradient of c: of the final c as input, of the initial c as output. For a
            GRU an output only: the part of the initial h's gradient that does not go through a gate.
    """

    kind: CellKind
    reverse: bool
    weights: Tensor
    bias: Tensor | None
    gates: Tensor
    memory: Tensor | None
    h: Tensor
    initial: tuple[Tensor, ...] | None
    grad_h: Tensor | None = None
    grad_gates: Tensor | None = None
    h_prev: Tensor | None = None
    grad_state: Tensor | None = None


class Engine(Protocol):
    """Runs the forward or the backward pass of all directions of one layer, and fills their output tensors."""

    def __call__(self, passes: Sequence[DirectionPass], layout: Layout, *, threads: int, backward: bool) -> None: ...
