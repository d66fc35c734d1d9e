"""Row-wise work for large tables of vectors: gradients of the rows that were read alone, and an optimiser for them.

The gradient of a table is sparse where its layer has `sparse` set, as `torch.nn.Embedding` knows it. Whoever looks at
gradients looks at their numbers, `values_of`, which for a sparse one are those of its rows: all others are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw


@final
class LazyAdamW(torch.optim.AdamW):
    """AdamW that leaves alone the rows of a table that no batch of the step read: another algorithm, named as such.

    AdamW moves every weight at each step, those with a gradient of zero too: their moments fade, what is left in the
    first one still moves them, and they decay. Here a row of a parameter whose gradient is sparse keeps weights and
    moments until it is read again; then it is worked on as AdamW does, the correction of the moments' start being that
    of the whole parameter's steps, not of how often the row was read. That is what LazyAdam of TensorFlow Addons and
    tensor2tensor does, and `torch.optim.SparseAdam`, which knows no weight decay. A step costs what its rows cost.

    Parameters with dense gradients, among them a table that a head ties its output weights to, have AdamW's own fused
    step. A table all of whose rows are read at each step ends where AdamW ends.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step. A closure, which would have to be called with gradients, is not served."""
        assert closure is None
        held = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in held:
            parameter.grad = None
        super().step()
        for group, parameter, gradient in held:
            self._step_rows(group, parameter, gradient.coalesce())
            parameter.grad = gradient

    def _step_rows(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        rows, whole = gradient.indices()[0], (parameter, state["exp_avg"], state["exp_avg_sq"])
        weights, first, second = (tensor.index_select(0, rows) for tensor in whole)
        adamw(
            [weights],
            [gradient.values()],
            [first],
            [second],
            [],
            [state["step"]],
            fused=True,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),  # then nothing moves, and there was no waiting to find out
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for tensor, part in zip(whole, (weights, first, second), strict=True):
            tensor.index_copy_(0, rows, part)


def set_sparse_gradients(model: nn.Module, wanted: bool) -> None:
    """Let the layers that can (they have a `sparse` of their own) give gradients of rows, or no longer.

    Torch's own embeddings are left as their author made them: not all of their options go with it.
    """
    for module in model.modules():
        own = not isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        if own and isinstance(getattr(module, "sparse", None), bool):
            module.sparse = wanted  # type: ignore[assignment]
