"""The names of `torch.nn.utils`, with the faster functions of `rnn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import utils as _torch

from seqkit.nn.utils import rnn

__all__ = ["rnn"]

if TYPE_CHECKING:
    from torch.nn.utils import *  # type: ignore[no-redef]  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """What torch has under this name."""
        if not name.startswith("_") and hasattr(_torch, name):
            return getattr(_torch, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
