"""What stacked encoders share: checks of a batch, and dropout at their layers."""

from __future__ import annotations

import torch
from torch import Tensor

from seqkit.kernels import RowOrder, dropout


def check_batch(x: Tensor, lengths: Tensor) -> None:
    """Raise ValueError if the lengths (B,) do not fit x (B, T, D). What is traced or compiled cannot look at values."""
    if lengths.device.type != "cpu" or lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths must be ({x.shape[0]},) on the CPU, not {tuple(lengths.shape)} on {lengths.device}")
    if torch._C._get_tracing_state() is not None or torch.compiler.is_compiling():
        return
    is_bad = (lengths < 1) | (lengths > max(1, x.shape[1]))
    if bool(is_bad.any()):
        row = int(is_bad.nonzero()[0])
        raise ValueError(f"lengths must be from 1 to {x.shape[1]}; that of row {row} is {int(lengths[row])}")


def drop(values: Tensor, share: float, locked: bool, training: bool) -> Tensor:
    """(T, B, H) with a share of the values dropped in training; locked: the same ones at each step of a sequence."""
    if not training or share == 0.0:
        return values
    if not locked:
        return dropout(values, share, RowOrder(values.shape[1], time_first=True))
    return values * dropout(values.new_ones(values.shape[1:]), share)
