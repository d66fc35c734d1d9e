"""What `Model.predict` gives for an input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seqkit.types import JSON


@dataclass(frozen=True, slots=True)
class Result:
    """What a model predicts for one input, or why it predicts nothing.

    Attributes:
        id: `inputs[0]`, `inputs[1]`, ...; for a file, the place in it (`new.tsv:17`).
        input: the text or the words that were read; None for arrays and recordings.
        value: the prediction, of the same kind as the targets of the training data; None if there is an error.
        confidence: the model's probability of `value`; a list with one number a step if `value` is a sequence.
        probabilities: of each label, the most probable one first; empty if the task has no labels.
        scores: all that the head gives beside, as the command `seqkit predict` prints it.
        error: why the input cannot be used; an empty text if it can.
    """

    id: str
    input: JSON
    value: Any
    confidence: float | list[float] | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    scores: JSON = None
    error: str = ""

    @property
    def spans(self) -> list[dict[str, Any]]:
        """Spans of a tagged text: `type`, `start` and `end` in steps, `confidence`, and where the text is known
        `start_char`, `end_char` and `text`. Empty if there are none.
        """
        spans = self.scores.get("spans") if isinstance(self.scores, Mapping) else None
        return [dict(span) for span in spans or ()]

    def top(self, count: int = 5) -> list[tuple[Any, float]]:
        """The most probable labels, or the best texts or tags, each with its probability."""
        if self.probabilities:
            return list(self.probabilities.items())[:count]
        best = self.scores
        if isinstance(best, Mapping):
            best = best.get("best") or best.get("nbest")
        if isinstance(best, list | tuple):
            pairs = [
                (item["value"], item["confidence"]) if isinstance(item, Mapping) else item for item in best[:count]
            ]
            return [(value, probability) for value, probability in pairs]
        return [(self.value, self.confidence)] if isinstance(self.confidence, float) else []

    def _repr_html_(self) -> str:
        from seqkit.api.display import html_spans, html_table

        if self.error:
            return html_table(self.id, {"error": self.error})
        facts = {} if self.input is None else {"input": self.input}
        confidence = self.confidence if isinstance(self.confidence, float) else None
        facts |= {"value": self.value} | ({} if confidence is None else {"confidence": confidence})
        if len(self.probabilities) > 1:
            facts |= {f"p({label})": probability for label, probability in self.top()}
        table = html_table(self.id, facts)
        spans = [span for span in self.spans if "start_char" in span]
        return html_spans(self.input, spans) + table if spans and isinstance(self.input, str) else table


def labels_of(scores: JSON, target: Any) -> dict[str, float]:
    """The probability of each label in the scores of a prediction, the most probable one first.

    Args:
        scores: of a prediction. With a probability for each step, that of the last one counts.
        target: the fitted target field.
    """
    labels = None if target.aligned else getattr(target, "labels", None)
    if labels is None or not isinstance(scores, Mapping) or set(scores) - set(labels):
        return {}
    last = {label: value[-1] if isinstance(value, list | tuple) else value for label, value in scores.items()}
    return dict(sorted(last.items(), key=lambda item: -item[1]))
