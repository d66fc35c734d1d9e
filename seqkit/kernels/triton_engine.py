"""An `Engine` for a GPU: it launches the kernels of `seqkit.kernels.triton_recurrence`.

Nobody has run it on a device yet, so it is used only where it is asked for (`SEQKIT_KERNELS=triton`). Its numbers are
tested on a CPU, by Triton's interpreter, and its kernels are compiled for sm_90.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from seqkit.kernels.engine import CellKind, DirectionPass
from seqkit.kernels.layout import Layout

MAX_HIDDEN: Final = 64
"""Of wider layers the recurrent matrix does not fit on the chip in single precision; they are cuDNN's."""

MAX_HIDDEN_LOW: Final = 128
"""The same in bf16 and fp16."""

KINDS: Final[tuple[CellKind, ...]] = ("lstm", "gru")

SEQUENCES: Final = 16
"""Rows of one group: the least that a product in tensor cores takes."""


def is_installed() -> bool:
    """Whether Triton is: it comes with torch's CUDA build."""
    return importlib.util.find_spec("triton") is not None


def supports(kind: str, hidden: int, *, low: bool) -> bool:
    """Whether there are kernels for such a layer; `low`: with products in bf16 or fp16."""
    return kind in KINDS and hidden <= (MAX_HIDDEN_LOW if low else MAX_HIDDEN)


def triton_layout_threads(batch: int) -> int:
    """The number of threads with which `lay_out` makes groups of at most `SEQUENCES`."""
    return max(1, -(-batch // SEQUENCES) * 2)


def triton_pass(passes: Sequence[DirectionPass], layout: Layout, *, threads: int, backward: bool) -> None:
    """An `Engine`. All groups and directions of a layer are one launch; `threads` means nothing here."""
    from seqkit.kernels import triton_recurrence

    if not layout.num_rows:
        return
    kernel = getattr(triton_recurrence, f"{passes[0].kind}_{'backward' if backward else 'forward'}")
    table, active = layout.launch_tables(passes[0].h.device)
    arguments = _backward_arguments(passes) if backward else _forward_arguments(passes)
    hidden = passes[0].weights.shape[1]
    options = launch_options(hidden)
    kernel[(len(table), len(passes))](
        *arguments,
        table,
        active,
        FIRST_IS_REVERSE=passes[0].reverse,
        HAS_INITIAL=passes[0].initial is not None,
        PRECISION="tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee",
        **options,
    )


def launch_options(hidden: int) -> dict[str, Any]:
    """What a kernel is compiled with: its sizes. Loads are not made ahead: that would take memory from the matrix."""
    width = max(16, 1 << (hidden - 1).bit_length())
    warps = {16: 4, 32: 4, 64: 8}.get(width, 16)
    return {"H": hidden, "WIDTH": width, "BLOCK": SEQUENCES, "num_warps": warps, "num_stages": 1}


def _pairs(passes: Sequence[DirectionPass], name: str, index: int | None = None) -> list[Tensor]:
    """A tensor of the first and of the last direction; where there is none, the gates, which are then not read."""
    values = []
    for run in (passes[0], passes[-1]):
        value = getattr(run, name)
        value = value[index] if index is not None and value is not None else value
        values.append(run.gates if value is None else value)
    return values


def _forward_arguments(passes: Sequence[DirectionPass]) -> list[Any]:
    last = _pairs(passes, "initial", 1) if passes[0].kind == "lstm" else _pairs(passes, "bias")
    assert passes[0].memory is not None
    return [
        *_pairs(passes, "weights"),
        *_pairs(passes, "gates"),
        *_pairs(passes, "memory"),
        *_pairs(passes, "h"),
        *_pairs(passes, "initial", 0),
        *last,
        passes[0].memory.stride(0),
        passes[0].h.stride(0),
    ]


def _backward_arguments(passes: Sequence[DirectionPass]) -> list[Any]:
    assert passes[0].memory is not None
    assert passes[0].grad_h is not None
    return [
        *_pairs(passes, "weights"),
        *_pairs(passes, "gates"),
        *_pairs(passes, "memory"),
        *_pairs(passes, "h"),
        *_pairs(passes, "initial", 0),
        *(_pairs(passes, "initial", 1) if passes[0].kind == "lstm" else ()),
        *_pairs(passes, "grad_h"),
        *_pairs(passes, "grad_gates"),
        *_pairs(passes, "h_prev"),
        *_pairs(passes, "grad_state"),
        passes[0].memory.stride(0),
        passes[0].h.stride(0),
        passes[0].grad_h.stride(0),
    ]
