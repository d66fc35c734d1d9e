"""Loss sums between two logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    pass


class LossSums:
    """Loss sums and counts of each task since the last log, on the device: nothing is read until it is logged."""

    def __init__(self, names: Mapping[str, str], device: torch.device) -> None:
        self.tensors = {name: torch.zeros(2, dtype=torch.float64, device=device) for name in names}
        self.names = names

    def add(self, task: str, loss: Tensor, count: Tensor, fine: Tensor) -> None:
        """A step's sums, if they are finite: what is not is told on its own and hidden in no mean."""
        new = torch.stack([loss.double(), count.to(loss.device).double()])
        self.tensors[task] += torch.where(fine, new, 0.0)

    def take(self) -> dict[str, float]:
        """Mean loss of each task that had any, and start again."""
        means = {}
        for task, tensor in self.tensors.items():
            total, count = tensor.tolist()
            if count:
                means[f"{task}/train/{self.names[task]}"] = total / count
            tensor.zero_()
        return means
