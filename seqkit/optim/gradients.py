"""Gradients of a model's parameters: gathered, measured, scaled, clipped and cleared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def dense_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The numbers of all gradients, to be changed in place. What a row got from several places is added up first."""
    found = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            gradient = parameter.grad = gradient.coalesce()
        found.append(gradient_values(gradient))
    return found


def clear_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """No gradients any more."""
    for parameter in parameters:
        parameter.grad = None


def gradient_values(gradient: Tensor) -> Tensor:
    """The numbers of a gradient: itself, or (R, ...) the rows that a sparse one holds."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """() of all numbers together, as `torch.nn.utils.get_total_norm` has it of tensors of one kind on one device."""
    if not gradients:
        return torch.tensor(0.0)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return norm


def scale_gradients(gradients: Sequence[Tensor], by: Tensor) -> None:
    """Multiply all gradients by a number ()."""
    torch._foreach_mul_(list(gradients), by)


def clip_gradients(gradients: Sequence[Tensor], longest: float | None, norm: Tensor) -> None:
    """Scale gradients whose norm is larger than `longest` down to it."""
    if longest is None or not gradients:
        return
    share = (longest / (norm + 1e-6)).clamp(max=1.0)
    if share.device.type == "cpu" and share == 1.0:
        return
    # Elsewhere it is not asked whether it is larger: a GPU would be waited for.
    torch._foreach_mul_(list(gradients), share)
