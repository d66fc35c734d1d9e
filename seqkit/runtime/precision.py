"""Mixed precision: autocast and the gradient scaler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from seqkit.errors import RunError

if TYPE_CHECKING:
    pass


def precision(
    wanted: str, device: torch.device
) -> tuple[Callable[[], contextlib.AbstractContextManager[Any]], torch.amp.GradScaler]:
    """Autocast and a gradient scaler, the latter at work under fp16 only: bf16 has the range of fp32."""
    if wanted == "auto":
        wanted = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if dtype is torch.float16 and device.type == "cpu":
        raise RunError("train.precision: fp16 needs a GPU; use fp32, or device: cuda")
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    if dtype is None:
        return contextlib.nullcontext, scaler
    return lambda: torch.autocast(device.type, dtype=dtype), scaler
