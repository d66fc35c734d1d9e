"""Types of the options that heads share, and options that exclude each other. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

Pool: TypeAlias = Literal["last", "mean", "max", "attention"]
"""How many steps become one vector: see `Pooling`."""


Softmax: TypeAlias = Literal["full", "adaptive"]
"""How the probability of the next symbol is worked out: over all symbols at once, or by clusters of them."""


Search: TypeAlias = Literal["greedy", "beam"]
"""How a text is found: the best symbol at each step, or the best texts among several."""


def contradiction(
    *, tied: bool, label_smoothing: float, softmax: Softmax, cutoffs: Sequence[int], **others: object
) -> str:
    """What of the options of `language` cannot be had together; empty: nothing."""
    if softmax == "full":
        return "cutoffs: are for softmax: adaptive" if cutoffs else ""
    if tied:
        return "tied: the vectors of an adaptive softmax are of several widths; take tied: false, or softmax: full"
    if label_smoothing:
        return (
            "label_smoothing: would need all symbols at each step, which an adaptive softmax saves; take 0, or "
            "softmax: full"
        )
    if not all(before < after for before, after in zip((0, *cutoffs), cutoffs, strict=False)):
        return f"cutoffs: must rise, got {', '.join(map(str, cutoffs))}"
    return ""
