"""How far a run has come: all counters that resume needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass
class TrainingCounters:
    """How far a run has come: all counters that resume needs, as JSON."""

    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    turn: int = 0
    """Turns of this epoch that are done; the next one is `plan.turns[turn]`."""
    tokens: int = 0
    """Real input steps seen."""
    padded: int = 0
    """Input steps computed, padding counted."""
    logged_tokens: int = 0
    logged_padded: int = 0
    """What the two were at the last log."""
    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    """Evaluations since the best one."""
    to_minimise: list[float] = field(default_factory=list)
    """What each evaluation gave, as a number to minimise: what reduce-on-plateau looks at."""
    evaluated: int = -1
    """The step of the last evaluation."""
    due: bool = False
    """True if the evaluation at this step is still to come: the run was stopped in the middle of it."""
    ended: bool = False
    """True once training stopped by itself (steps, epochs or patience)."""
    skipped: int = 0
    """Steps that were left out because something in them was not finite (train.on_nan: skip)."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint (train.on_nan: rollback)."""
    bad_at: int = -1
    """The last step that was left out, or the step of the checkpoint that was last gone back to."""
    bad_in_row: int = 0
    """How often that has happened in a row."""
    fits: dict[str, int] = field(default_factory=dict)
    """For each task that ran out of memory: the most padded steps worked on at once since then."""
