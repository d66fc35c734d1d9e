"""An optimiser for large tables of vectors that works on the rows that a step read, and on no others.

The gradient of a table is sparse if its layer has the attribute `sparse` set, as in `torch.nn.Embedding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from seqkit.optim.eager import AdamW


@final
class LazyAdamW(AdamW):
    """AdamW that does not change the rows of a table that no batch of the step read: another algorithm than AdamW.

    AdamW changes every weight at each step, also those whose gradient is zero: their moments decay, what is left of the
    first moment still moves them, and they decay themselves. Here a row of a parameter with a sparse gradient keeps its
    weights and moments until it is read again, and is then updated as by AdamW. The bias correction of the moments
    counts the steps of the whole parameter, not how often the row was read. LazyAdam of TensorFlow Addons and
    tensor2tensor does the same, and so does `torch.optim.SparseAdam`, which has no weight decay. The cost of a step is
    that of its rows.

    Parameters with dense gradients, among them a table that a head ties its output weights to, have AdamW's own fused
    step. A table all of whose rows are read at each step has the same weights as under AdamW.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step. There must be no closure: it would have to be called with gradients."""
        assert closure is None
        sparse = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None and parameter.grad.is_sparse
        ]
        for _, parameter, _ in sparse:
            parameter.grad = None
        super().step()
        for group, parameter, gradient in sparse:
            self._step_rows(group, parameter, gradient.coalesce())
            parameter.grad = gradient

    def _step_rows(self, group: dict[str, Any], parameter: Tensor, gradient: Tensor) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        rows, tables = gradient.indices()[0], (parameter, state["exp_avg"], state["exp_avg_sq"])
        weights, first, second = (table.index_select(0, rows) for table in tables)
        adamw(
            [weights],
            [gradient.values()],
            [first],
            [second],
            [],
            [state["step"]],
            fused=True,
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),  # if it is set, nothing changes; the device is not waited for
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for table, values in zip(tables, (weights, first, second), strict=True):
            table.index_copy_(0, rows, values)


def set_sparse_gradients(model: nn.Module, enabled: bool) -> None:
    """Switch sparse gradients on or off in all layers that have an attribute `sparse` (a bool).

    Torch's own embeddings stay as they are: some of their options do not allow sparse gradients.
    """
    for module in model.modules():
        is_torchs = isinstance(module, (nn.Embedding, nn.EmbeddingBag))
        if not is_torchs and isinstance(getattr(module, "sparse", None), bool):
            module.sparse = enabled  # type: ignore[assignment]
