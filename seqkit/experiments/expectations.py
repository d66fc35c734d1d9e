"""What a recipe expects of its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ExpectedRange:
    """What a score is expected to be: at least `low`, at most `high`, or between the two."""

    low: float | None
    high: float | None

    @classmethod
    def of(cls, words: Mapping[str, float]) -> ExpectedRange | None:
        """The range in an entry of a recipe's `expect`; None if the entry gives none."""
        low, high = words.get("at_least"), words.get("at_most")
        return None if low is None and high is None else cls(low, high)

    def allows(self, score: float) -> bool:
        return (self.low is None or score >= self.low) and (self.high is None or score <= self.high)

    def __str__(self) -> str:
        sides = (("at least", self.low), ("at most", self.high))
        return ", ".join(f"{side} {limit:g}" for side, limit in sides if limit is not None)
