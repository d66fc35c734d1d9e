"""How fast a run trains, and how much of it is padding."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seqkit.training.counters import TrainingCounters

if TYPE_CHECKING:
    pass


class Throughput:
    """Speed and padding since the last log; time spent on anything but training does not count."""

    def __init__(self) -> None:
        self.since = time.perf_counter()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def lap(self, at: TrainingCounters) -> dict[str, float]:
        now = time.perf_counter()
        tokens, padded = at.tokens - at.logged_tokens, at.padded - at.logged_padded
        speed = {"time/tokens_per_s": tokens / max(1e-9, now - self.since), "data/padding": 1 - tokens / max(1, padded)}
        self.since, at.logged_tokens, at.logged_padded = now, at.tokens, at.padded
        return speed
