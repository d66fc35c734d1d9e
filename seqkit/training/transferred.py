"""Weights that were taken from another model: still for some epochs, and slower than the others after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from seqkit.model import Model
from seqkit.settings import InitSettings


@dataclass(frozen=True)
class TransferredWeights:
    """How the weights that a recipe takes from elsewhere are trained.

    Attributes:
        parameters: the weights; none of those that are never trained.
        freeze: epochs in which they stay as they are.
        lr: what their learning rate is multiplied by.
    """

    parameters: Sequence[nn.Parameter] = ()
    freeze: int = 0
    lr: float = 1.0

    @classmethod
    def of(cls, model: Model, init: InitSettings | None) -> Self:
        """Those of the parts that the recipe names, whether or not a resumed run has taken them again."""
        if init is None:
            return cls()
        parts: dict[str, nn.Module] = {"input": model.layers, "encoder": model.encoder}
        parameters = dict.fromkeys(p for part in init.parts for p in parts[part].parameters() if p.requires_grad)
        return cls(list(parameters), init.freeze, init.lr)

    def scale_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Give them parameter groups of their own, with their learning rate."""
        if self.lr == 1.0 or not self.parameters:
            return
        transferred = set(self.parameters)
        for group in list(optimizer.param_groups):
            taken = [parameter for parameter in group["params"] if parameter in transferred]
            if not taken:
                continue
            group["params"] = [parameter for parameter in group["params"] if parameter not in transferred]
            slower = {**group, "params": taken, "lr": group["lr"] * self.lr}
            if group["params"]:
                optimizer.add_param_group(slower)
            else:
                group.update(slower)

    def begin_epoch(self, epoch: int) -> None:
        """Let them be trained, or not, in the epoch of this number, counted from 0."""
        for parameter in self.parameters:
            parameter.requires_grad_(epoch >= self.freeze)
