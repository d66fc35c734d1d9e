"""Weights that were taken from another model: still for some epochs, and slower than the others after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from seqkit.model import Model
from seqkit.settings import InitSettings


@dataclass(frozen=True)
class TransferredWeights:
    """How the weights that a recipe takes from elsewhere are trained.

    Attributes:
        layers: the weights of each layer, from the uppermost one down to the input layer; none of those that are never
            trained.
        freeze: epochs in which they stay as they are.
        lr: what their learning rate is multiplied by.
        layer_decay: what it is multiplied by once more for each layer above.
        thaw: whether one more layer is trained in each epoch after `freeze`.
    """

    layers: Sequence[Sequence[nn.Parameter]] = ()
    freeze: int = 0
    lr: float = 1.0
    layer_decay: float = 1.0
    thaw: bool = False

    @classmethod
    def of(cls, model: Model, init: InitSettings | None) -> Self:
        """Those of the parts that the recipe names, whether or not a resumed run has taken them again."""
        if init is None:
            return cls()
        encoder = encoder_layers(model.encoder) if "encoder" in init.parts else []
        inputs = [_trainable(model.layers)] if "input" in init.parts else []
        layers = [layer for layer in (*reversed(encoder), *inputs) if layer]
        return cls(layers, init.freeze, init.lr, init.layer_decay, init.thaw)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All of them."""
        return [parameter for layer in self.layers for parameter in layer]

    def scale_rates(self, optimizer: torch.optim.Optimizer) -> None:
        """Give them parameter groups of their own, with their learning rates."""
        rates = [self.lr * self.layer_decay**depth for depth in range(len(self.layers))]
        layers: dict[float, set[nn.Parameter]] = {}
        for rate, layer in zip(rates, self.layers, strict=True):
            layers.setdefault(rate, set()).update(layer)
        for rate, transferred in layers.items():
            if rate != 1.0:
                _scale_rate(optimizer, transferred, rate)

    def begin_epoch(self, epoch: int) -> None:
        """Let them be trained, or not, in the epoch of this number, counted from 0."""
        for depth, layer in enumerate(self.layers):
            first = self.freeze + (depth if self.thaw else 0)
            for parameter in layer:
                parameter.requires_grad_(epoch >= first)


def encoder_layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The trainable weights of each layer of an encoder, from the first one up.

    A stack of cells (`cells`, some of them for each of `layers`) is taken apart. What belongs to no cell is of the
    uppermost layer, and another encoder is one layer.
    """
    stacked: Any = encoder
    cells, count = getattr(encoder, "cells", None), getattr(encoder, "layers", None)
    if not isinstance(cells, nn.ModuleList) or not isinstance(count, int) or count < 1 or len(cells) % count:
        return [_trainable(encoder)]
    each = len(cells) // count
    layers = [_trainable(*cells[layer * each : (layer + 1) * each]) for layer in range(count)]
    norms = getattr(stacked, "norms", None)
    if isinstance(norms, nn.ModuleList) and len(norms) == count:
        for layer, norm in zip(layers, norms, strict=True):
            layer += _trainable(norm)
    highway = getattr(stacked, "highway", None)
    if isinstance(highway, nn.ModuleDict) and highway.keys() <= set(map(str, range(count))):
        for number, gate in highway.items():
            layers[int(number)] += _trainable(gate)
    known = {parameter for layer in layers for parameter in layer}
    layers[-1] += [parameter for parameter in _trainable(encoder) if parameter not in known]
    return layers


def _trainable(*modules: nn.Module) -> list[nn.Parameter]:
    return list(dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad))


def _scale_rate(optimizer: torch.optim.Optimizer, transferred: set[nn.Parameter], rate: float) -> None:
    """Give these parameters groups of their own, with the learning rates of their groups times `rate`."""
    for group in list(optimizer.param_groups):
        taken = [parameter for parameter in group["params"] if parameter in transferred]
        if not taken:
            continue
        group["params"] = [parameter for parameter in group["params"] if parameter not in transferred]
        slower = {**group, "params": taken, "lr": group["lr"] * rate}
        if group["params"]:
            optimizer.add_param_group(slower)
        else:
            group.update(slower)
