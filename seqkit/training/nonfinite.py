"""NaN and infinities: noticed before the optimiser steps, and traced to the examples and the module they came from.

On a CPU a step is looked at at once. A GPU must not be waited for: there the optimiser itself passes over a step whose
loss or gradient is not finite (`found_inf`, as gradient scalers use it), and the answer is looked at a fixed number of
steps later, by which time it has long been known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from seqkit.interfaces import State
from seqkit.training.nonfinite_source import StepRecord

LAG = 4
"""Steps that a GPU may be behind before its answer is waited for."""


class NonFiniteMonitor:
    """Looks at every step, in order, once its answer is known."""

    def __init__(self, device: torch.device) -> None:
        self.at_once = device.type != "cuda"
        """Whether a step's answer is known before the optimiser steps."""
        self.lag = 0 if self.at_once else LAG
        self.waiting: deque[tuple[StepRecord, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, step: StepRecord, fine: Tensor) -> None:
        if fine.device.type != "cuda":
            self.waiting.append((step, fine, None))
            return
        answer = torch.empty((), dtype=torch.bool, pin_memory=True)
        answer.copy_(fine, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        self.waiting.append((step, answer, done))

    def bad(self, *, wait: bool = False) -> Iterator[StepRecord]:
        """Steps that were not finite, of those that may be looked at by now; `wait`: of all."""
        while len(self.waiting) > (0 if wait else self.lag):
            step, answer, done = self.waiting.popleft()
            if done is not None:
                done.synchronize()
            if not bool(answer):
                yield step

    def forget(self) -> None:
        """Nothing of what waits matters any more: the run has gone back to a checkpoint."""
        self.waiting.clear()


def state(found: State) -> State:
    """A state to go on from, zero where it is not finite: such a sequence starts again."""
    return tuple(each.nan_to_num(0.0, 0.0, 0.0) for each in found)
