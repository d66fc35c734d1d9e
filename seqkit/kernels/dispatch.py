"""Which implementation runs a recurrent layer, and why.

The choice depends on the device, the cell, the number type and what this machine has, and on nothing that one run could
find otherwise than another: a resumed run on the same machine chooses the same.

- `padded`: torch's own call over the padded batch (oneDNN for an LSTM on a CPU, cuDNN on a GPU).
- `native`: rows without padding, the recurrence in C++.
- `stepwise`: the same as `native` in plain PyTorch, with the same numbers; slower, and needs no compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from seqkit.errors import UsageError
from seqkit.kernels.layout import Layout, lay_out
from seqkit.kernels.native import native_layout, native_pass
from seqkit.kernels.recurrence import Engine
from seqkit.kernels.stepwise import stepwise
from seqkit.runtime.native_library import DEFAULT, VARIABLE, asked, native

Implementation: TypeAlias = Literal["padded", "native", "stepwise"]
Wanted: TypeAlias = Literal["auto", "padded", "native", "stepwise"]

_wanted: ContextVar[Wanted | None] = ContextVar("wanted", default=None)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What runs, and the reason in words."""

    name: Implementation
    why: str

    @property
    def engine(self) -> Engine | None:
        """What runs the recurrence over rows; None for the padded call."""
        return {"padded": None, "native": native_pass, "stepwise": stepwise}[self.name]

    @property
    def lay_out(self) -> Callable[..., Layout]:
        """What finds the rows of a batch."""
        return native_layout if self.name == "native" else lay_out


@contextmanager
def use(wanted: Wanted) -> Iterator[None]:
    """Overrule the choice for as long as the block lasts."""
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted() -> Wanted:
    """What the block or the environment asks for.

    Raises:
        UsageError: the environment asks for something unknown.
    """
    said = _wanted.get() or asked()
    for known in get_args(Wanted):
        if said == known:
            found: Wanted = known
            return found
    raise UsageError(f"{VARIABLE} is '{said}'; it can be {', '.join(get_args(Wanted))}")


def choose(cell: nn.RNNBase, device: torch.device, dtype: torch.dtype) -> Dispatch:
    """The implementation for a layer of such cells, its weights on `device` and of `dtype`.

    Raises:
        UsageError: the native one is asked for by name, and this machine has none.
    """
    if device.type != "cpu":
        return Dispatch("padded", f"torch's own layers on {device.type}")
    wish = wanted()
    if wish == "padded":
        return Dispatch("padded", "torch's own layers" if wish == DEFAULT else "torch's own layers, as asked for")
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return Dispatch("padded", "torch's own layers: what is traced must be torch's alone")
    if dtype not in (torch.float32, torch.float64):
        return Dispatch("padded", f"torch's own layers: weights of {dtype}")
    if wish == "auto" and cell.mode == "LSTM" and torch.is_autocast_enabled("cpu"):
        return Dispatch("padded", "torch's own layers: oneDNN has an LSTM in the low precision that is asked for")
    if wish == "stepwise":
        return Dispatch("stepwise", "rows without padding, in PyTorch, as asked for")
    found = native()
    if found.library is not None:
        return Dispatch("native", f"rows without padding, {found.said}")
    if wish == "native":
        raise UsageError(f"{VARIABLE}=native: the native library is {found.said}; use auto")
    return Dispatch("padded", f"torch's own layers; the native library is {found.said}")


def runs_native(device: torch.device) -> bool:
    """Whether what is neither a layer nor a cell (the chains of a random field) runs natively as well."""
    if device.type != "cpu" or wanted() not in ("auto", "native"):
        return False
    return not torch.compiler.is_compiling() and native().library is not None


def describe(device: torch.device) -> str:
    """One line on what recurrent layers run on here, for a log or a human."""
    choice = choose(nn.LSTM(1, 1), device, torch.float32)
    return f"{choice.name} ({choice.why})"
