"""A plan of batches as text."""

from __future__ import annotations

import textwrap
from typing import Final

import numpy as np

from seqkit.experiments.batch_plan import SHAPES, VALID, BatchPlan
from seqkit.io import atomic
from seqkit.types import Index

WIDTH: Final = 80
"""Characters of a line."""


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
    """The choices of a task as the lines of a table, the best marked with an arrow, and what its columns mean."""
    if plan.lanes is not None:
        return _describe_stream(plan.task, *plan.lanes)
    lines = [f"{plan.task}: {len(plan.lengths):,} training examples. How many of them have so many {plan.unit}:"]
    lines += [*format_histogram(plan.lengths), ""]
    names = f"{'batches':>7} {'padding':>7} {'lengths':>7} {'epoch':>7} {'memory':>7}"
    lines.append(f"   {'settings under train:':<36} {names}")
    for number, choice in enumerate(plan.choices):
        seconds_text = "-" if choice.seconds is None else _time(choice.seconds)
        memory_text = "-" if choice.seconds is None else atomic.format_bytes(choice.memory or 0)
        counts = f"{len(choice.examples):>7,} {_percent(1 - choice.valid):>7} {choice.shapes:>7}"
        arrow = "->" if number == plan.best else "  "
        lines.append(f"{arrow} {choice.name:<36} {counts} {seconds_text:>7} {memory_text:>7}")
    sentences = [_verdict(plan), *_EXPLANATIONS]
    with_few_shapes = [choice.valid for choice in plan.choices if choice.shapes <= SHAPES]
    if max(with_few_shapes, default=0.0) < VALID:
        least = f"the least is {_percent(1 - max(with_few_shapes))}" if with_few_shapes else "there is no such row"
        sentences.insert(1, f"No row with {SHAPES} lengths or fewer has under {_percent(1 - VALID)} padding: {least}.")
    return [*lines, "", *(line for sentence in sentences for line in _wrapped(sentence))]


_EXPLANATIONS: Final = (
    "padding: the share of the computed steps that only fill up shorter examples.",
    "lengths: how many different lengths batches are padded to; few of them suit code that is compiled for each.",
    "epoch, memory: one pass over the data and the largest batch, predicted from a few batches on this machine.",
    "batch, tokens: examples, or steps with padding, in a batch. pool: batches whose examples are sorted by length "
    "together; 1: not sorted. shapes: the most lengths that are allowed.",
)
"""What the words of the table mean."""


def _verdict(plan: BatchPlan) -> str:
    """What the arrow says."""
    kind = "the least padding" if plan.choices[0].seconds is None else "the shortest time"
    if plan.best == 0:
        return "-> Leave the recipe as it is: no other row is better by more than 2 %."
    return f"-> {kind}; seqkit plan RECIPE --write writes these settings into the recipe. No score depends on padding."


def _describe_stream(task: str, count: int, seconds: float, memory: int) -> list[str]:
    """A task that is read in windows, as sentences."""
    cost = f" An epoch takes about {_time(seconds)} on this machine, a batch {atomic.format_bytes(memory)}."
    return _wrapped(
        f"{task}: the training text is one stream, read in windows side by side: {count:,} batches of one size without "
        f"padding, so there is nothing to choose.{cost if memory else ''}"
    )


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
