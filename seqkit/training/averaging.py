"""Averages of the weights over steps: exponential moving ones, and plain means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from seqkit.model import Model


class AveragedWeights:
    """An average of the weights over steps.

    With a decay, an exponential moving average (Polyak and Juditsky 1992, doi:10.1137/0330046). Without one, the plain
    mean of the weights after each step since `begin`; before that, the weights themselves (stochastic weight averaging;
    Izmailov et al. 2018, arXiv:1803.05407).

    Args:
        decay: share of the average that a step keeps; early steps keep less, so that the initial weights fade soon.
            None: a plain mean.

    Attributes:
        count: steps in the plain mean; None: it has not begun.
    """

    def __init__(self, model: Model, decay: float | None) -> None:
        self.model, self.decay = model, decay
        self.count: int | None = None
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    def begin(self) -> None:
        """The plain mean begins with the weights after the next step, unless it has begun."""
        if self.decay is None and self.count is None:
            self.count = 0

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the model's weights after optimiser step `step`. Integer buffers are copied."""
        share = self._share_of_new(step)
        current = self.model.state_dict()
        averaged = [name for name, tensor in self.weights.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.weights[n] for n in averaged], [current[n] for n in averaged], share)
        for name, tensor in self.weights.items():
            if not tensor.is_floating_point():
                tensor.copy_(current[name])

    def _share_of_new(self, step: int) -> float:
        if self.decay is not None:
            return 1 - min(self.decay, (1 + step) / (10 + step))
        if self.count is None:
            return 1.0
        self.count += 1
        return 1.0 / self.count

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the model has the averaged weights."""
        current = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)
        try:
            yield
        finally:
            self.model.load_state_dict(current)
