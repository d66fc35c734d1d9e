"""Forward and backward of one optimiser step: the batches of a task, each in as many parts as memory asks for.

A loss is a sum and a count, so a batch in parts has the gradients of the batch as one; only rounding, and what dropout
draws, differ.
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
from seqkit.optim.gradients import clear_gradients, dense_gradients, scale_gradients
from seqkit.runtime import out_of_memory
from seqkit.runtime.random_state import DRAWING
from seqkit.training.state import TrainingState


@dataclass
class StepResult:
    """What forward and backward gave; the gradients are in the model.

    Attributes:
        loss: () sum over all batches.
        count: () terms of that sum, at least 1.
        carried: the state that the task's next batch goes on from; None for a task whose batches are independent.
        batches: each with the state that it went on from.
        budget: padded steps computed at once, where memory is short.
        is_mean: whether the gradients are those of the mean already; else they are still to be divided by the count.
    """

    loss: Tensor
    count: Tensor
    carried: State | None
    batches: list[tuple[Batch, State | None]]
    budget: int | None
    is_mean: bool


def forward_backward(
    state: TrainingState,
    data: TaskData,
    batches: Sequence[Batch],
    tell: Callable[[str], object],
    mark: Callable[[str], object] = lambda phase: None,
) -> StepResult:
    """Loss and backward of the batches of one step, all of one task; the gradients are left in the model.

    What does not fit into memory is done again in smaller parts. On a CPU, nothing more is computed once a loss is not
    finite.

    Args:
        tell: gets a sentence if memory was short.
        mark: told when `forward` and `backward` are over, each time.

    Raises:
        RunError: a single example does not fit.
    """
    with DRAWING:
        return out_of_memory.run_in_parts(
            lambda budget: _forward_backward_within(budget, state, data, batches, mark),
            data.name,
            state.counters.fits,
            tell,
        )


def mean_gradients(state: TrainingState, result: StepResult) -> list[Tensor]:
    """The gradients of the step's mean loss, unscaled and ready to be clipped; those in the model change with them."""
    gradients = dense_gradients(state.parameters)
    state.scaler.unscale_(state.optimizer)
    if not result.is_mean:
        scale_gradients(gradients, 1.0 / result.count)
    fault_injection.at("step", state.model)
    return gradients


def _forward_backward_within(
    budget: int | None,
    state: TrainingState,
    data: TaskData,
    batches: Sequence[Batch],
    mark: Callable[[str], object],
) -> StepResult:
    """Forward and backward with at most `budget` padded steps at once.

    Raises:
        OutOfMemory: a part did not fit.
    """
    clear_gradients(state.parameters)  # of an attempt that did not fit
    model, carried = state.model, state.carried.get(data.name)
    rows_of = [out_of_memory.row_ranges(batch, budget) for batch in batches]
    # Several parts share one mean, whose count is known only at the end: until then, gradients are those of sums.
    is_mean = len(rows_of) == 1 and len(rows_of[0]) == 1
    losses: list[Tensor] = []
    counts: list[Tensor] = []
    with_states: list[tuple[Batch, State | None]] = []
    for batch, row_ranges in zip(batches, rows_of, strict=True):
        before = carried if batch.carry else None
        with_states.append((batch, before))
        buffers = out_of_memory.integer_buffers(model) if len(row_ranges) > 1 else {}
        after = []
        for number, rows in enumerate(row_ranges):
            sub_batch, sub_before = out_of_memory.take_rows(batch, before, rows)
            if number:
                model.load_state_dict(buffers, strict=False)
            with out_of_memory.catch_oom(sub_batch):
                with state.autocast():
                    loss, count, encoded = model.loss(data.name, sub_batch, sub_before)
                loss = fault_injection.at("loss", loss)
                losses.append(loss.detach())
                counts.append(count)
                if loss.device.type == "cpu" and not math.isfinite(loss.item()):
                    return StepResult(losses[-1], counts[-1], None, with_states, budget, is_mean=True)
                mark("forward")
                scale = data.weight * (1.0 / count.clamp(min=1) if is_mean else 1.0)
                state.scaler.scale(loss * scale).backward()  # type: ignore[no-untyped-call]
                mark("backward")
                if data.task.window is not None:
                    after.append(tuple(tensor.detach() for tensor in encoded.state))
        carried = out_of_memory.concat_states(after) if after else None
    if carried is not None and state.settings.on_nan == "skip":
        carried = _finite_or_zero(carried)
    total, terms = torch.stack(losses).double().sum(), torch.stack(counts).sum()
    return StepResult(total, terms.clamp(min=1), carried, with_states, budget, is_mean)


def _finite_or_zero(state: State) -> State:
    """Zero where a state is not finite: those sequences start again instead of spoiling every step after this one."""
    return tuple(tensor.nan_to_num(0.0, 0.0, 0.0) for tensor in state)
