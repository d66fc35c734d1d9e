"""Mixed precision: autocast and the gradient scaler."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from seqkit.errors import RunError

Autocast: TypeAlias = Callable[[], contextlib.AbstractContextManager[Any]]
"""Makes the context in which a forward pass runs."""


def choose_precision(name: str, device: torch.device) -> str:
    """What `train.precision` means on this device: fp32, bf16 or fp16. fp32 instead of bf16 where bf16 is emulated."""
    if name == "bf16":
        return name if has_fast_bf16(device) else "fp32"
    if name != "auto":
        return name
    return "bf16" if device.type == "cuda" and has_fast_bf16(device) else "fp32"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether `device` has units that compute in bf16.

    A CPU without them has no LSTM in bf16, and products take 8 to 40 times as long as in fp32. With AVX-512 alone,
    oneDNN has both but emulates them, and a training step takes 4 times as long.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type != "cpu" or (has_onednn_bf16() and has_bf16_units())


def has_onednn_bf16() -> bool:
    """Whether oneDNN has products and LSTMs in bf16 on this CPU, computed or emulated."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 numbers itself: AVX512_BF16 or AMX on x86."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not is_x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def precision_warning(name: str, device: torch.device) -> str | None:
    """A sentence where another precision is used than the recipe names; None: it is the one that is named."""
    if name == "auto" or choose_precision(name, device) == name:
        return None
    return f"train.precision: this processor has no units for {name}; fp32 is used"


def precision(name: str, device: torch.device) -> tuple[Autocast, torch.amp.GradScaler]:
    """Autocast and a gradient scaler for `train.precision`. The scaler is enabled for fp16 only: bf16 has fp32's range.

    Raises:
        RunError: fp16 on a CPU.
    """
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[choose_precision(name, device)]
    if dtype is torch.float16 and device.type == "cpu":
        raise RunError("train.precision: fp16 needs a GPU; use fp32, or device: cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    if dtype is None:
        return contextlib.nullcontext, scaler
    return lambda: torch.autocast(device.type, dtype=dtype), scaler
