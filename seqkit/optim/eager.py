"""Torch's optimisers without torch's compiler, whose import takes as long as half of torch."""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch

OptimizerType = TypeVar("OptimizerType", bound=type[torch.optim.Optimizer])

METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


def eager(cls: OptimizerType) -> OptimizerType:
    """Decorate a subclass of one of torch's optimisers, so that it does not import `torch._dynamo`.

    Torch wraps the methods of its optimisers in ones that import the compiler, to tell it that it should not compile
    them; `step` is wrapped so that it computes without gradients. In the subclass they are the methods inside, and
    `step` is under `torch.no_grad()`. Its option `differentiable` has no effect then.
    """
    for name in METHODS:
        setattr(cls, name, inspect.unwrap(getattr(cls, name)))
    cls.step = torch.no_grad()(inspect.unwrap(cls.step))  # type: ignore[method-assign]
    return cls


@eager
class AdamW(torch.optim.AdamW):
    """Torch's AdamW."""


@eager
class Adam(torch.optim.Adam):
    """Torch's Adam."""


@eager
class SGD(torch.optim.SGD):
    """Torch's SGD."""
