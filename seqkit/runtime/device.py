"""Which device a recipe runs on."""

from __future__ import annotations

import torch

from seqkit.errors import UsageError


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto`: the GPU if there is one.

    Raises:
        UsageError: torch does not see that GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise UsageError(
            f"device: {name} was asked for, and torch sees {torch.cuda.device_count()} GPUs; use device: auto"
        )
    return device


def describe(device: torch.device) -> str:
    """`cpu`, or `cuda:0 (name of the GPU)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
