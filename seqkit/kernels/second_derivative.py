"""Second derivatives of functions whose first derivative is written out by hand.

A backward pass in C++ records no graph. Under `create_graph=True` (gradient penalties, Hessian products) such a
function is computed once more in plain PyTorch, and that is differentiated: slower, but right to any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def differentiate_with_graph(
    function: Callable[..., Tensor | Sequence[Tensor]], inputs: Sequence[Tensor | None], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradient of each input, with a graph of its own, for the backward pass of an autograd function.

    Args:
        function: the same function in differentiable operations.
        inputs: its arguments. They must come from `ctx.saved_tensors`, or the graph would end here.
        grads: the gradient of each result; None: zero.
    """
    with torch.enable_grad():
        # Views, so that a tensor that is given twice has a gradient for each of its places.
        views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        results = function(*views)
        results = (results,) if isinstance(results, Tensor) else results
        pairs = [
            (result, grad)
            for result, grad in zip(results, grads, strict=True)
            if grad is not None and result.requires_grad
        ]
        needed = [number for number, view in enumerate(views) if view is not None and view.requires_grad]
        gradients: list[Tensor | None] = [None] * len(views)
        if pairs and needed:
            outputs, output_grads = zip(*pairs, strict=True)
            wanted = [views[number] for number in needed]
            values = torch.autograd.grad(outputs, wanted, output_grads, create_graph=True, allow_unused=True)  # type: ignore[arg-type]
            for number, value in zip(needed, values, strict=True):
                gradients[number] = value
    return gradients
