"""A plan of batches as text."""

from __future__ import annotations

import numpy as np

from seqkit.experiments.batch_plan import SHAPES, VALID, BatchPlan
from seqkit.io import atomic
from seqkit.types import Index


def format_histogram(lengths: Index, *, rows: int = 12, width: int = 40) -> list[str]:
    """Lines that show how many examples have how many steps. Each line covers as wide a range of lengths."""
    low, high = int(lengths.min()), int(lengths.max())
    size = max(1, -(-(high - low + 1) // rows))
    counts = np.bincount((lengths - low) // size)
    lines = []
    for number, count in enumerate(counts):
        first, last = low + number * size, min(high, low + (number + 1) * size - 1)
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        bar = "#" * max(int(count > 0), round(width * count / counts.max()))
        lines.append(f"{span:>16}  {count:>9,}  {bar}".rstrip())
    return lines


def format_plan(plan: BatchPlan) -> list[str]:
    """The choices of a task as the lines of a table, the best marked with an arrow."""
    if plan.lanes is not None:
        count, seconds, memory = plan.lanes
        cost = f", about {_time(seconds)} an epoch, {atomic.format_bytes(memory)}" if memory else ""
        return [f"{plan.task}: a stream in lanes: {count:,} batches of one shape, no padding{cost}"]
    lines = [f"{plan.task}: {len(plan.lengths):,} examples; {plan.unit} an example:"]
    lines += [*format_histogram(plan.lengths), ""]
    lines.append(f"   {'batches':<52} {'number':>8} {'true steps':>10} {'shapes':>6} {'an epoch':>9} {'memory':>9}")
    for number, choice in enumerate(plan.choices):
        seconds_text = "-" if choice.seconds is None else _time(choice.seconds)
        memory_text = "-" if choice.seconds is None else atomic.format_bytes(choice.memory or 0)
        counts = f"{len(choice.examples):>8,} {choice.valid:>10.3f} {choice.shapes:>6}"
        arrow = "->" if number == plan.best else "  "
        lines.append(f"{arrow} {choice.name:<52} {counts} {seconds_text:>9} {memory_text:>9}")
    with_few_shapes = [choice.valid for choice in plan.choices if choice.shapes <= SHAPES]
    if max(with_few_shapes, default=0.0) < VALID:
        best = f"{max(with_few_shapes):.3f} is the best with" if with_few_shapes else "none of these has"
        lines.append(f"   {VALID} of true steps with {SHAPES} shapes is not reached: {best} {SHAPES} shapes or fewer")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
