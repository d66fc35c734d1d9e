"""The gradient norms of training: how often they are clipped, and which of them are spikes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from seqkit.types import JSON

REMEMBERED = 64
"""Norms that a median is taken of."""
NEEDED = 16
"""So many must be known before a norm can be a spike."""
FACTOR = 5.0
"""A norm more than so many times the median is a spike."""
MOST_SPIKES = 10
"""Spikes between two measurements that are written down."""


@dataclass
class TaskNorms:
    """The norms of one task's steps.

    Attributes:
        recent: the newest, in order.
        steps: how many there were since the last measurement.
        clipped: how many of those were longer than the limit.
        largest: the largest of those.
        spikes: those among them, as a record has them.
    """

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    steps: int = 0
    clipped: int = 0
    largest: float = 0.0
    spikes: list[dict[str, JSON]] = field(default_factory=list)


class GradientNorms:
    """The norms of all tasks.

    Args:
        clip: the limit of `train.clip`; None: there is none.
    """

    def __init__(self, clip: float | None) -> None:
        self.clip = clip
        self._tasks: dict[str, TaskNorms] = {}

    def add(self, task: str, step: int, norm: float) -> dict[str, JSON] | None:
        """Count a step's norm, before clipping. Returns its entry under `spikes` if it is one that is written down."""
        norms = self._tasks.setdefault(task, TaskNorms())
        usual = median(norms.recent) if len(norms.recent) >= NEEDED else math.inf
        norms.recent.append(norm)
        norms.steps += 1
        norms.clipped += self.clip is not None and norm > self.clip
        norms.largest = max(norms.largest, norm)
        if not norm > FACTOR * usual or len(norms.spikes) == MOST_SPIKES:
            return None
        norms.spikes.append({"step": step, "norm": norm, "median": usual, "example": None, "position": None})
        return norms.spikes[-1]

    def has_source(self, task: str) -> bool:
        """Whether the example behind one of the task's spikes since the last measurement is known."""
        return any(spike["example"] is not None for spike in self._tasks[task].spikes)

    def take(self, task: str) -> dict[str, JSON]:
        """`{"norms": ..., "spikes": ...}` of a record; counting starts again."""
        norms = self._tasks.setdefault(task, TaskNorms())
        summary = {
            "steps": norms.steps,
            "median": median(norms.recent) if norms.recent else None,
            "largest": norms.largest if norms.steps else None,
            "clip": self.clip,
            "clipped": norms.clipped / norms.steps if norms.steps else None,
        }
        taken = {"norms": summary, "spikes": norms.spikes}
        norms.steps, norms.clipped, norms.largest, norms.spikes = 0, 0, 0.0, []
        return taken

    def state(self) -> JSON:
        """Everything that is counted, for a checkpoint."""
        return {task: {**vars(norms), "recent": list(norms.recent)} for task, norms in self._tasks.items()}

    def restore(self, state: Mapping[str, JSON]) -> None:
        """Count on from what `state` returned."""
        self._tasks = {
            task: TaskNorms(**{**values, "recent": deque(values["recent"], maxlen=REMEMBERED)})
            for task, values in state.items()
        }
