"""The target of the task `intent-slots`: a label for a sentence and a tag for each of its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Self, final

import numpy as np

from seqkit import JSON, Field, Label, Tags

INTENT: Final = "intent"
SLOTS: Final = "slots"


@final
@dataclass(frozen=True)
class IntentAndSlots(Field):
    """`{"intent": a label, "slots": a list of tags, one for each word}`, as (T, 2) int64: tag and label at each step.

    The label is repeated at each step, so that the target is cut where its input is.

    Args:
        allow_unseen: labels and types of slots that are not in the training data are counted as missed, not refused.
    """

    aligned: ClassVar[bool] = True
    unit = "tags"
    class_unit = "sentences"
    class_score = "intent_accuracy"

    allow_unseen: bool = False
    intents: Label = field(default_factory=Label, repr=False)
    slots: Tags = field(default_factory=lambda: Tags(scheme="iob2"), repr=False)

    def fit(self, values: Iterable[Any]) -> Self:
        pairs = [_both(value) for value in values]
        return replace(
            self,
            intents=Label(allow_unseen=self.allow_unseen).fit(intent for intent, _ in pairs),
            slots=Tags(scheme="iob2", allow_unseen=self.allow_unseen).fit(slots for _, slots in pairs),
        )

    def encode(self, value: Any) -> np.ndarray:
        """Raises ValueError for anything else, tags that break the scheme, or what is unseen and not allowed."""
        intent, slots = _both(value)
        tags = self.slots.encode(slots).astype(np.int64)
        return np.stack([tags, np.full_like(tags, int(self.intents.encode(intent)))], axis=1)

    def decode(self, array: np.ndarray) -> dict[str, Any]:
        rows = np.asarray(array).reshape(-1, 2)
        return {INTENT: self.intents.decode(rows[0, 1]), SLOTS: self.slots.decode(rows[:, 0])}

    def count_classes(self, arrays: Sequence[np.ndarray]) -> Mapping[str, int]:
        """How many sentences have each intent."""
        return self.intents.count_classes([array[0, 1] for array in arrays])

    @property
    def size(self) -> int:
        """How many tags there are."""
        return self.slots.size

    def state(self) -> JSON:
        return {INTENT: self.intents.state(), SLOTS: self.slots.state()}

    def restore(self, state: JSON) -> Self:
        return replace(
            self,
            intents=Label(allow_unseen=self.allow_unseen).restore(state[INTENT]),
            slots=Tags(scheme="iob2", allow_unseen=self.allow_unseen).restore(state[SLOTS]),
        )


def _both(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, Mapping) or set(value) != {INTENT, SLOTS}:
        raise ValueError('should be {"intent": a label, "slots": a list of tags}')
    return value[INTENT], value[SLOTS]
