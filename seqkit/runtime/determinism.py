"""The same numbers on every run of one machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def deterministic(device: torch.device) -> Iterator[torch.device]:
    """The same numbers on every run of one machine, whatever its threads do first, for as long as the block lasts.

    On the CPU, what adds up by index does it in one order (where torch knows none, it warns), and numbers too small for
    full precision count as zero: they can cost a factor of ten. Torch starts its threads with the latter setting if
    nothing was computed before; it does not say what it was.
    """
    cudnn, checks = torch.backends.cudnn, torch.utils.deterministic
    ordered = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = checks.fill_uninitialized_memory  # type: ignore[attr-defined, unused-ignore]
    before = cudnn.benchmark, cudnn.deterministic
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        cudnn.benchmark, cudnn.deterministic = False, True
    else:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # A help in debugging that comes with it, at the price of speed.
        checks.fill_uninitialized_memory = False  # type: ignore[attr-defined, unused-ignore]
    try:
        yield device
    finally:
        torch.set_flush_denormal(False)
        cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(ordered[0], warn_only=ordered[1])
        checks.fill_uninitialized_memory = filled  # type: ignore[attr-defined, unused-ignore]
