"""How far a run has come: all counters that resume needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from seqkit.interfaces import Batch


@dataclass
class TrainingCounters:
    """How far a run has come. The fields are keys of a checkpoint's state.json, so they keep their names."""

    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    """Epochs finished."""
    turn: int = 0
    """Turns of this epoch that are done; the next one is `plan.turns[turn]`."""
    tokens: int = 0
    """Input steps seen, padding not counted."""
    padded: int = 0
    """Input steps computed, padding counted."""
    logged_tokens: int = 0
    """`tokens` at the last log."""
    logged_padded: int = 0
    """`padded` at the last log."""
    best: float | None = None
    """The best score so far."""
    best_loss: float | None = None
    """The loss with it, which decides between equal scores; None in checkpoints of earlier versions."""
    best_step: int | None = None
    """The step that had both."""
    waited: int = 0
    """Evaluations since the score was last better than before."""
    to_minimise: list[float] = field(default_factory=list)
    """The score of each evaluation, its sign such that less is better: reduce-on-plateau looks at it."""
    evaluated: int = -1
    """The step of the last evaluation."""
    due: bool = False
    """True if this step's evaluation is still to be made: the run was stopped in the middle of it."""
    ended: bool = False
    """True once training has ended by itself (steps, epochs or patience)."""
    skipped: int = 0
    """Steps that were skipped because something in them was not finite (train.on_nan: skip)."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint (train.on_nan: rollback)."""
    bad_at: int = -1
    """The last skipped step, or the step of the checkpoint of the last rollback."""
    bad_in_row: int = 0
    """How often that has happened in a row."""
    fits: dict[str, int] = field(default_factory=dict)
    """For each task that ran out of memory: the most padded steps computed at once since then."""

    def add_step(self, batches: Sequence[Batch]) -> None:
        """Count an optimiser step made of these batches."""
        self.step, self.turn = self.step + 1, self.turn + 1
        self.tokens += sum(batch.tokens for batch in batches)
        self.padded += sum(batch.lengths.numel() * batch.x.shape[1] for batch in batches)

    def failures(self) -> dict[str, float]:
        """Metrics that count skipped steps and rollbacks; those that are 0 are left out."""
        counts = {"train/skipped": float(self.skipped), "train/rollbacks": float(self.rollbacks)}
        return {name: count for name, count in counts.items() if count}
