"""A plan of batches as text."""

from __future__ import annotations

import numpy as np

from seqkit.experiments.batch_plan import GOAL, SHAPES, Plan
from seqkit.io import atomic
from seqkit.types import Index


def histogram(lengths: Index, *, rows: int = 12, width: int = 40) -> list[str]:
    """Lines that show how many examples have how many steps. Each line covers as wide a range of lengths."""
    low, high = int(lengths.min()), int(lengths.max())
    size = max(1, -(-(high - low + 1) // rows))
    counts = np.bincount((lengths - low) // size)
    found = []
    for number, count in enumerate(counts):
        first, last = low + number * size, min(high, low + (number + 1) * size - 1)
        span = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        bar = "#" * max(int(count > 0), round(width * count / counts.max()))
        found.append(f"{span:>16}  {count:>9,}  {bar}".rstrip())
    return found


def table(each: Plan) -> list[str]:
    """The findings about a task, as lines."""
    if each.lanes is not None:
        count, seconds, memory = each.lanes
        cost = f", about {_time(seconds)} an epoch, {atomic.readable(memory)}" if memory else ""
        return [f"{each.task}: a stream in lanes: {count:,} batches of one shape, no padding{cost}"]
    found = [f"{each.task}: {len(each.lengths):,} examples; {each.unit} an example:", *histogram(each.lengths), ""]
    found.append(f"   {'batches':<52} {'number':>8} {'true steps':>10} {'shapes':>6} {'an epoch':>9} {'memory':>9}")
    for number, one in enumerate(each.ways):
        costs = ("-", "-") if one.seconds is None else (_time(one.seconds), atomic.readable(one.memory or 0))
        found.append(
            f"{'->' if number == each.best else '  '} {one.name:<52} {len(one.examples):>8,} {one.valid:>10.3f} "
            f"{one.shapes:>6} {costs[0]:>9} {costs[1]:>9}"
        )
    if not any(one.valid >= GOAL and one.shapes <= SHAPES for one in each.ways):
        nearest = max((one for one in each.ways if one.shapes <= SHAPES), key=lambda one: one.valid, default=None)
        said = "none of them has" if nearest is None else f"{nearest.valid:.3f} is the most that these have with"
        found.append(f"   {GOAL} of true steps with {SHAPES} shapes is not reached: {said} {SHAPES} shapes or fewer")
    return found


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
