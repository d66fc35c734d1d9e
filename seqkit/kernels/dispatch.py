"""Which implementation runs a recurrent layer, and why.

The choice depends on the device, the cell, the number type and what this machine has, never on the data, so that a
resumed run on the same machine chooses the same.

- `padded`: torch's own call over the padded batch (oneDNN for an LSTM on a CPU, cuDNN on a GPU).
- `native`: rows without padding, the recurrence in C++.
- `triton`: the same algorithm as `native` for a GPU, in Triton, for an LSTM or a GRU of at most 64 units, or 128 in low
  precision; only if it is asked for: nobody has timed it beside cuDNN, which is what it takes the place of. The other
  kernels in Triton take the place of hundreds of operations, and run where they agree with them (`triton_choice`).
- `stepwise`: the same algorithm as `native` in plain PyTorch; slower, but needs no compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from seqkit.errors import UsageError
from seqkit.kernels.engine import Engine
from seqkit.kernels.layout import Layout, lay_out
from seqkit.kernels.native import has_bf16_recurrence, native_layout, native_pass
from seqkit.kernels.request import Request, requested
from seqkit.kernels.stepwise import stepwise_pass
from seqkit.kernels.triton_choice import NOT_INSTALLED
from seqkit.kernels.triton_engine import is_installed as triton_is_installed
from seqkit.kernels.triton_engine import supports as triton_supports
from seqkit.kernels.triton_engine import triton_layout_threads, triton_pass
from seqkit.runtime.native_library import DEFAULT, VARIABLE, load_native
from seqkit.runtime.precision import has_fast_bf16

Implementation: TypeAlias = Literal["padded", "native", "triton", "stepwise"]

SHARED_FROM = 768 * 1024
"""From how many bytes of recurrent weights in a direction on the threads of a CPU share the units of each step, in one
group of sequences; native.cpp has the same number. Below, each thread has a group of sequences of its own."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """An implementation.

    Attributes:
        name: which one.
        reason: why it is that one, in words.
        weight_bytes: of the recurrent weights of a direction; 0: not known.
    """

    name: Implementation
    reason: str
    weight_bytes: int = 0

    @property
    def engine(self) -> Engine | None:
        """Runs the recurrence over rows; None for the padded call."""
        engines: dict[str, Engine] = {"native": native_pass, "triton": triton_pass, "stepwise": stepwise_pass}
        return engines.get(self.name)

    @property
    def layout_function(self) -> Callable[..., Layout]:
        """Computes the layout of a batch."""
        return native_layout if self.name == "native" else lay_out

    def lay_out(self, lengths: Tensor, padded_length: int, *, directions: int, device: torch.device) -> Layout:
        """(B,) lengths on the CPU -> the rows of a (B, T) block, with their indices on `device`."""
        groups = self.group_count(len(lengths), directions)
        return self.layout_function(lengths, padded_length, threads=groups).to(device)

    def group_count(self, batch: int, directions: int) -> int:
        """How many groups to lay a batch out for: threads of a CPU, or what a GPU's kernels take at once."""
        if self.name == "triton":
            return triton_layout_threads(batch)
        threads = torch.get_num_threads()
        if self.name == "native" and threads > directions and self.weight_bytes >= SHARED_FROM:
            return 1
        return max(1, threads // directions)


def choose(cell: nn.RNNBase, device: torch.device, dtype: torch.dtype, *, packed: bool = False) -> Dispatch:
    """The implementation for a layer of such cells, with weights of `dtype` on `device`.

    `packed` says that torch's own call would run over packed sequences, for which oneDNN has no LSTM.

    Raises:
        UsageError: the native one is requested by name, and this machine has none.
    """
    request = requested()
    if device.type != "cpu":
        return _choose_on_gpu(request, cell, device, dtype)
    if request == "padded":
        return Dispatch("padded", "torch's own layers" if request == DEFAULT else "torch's own layers, as asked for")
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return Dispatch("padded", "torch's own layers: a traced model may use only torch operations")
    if dtype not in (torch.float32, torch.float64):
        return Dispatch("padded", f"torch's own layers: weights of {dtype}")
    is_low = torch.is_autocast_enabled("cpu") and has_fast_bf16(device)
    if request == "auto" and cell.mode == "LSTM" and is_low and not packed:
        return Dispatch("padded", "torch's own layers: oneDNN has an LSTM in the low precision that is asked for")
    if request == "triton":
        raise UsageError(f"{VARIABLE}=triton: needs a GPU, and this is the CPU; use auto")
    if request == "stepwise":
        return Dispatch("stepwise", "rows without padding, in PyTorch, as asked for")
    native = load_native()
    if native.library is not None:
        return Dispatch("native", f"rows without padding, {native.description}", _weight_bytes(cell, dtype))
    if request == "native":
        raise UsageError(f"{VARIABLE}=native: the native library is {native.description}; use auto")
    return Dispatch("padded", f"torch's own layers; the native library is {native.description}")


def _weight_bytes(cell: nn.RNNBase, dtype: torch.dtype) -> int:
    """Of the recurrent weights of a direction, in the type in which native code multiplies them."""
    is_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    size = 2 if is_bf16 and dtype == torch.float32 and has_bf16_recurrence() else dtype.itemsize
    return {"LSTM": 4, "GRU": 3}.get(cell.mode, 1) * cell.hidden_size**2 * size


def has_native() -> bool:
    """Whether this machine has the C++ implementation."""
    return load_native().library is not None


def _choose_on_gpu(request: Request, cell: nn.RNNBase, device: torch.device, dtype: torch.dtype) -> Dispatch:
    """The implementation on a device that is not a CPU.

    Raises:
        UsageError: Triton is requested by name, and is not installed.
    """
    if request != "triton":
        unless = f"; {VARIABLE}=triton asks for kernels that nobody has timed there" if request == "auto" else ""
        return Dispatch("padded", f"torch's own layers on {device.type}{unless}")
    if not triton_is_installed():
        raise UsageError(NOT_INSTALLED)
    kind = {"LSTM": "lstm", "GRU": "gru"}.get(cell.mode, cell.mode)
    low = torch.is_autocast_enabled(device.type)
    if dtype is not torch.float32 or not triton_supports(kind, cell.hidden_size, low=low):
        return Dispatch("padded", f"torch's own layers on {device.type}: no kernel in Triton for this layer")
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return Dispatch("padded", "torch's own layers: a traced model may use only torch operations")
    return Dispatch("triton", "rows without padding, in Triton, as asked for")


def runs_native(device: torch.device) -> bool:
    """Whether native code other than recurrent layers (the chains of a random field) runs on `device`."""
    if device.type != "cpu" or requested() not in ("auto", "native"):
        return False
    return not torch.compiler.is_compiling() and load_native().library is not None


def describe(device: torch.device) -> str:
    """One line on what runs recurrent layers on `device`."""
    dispatch = choose(nn.LSTM(1, 1), device, torch.float32)
    return f"{dispatch.name} ({dispatch.reason})"
