"""How fast a run trains, and how much of it is padding."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from seqkit.training.counters import TrainingCounters


class Throughput:
    """Measures tokens a second between two logs. Time in `paused` does not count."""

    def __init__(self) -> None:
        self.since = time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

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
