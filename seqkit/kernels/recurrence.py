"""What an implementation of a recurrence is given, and what it is: the tensors of one direction, and how to call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from torch import Tensor

from seqkit.kernels.layout import Layout

CellKind: TypeAlias = Literal["tanh", "relu", "lstm", "gru"]


GATES: dict[CellKind, int] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True, slots=True)
class Pass:
    """One direction of one layer. Rows are as a `Layout` has them; states (B, H) stand in its order.

    Attributes:
        kind: the cell.
        backwards: from each sequence's last step to its first.
        weights: R (G H, H), contiguous.
        bias: for a GRU the second bias of its new gate (H,).
        gates: (N, G H), contiguous: W x + b going in, the values of the gates coming out (not for an Elman cell).
        memory: (N, H) rows, coming out: c of an LSTM; R h + bias of a GRU's new gate.
        steps: (N, H) rows, coming out: h.
        start: (h,) or (h, c) before the first step; None: zero.
        gradient: (N, H) rows, on the way back: of the steps.
        changes: (N, G H), coming out on the way back: the gradient of what goes into the gates. For a GRU (N, 4 H): of
            the new gate, the reset gate, the update gate, and of R h + bias in the new gate.
        before: (N, H), coming out on the way back: h before each step.
        carried: (B, H), for an LSTM the gradient of the final c going in and of the first c coming out; for a GRU
            anything going in, and coming out the part of the first h's gradient that came through no gate.
    """

    kind: CellKind
    backwards: bool
    weights: Tensor
    bias: Tensor | None
    gates: Tensor
    memory: Tensor | None
    steps: Tensor
    start: tuple[Tensor, ...] | None
    gradient: Tensor | None = None
    changes: Tensor | None = None
    before: Tensor | None = None
    carried: Tensor | None = None


class Engine(Protocol):
    """Runs all directions of one layer, there or back."""

    def __call__(self, passes: Sequence[Pass], layout: Layout, *, threads: int, back: bool) -> None: ...
