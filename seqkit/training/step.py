"""One step's loss and gradients: the batches of a task, each in as many parts as memory asks for.

The loss is a sum and a count, so that a batch in parts has the gradients of the whole; only rounding, and what dropout
draws, are others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqkit import fault_injection
from seqkit.data.task_data import TaskData
from seqkit.interfaces import Batch, State
from seqkit.model import Model
from seqkit.optim.gradients import clear_gradients
from seqkit.runtime import out_of_memory
from seqkit.training import nonfinite_source


@dataclass
class StepResult:
    """What the batches of one step gave; their gradients are in the model.

    Attributes:
        loss: () sum over all of them.
        count: () terms of that sum, at least 1.
        state: what the task's next batch goes on from; None for a task whose batches are each for themselves.
        batches: each with the state it went on from.
        divided: whether the gradients have been divided by the count.
    """

    loss: Tensor
    count: Tensor
    state: State | None
    batches: list[tuple[Batch, State | None]]
    divided: bool


def forward_backward(
    model: Model,
    data: TaskData,
    batches: Sequence[Batch],
    state: State | None,
    fits: dict[str, int],
    autocast: nonfinite_source.Autocast,
    scaler: torch.amp.GradScaler,
    tell: Callable[[str], object],
) -> StepResult:
    """Loss and backward of the batches of one step, all of one task; the gradients are left in the model.

    What does not fit into memory is done again in smaller parts. On a CPU, nothing more is done once a loss is not
    finite.

    Args:
        state: what the first batch goes on from, if it goes on.
        fits: for each task that ran out of memory, the most padded steps at once; what is found here is put in.
        tell: gets a sentence if memory was short.

    Raises:
        RunError: a single example does not fit.
    """
    while True:
        try:
            return _forward_backward_once(model, data, batches, state, fits.get(data.name), autocast, scaler)
        except out_of_memory.OutOfMemory as caught:
            error = caught.forget()
        clear_gradients(model.parameters())
        fits[data.name] = out_of_memory.halved_budget(error, data.name)
        tell(out_of_memory.message(error, data.name, fits[data.name]))


def _forward_backward_once(
    model: Model,
    data: TaskData,
    batches: Sequence[Batch],
    state: State | None,
    fits: int | None,
    autocast: nonfinite_source.Autocast,
    scaler: torch.amp.GradScaler,
) -> StepResult:
    cut = [out_of_memory.row_ranges(batch, fits) for batch in batches]
    # Several parts share one mean, which is known only at the end: until then, gradients are sums.
    whole = len(cut) == 1 and len(cut[0]) == 1
    losses, counts, went_on = [], [], []
    for batch, parts in zip(batches, cut, strict=True):
        before = state if batch.carry else None
        went_on.append((batch, before))
        counted = out_of_memory.integer_buffers(model) if len(parts) > 1 else {}
        states = []
        for number, rows in enumerate(parts):
            part, start = out_of_memory.take_rows(batch, before, rows)
            if number:
                model.load_state_dict(counted, strict=False)
            with out_of_memory.catch_oom(part):
                with autocast():
                    loss, count, encoded = model.loss(data.name, part, start)
                loss = fault_injection.at("loss", loss)
                losses.append(loss.detach())
                counts.append(count)
                if loss.device.type == "cpu" and not math.isfinite(loss.item()):
                    return StepResult(losses[-1], counts[-1], None, went_on, divided=True)
                scale = data.weight * (1.0 / count.clamp(min=1) if whole else 1.0)
                scaler.scale(loss * scale).backward()  # type: ignore[no-untyped-call]
                if data.task.window is not None:
                    states.append(tuple(tensor.detach() for tensor in encoded.state))
        state = out_of_memory.concat_states(states) if states else None
    total, terms = torch.stack(losses).double().sum(), torch.stack(counts).sum()
    return StepResult(total, terms.clamp(min=1), state, went_on, divided=whole)
