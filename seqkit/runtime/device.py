"""Which device a recipe runs on. Torch is imported when one is chosen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from seqkit.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICE_NAMES: Final = "auto, cpu, cuda or cuda:N"
"""What a device may be called, for messages and help."""


def is_device_name(name: str) -> bool:
    """Whether a device may be called so. Whether this machine has it is another question."""
    return re.fullmatch("auto|cpu|cuda(:[0-9]{1,3})?", name) is not None


def device_hint(name: object) -> str:
    """What to write instead of a name that no device has; empty if nothing is known."""
    return "the first GPU is cuda" if str(name).lower() in ("gpu", "gpu:0", "nvidia", "0", "1") else ""


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto`: the GPU if there is one.

    Raises:
        UsageError: no device is called so, or torch does not see that GPU.
    """
    import torch

    if not is_device_name(name):
        raise UsageError(f"device: expected {DEVICE_NAMES}, got '{name}'")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count()
        seen = f"{count} GPU{'s'[: count > 1]}" if count else "no GPU"
        raise UsageError(f"device: {name} was asked for, and torch sees {seen}; use auto")
    return device


def describe(device: torch.device) -> str:
    """`cpu`, or `cuda:0 (name of the GPU)`."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
