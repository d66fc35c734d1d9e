"""NaN and infinities in a step, noticed before the optimiser applies it.

On a CPU the answer is there at once. A GPU must not be waited for: there the optimiser itself skips a step whose loss
or gradient is not finite (`found_inf`, as gradient scalers use it), and the answer is read some steps later, by which
time the device has long computed it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from seqkit.training.step import StepResult

LAG = 4
"""Steps that may pass on a GPU before a step's answer is waited for."""


@dataclass(eq=False)
class StepRecord:
    """An optimiser step, kept until it is known to be finite.

    Attributes:
        number: counted from 1.
        task: whose batches it was made of.
        result: of its forward and backward.
        norm: () of the gradient.
        is_scaled: whether a gradient scaler is at work.
        bad_gradients: parameters whose gradient is not finite, where that was looked at.
    """

    number: int
    task: str
    result: StepResult
    norm: Tensor
    is_scaled: bool = False
    bad_gradients: list[str] = field(default_factory=list)

    @cached_property
    def is_finite(self) -> Tensor:
        """() bool on the device.

        With a gradient scaler only the loss counts: now and then a scaler makes infinite gradients, skips the step
        itself, and lowers its scale.
        """
        total = self.result.loss if self.is_scaled else self.result.loss + self.norm
        # NaN and infinities do not equal themselves less themselves: fewer operations than `isfinite`, which a GPU
        # computes in four, for each of the two.
        return (total - total) == 0.0

    def __str__(self) -> str:
        """What is not finite, in words."""
        loss = float(self.result.loss)
        if not math.isfinite(loss):
            return f"the loss of task {self.task} is {loss}"
        return f"the gradient of task {self.task} has the norm {float(self.norm)}"


class NonFiniteMonitor:
    """Checks every step, in order, and says which were not finite once that is known.

    Attributes:
        is_immediate: whether a step's answer is known before the optimiser applies the step.
        lag: steps that may still be unanswered after a check.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_immediate = device.type != "cuda"
        self.lag = 0 if self.is_immediate else LAG
        self.pending: deque[tuple[StepRecord, Tensor, torch.cuda.Event | None]] = deque()

    def check(self, record: StepRecord, optimizer: torch.optim.Optimizer) -> list[StepRecord]:
        """Look at a step before the optimiser applies it; returns the steps that are now known not to be finite.

        Where the answer comes later, the optimiser is told to skip the step by itself if it is not finite.
        """
        if record.is_finite.device.type == "cuda":
            answer = torch.empty((), dtype=torch.bool, pin_memory=True)
            answer.copy_(record.is_finite, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            self.pending.append((record, answer, copied))
        else:
            self.pending.append((record, record.is_finite, None))
        if not self.is_immediate and not record.is_scaled:
            optimizer.found_inf = (~record.is_finite).float()  # type: ignore[attr-defined]
        return self.failed()

    def failed(self, *, wait: bool = False) -> list[StepRecord]:
        """Steps that were not finite, of those whose answer should be known by now; with `wait`, of all."""
        failed = []
        while len(self.pending) > (0 if wait else self.lag):
            record, answer, copied = self.pending.popleft()
            if copied is not None:
                copied.synchronize()
            if not bool(answer):
                failed.append(record)
        return failed
