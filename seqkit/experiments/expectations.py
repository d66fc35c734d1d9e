"""What a recipe expects of its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from seqkit.errors import Problem, RecipeError, name_hint


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

    def judge(self, score: float) -> str:
        """`met` or `NOT MET`."""
        return "met" if self.allows(score) else "NOT MET"

    def __str__(self) -> str:
        sides = (("at least", self.low), ("at most", self.high))
        return ", ".join(f"{side} {limit:g}" for side, limit in sides if limit is not None)


def check_scores_exist(expect: Mapping[str, Mapping[str, float]], scores: Mapping[str, float]) -> None:
    """Raise RecipeError if a recipe expects scores that a run does not have.

    Raises:
        RecipeError: it names them.
    """
    missing = [key for key in expect if key not in scores]
    if missing:
        raise RecipeError(
            [
                Problem(f"expect.{key}", "there is no such score", name_hint(key, sorted(scores), label="this run has"))
                for key in missing
            ]
        )


def unmet(expect: Mapping[str, Mapping[str, float]], scores: Mapping[str, float]) -> list[str]:
    """A sentence for each expectation that the scores do not meet."""
    return [
        f"{key} is {scores[key]:.4f}, expected {bound}"
        for key, words in expect.items()
        if (bound := ExpectedRange.of(words)) is not None and not bound.allows(scores[key])
    ]
