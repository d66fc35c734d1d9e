"""How fast a run trains, how much of it is padding, and what its time and memory go to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from seqkit.runtime.machine import process_memory
from seqkit.training.counters import TrainingCounters

PHASES = ("data", "forward", "backward", "optimiser")
"""What the time of a step goes to, in this order; what is not in it is logging, checkpoints and evaluations."""


class Throughput:
    """Measures tokens a second between two logs, and the share of the time that each phase takes.

    On a GPU, which works on while Python has gone on, phases are measured in one step of those between two logs, at the
    cost of waiting for the device four times.

    Args:
        device: that the model is trained on.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.since = time.perf_counter()
        self._device = device if device is not None and device.type == "cuda" else None
        self._mark = self._lap = self.since
        self._used = time.process_time()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._evaluation = 0.0
        self._steps = self._measured = 0
        self._is_measured = True

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in here does not count for tokens a second; it is that of evaluation."""
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began
        self._evaluation += time.perf_counter() - began
        self._mark = time.perf_counter()

    def begin(self, *, is_measured: bool) -> None:
        """A step has its data. On a GPU, its phases are measured if `is_measured`; on a CPU they always are."""
        self._steps += 1
        self._is_measured = self._device is None or is_measured
        self._measured += self._is_measured
        if self._is_measured:  # what data are waited for is known without waiting for the device
            self._seconds["data"] += time.perf_counter() - self._mark
        self._restart()

    def mark(self, phase: str) -> None:
        """The time since the last mark was that of a phase."""
        if self._is_measured:
            before = self._mark
            self._restart()
            self._seconds[phase] += self._mark - before

    def end(self) -> None:
        """A step ends; what comes next is the data of the next one."""
        self._mark = time.perf_counter()

    def _restart(self) -> None:
        if self._is_measured and self._device is not None:
            torch.cuda.synchronize(self._device)
        self._mark = time.perf_counter()

    def lap(self, counters: TrainingCounters) -> dict[str, float]:
        """Metrics since the last lap: tokens a second, and the share of padding. Updates what the counters logged."""
        now = time.perf_counter()
        tokens, padded = counters.tokens - counters.logged_tokens, counters.padded - counters.logged_padded
        metrics = {
            "time/tokens_per_s": tokens / max(1e-9, now - self.since),
            "data/padding": 1 - tokens / max(1, padded),
        }
        self.since, counters.logged_tokens, counters.logged_padded = now, counters.tokens, counters.padded
        return metrics

    def resources(self) -> dict[str, float]:
        """Since the last call: the share of time of each phase and of evaluation; cores used; memory in GB."""
        now, used = time.perf_counter(), time.process_time()
        wall = max(1e-9, now - self._lap)
        scale = self._steps / max(1, self._measured)
        shares = {f"time/share in {phase}": seconds * scale / wall for phase, seconds in self._seconds.items()}
        values = {
            **shares,
            "time/share in evaluation": self._evaluation / wall,
            "resources/CPU cores used": (used - self._used) / wall,
            "resources/memory of the process, GB": process_memory() / 1e9,
        }
        if self._device is not None:
            values["resources/most GPU memory so far, GB"] = torch.cuda.max_memory_allocated(self._device) / 1e9
        self._lap, self._used, self._evaluation = now, used, 0.0
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._steps = self._measured = 0
        return values
