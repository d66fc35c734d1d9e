"""Gradients of a model's parameters, dense or sparse: collect, measure, scale, clip and clear them.

The gradient of a large table of vectors may be sparse: it then holds the rows that a step read, all others being zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def dense_gradients(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """The values of all gradients, to be changed in place. Values that a sparse one has for the same row are summed."""
    values = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            gradient = parameter.grad = gradient.coalesce()
        values.append(gradient_values(gradient))
    return values


def clear_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Remove all gradients."""
    for parameter in parameters:
        parameter.grad = None


def gradient_values(gradient: Tensor) -> Tensor:
    """The numbers that a gradient holds: itself, or (R, ...) the R rows of a sparse one."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def global_norm(gradients: Sequence[Tensor]) -> Tensor:
    """() the norm of all gradients together (0 if there are none), as `torch.nn.utils.get_total_norm` computes it."""
    if not gradients:
        return torch.tensor(0.0)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(gradients))))
    return norm


def scale_gradients(gradients: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply all gradients by a number (), in place."""
    torch._foreach_mul_(list(gradients), factor)


def clip_gradients(gradients: Sequence[Tensor], max_norm: float | None, norm: Tensor) -> None:
    """Scale gradients of norm () down to `max_norm`, in place, if they are longer than that."""
    if max_norm is None or not gradients:
        return
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    if factor.device.type == "cpu" and factor == 1.0:
        return
    # On a GPU a factor of 1 is applied too: to read it would mean to wait for the device.
    torch._foreach_mul_(list(gradients), factor)
