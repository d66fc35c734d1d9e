"""States of a recurrent module: torch has a tensor, or for an LSTM a pair of them; the code here has tuples."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def num_states(module: nn.RNNBase) -> int:
    return 2 if module.mode == "LSTM" else 1


def as_tuple(hx: Any) -> tuple[Tensor, ...]:
    if hx is None:
        return ()
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def as_hx(module: nn.RNNBase, states: tuple[Tensor, ...]) -> Any:
    return states if module.mode == "LSTM" else states[0]


def batch_dim_of(module: nn.RNNBase) -> int:
    return 0 if module.batch_first else 1


def num_directions(module: nn.RNNBase) -> int:
    return 2 if module.bidirectional else 1
