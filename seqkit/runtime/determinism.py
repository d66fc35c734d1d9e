"""Settings of torch under which a run gives the same numbers each time, on one machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch

WARN = 1
COMPILER_VARIABLE = "TORCHINDUCTOR_DETERMINISTIC"


@contextlib.contextmanager
def deterministic(device: torch.device, *, tf32: bool = False) -> Iterator[torch.device]:
    """Within the block, computations give the same numbers on every run on this machine, however threads are scheduled.

    Sums by index are made in one order (where torch has no such implementation, it warns). Denormal numbers count as
    zero on the CPU, because they can be ten times slower. Torch starts its threads with that setting if nothing was
    computed before.

    Args:
        device: what the computations run on.
        tf32: whether a GPU may round the factors of products in single precision to ten bits.
    """
    cudnn, checks = torch.backends.cudnn, torch.utils.deterministic
    mode_before = torch.get_deterministic_debug_mode()
    fill_memory = checks.fill_uninitialized_memory  # type: ignore[attr-defined, unused-ignore]
    products = torch.backends.cuda.matmul
    cudnn_before = cudnn.benchmark, cudnn.deterministic
    tf32_before = cudnn.allow_tf32, products.allow_tf32
    flushed_before = _flushes_denormals()
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        cudnn.benchmark, cudnn.deterministic = False, True
    # cuDNN rounds to TF32 unless it is told not to.
    cudnn.allow_tf32 = products.allow_tf32 = tf32
    compiler_before = os.environ.get(COMPILER_VARIABLE)
    os.environ[COMPILER_VARIABLE] = "1"
    _set_mode(WARN)
    # This comes with it and helps debugging only; it is slow.
    checks.fill_uninitialized_memory = False  # type: ignore[attr-defined, unused-ignore]
    try:
        yield device
    finally:
        torch.set_flush_denormal(flushed_before)
        cudnn.benchmark, cudnn.deterministic = cudnn_before
        cudnn.allow_tf32, products.allow_tf32 = tf32_before
        _set_mode(mode_before)
        os.environ.pop(COMPILER_VARIABLE, None)
        if compiler_before is not None:
            os.environ[COMPILER_VARIABLE] = compiler_before
        checks.fill_uninitialized_memory = fill_memory  # type: ignore[attr-defined, unused-ignore]


def _set_mode(mode: int) -> None:
    """Say what is done about operations without a deterministic kernel: 0 nothing, 1 warn, 2 an error.

    `torch.use_deterministic_algorithms` says it to torch's compiler too, which it imports for that: two seconds. The
    compiler reads the variable if it is imported later.
    """
    torch.set_deterministic_debug_mode(mode)
    compiler: Any = sys.modules.get("torch._inductor.config")
    if compiler is not None:
        compiler.deterministic = mode > 0


def _flushes_denormals() -> bool:
    """Whether denormal numbers count as zero now, in this thread. Torch has no way to ask."""
    return bool((torch.full((1,), 1e-310, dtype=torch.float64, device="cpu") * 1.0 == 0.0).item())
