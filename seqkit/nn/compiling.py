"""What torch.compile does with the modules of this package: nothing. It calls them as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


def outside_graphs(function: _Function) -> _Function:
    """`torch.compiler.disable`: neither the function nor what it calls is traced, so no graph is broken inside it."""
    return cast(_Function, torch.compiler.disable(function))  # type: ignore[no-untyped-call, unused-ignore]
