"""Loss sums between two logs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class LossSums:
    """Sums and counts of each task's losses since the last log. They stay on the device until they are logged.

    Args:
        loss_names: for each task, the name of its loss: `loss` or `nats`.
    """

    def __init__(self, loss_names: Mapping[str, str], device: torch.device) -> None:
        self.tensors = {task: torch.zeros(2, dtype=torch.float64, device=device) for task in loss_names}
        self.loss_names = loss_names
        self._zero = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, task: str, loss: Tensor, count: Tensor, is_finite: Tensor) -> None:
        """Add a step's sum () and count (). A step that is not finite is reported on its own and is left out here."""
        # A count on the CPU is a number to a GPU: it goes with the operation, and nothing waits for a copy.
        total, terms = self.tensors[task].unbind()
        total += torch.where(is_finite, loss.double(), self._zero)
        terms += torch.where(is_finite, count.double(), self._zero)

    def add_step(self, by_task: Mapping[str, tuple[Tensor, Tensor]], is_finite: Tensor) -> None:
        """Add the sum and the count of each task of a step."""
        for task, (loss, count) in by_task.items():
            self.add(task, loss, count, is_finite)

    def take_means(self) -> dict[str, float]:
        """`{"task/train/loss": mean}` of each task that had any steps; the sums start again from zero."""
        means = {}
        for task, tensor in self.tensors.items():
            total, count = tensor.tolist()
            if count:
                means[f"{task}/train/{self.loss_names[task]}"] = total / count
            tensor.zero_()
        return means
