"""Whether tasks that share examples want the same of the encoder: the angles between their gradients at its output."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from seqkit.gradient_flow.undisturbed import undisturbed
from seqkit.interfaces import Batch, Encoded
from seqkit.model import Model


def gradient_cosines(model: Model, task: str, batch: Batch) -> dict[tuple[str, str], float]:
    """The cosine of the gradients of two tasks' losses at the encoder's output, for each pair of tasks.

    1: a step that helps one task helps the other as much as it can. 0: they have nothing to do with each other. Below
    0: they conflict (Yu et al. 2020, Gradient Surgery for Multi-Task Learning). A gradient of zero has the cosine 0.
    Losses are sums over the batch, without dropout. The model and all random states are left as they were.

    Args:
        model: any encoder.
        task: whose inputs the batch has; the other tasks are in its `also`.
        batch: some examples, on the model's device.
    """
    with undisturbed(model, model.device):
        with torch.no_grad():
            encoded = model.encode(task, batch)
        gradients = {task: _output_gradient(model, task, batch, encoded)}
        for other in batch.also:
            gradients[other] = _output_gradient(model, other, batch.of(other), encoded)
    return {pair: _cosine(gradients[pair[0]], gradients[pair[1]]) for pair in combinations(gradients, 2)}


def _output_gradient(model: Model, task: str, batch: Batch, encoded: Encoded) -> Tensor:
    """(N,) the gradient of a task's loss at each step's output, and at the state if the head starts from it.

    A sequence's last output is also that of a step; what the head sends there is added to what it sends to the step.
    """

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_()

    steps, last = leaf(encoded.steps), leaf(encoded.last)
    state = tuple(map(leaf, encoded.state))
    with torch.enable_grad():
        loss, _ = model.head(task).loss(Encoded(steps, encoded.lengths, last, lambda: state), batch)
        of_steps, of_last, *of_state = torch.autograd.grad(loss, [steps, last, *state], allow_unused=True)
    total = torch.zeros_like(steps) if of_steps is None else of_steps.clone()
    if of_last is not None:
        rows, ends = torch.arange(len(total)), encoded.lengths - 1
        # Of a backward direction the last output is that of the first step.
        is_end = encoded.last == encoded.steps[rows, ends]
        total[rows, ends] += of_last * is_end
        total[:, 0] += of_last * ~is_end
    parts = [total, *(torch.zeros_like(s) if g is None else g for s, g in zip(state, of_state, strict=True))]
    return torch.cat([part.double().flatten() for part in parts])


def _cosine(gradient: Tensor, other: Tensor) -> float:
    lengths = gradient.norm() * other.norm()
    return float(gradient @ other / lengths) if lengths > 0 else 0.0
