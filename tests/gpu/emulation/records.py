"""What an emulated GPU has seen: troubles by where they come from, and operations by the step that dispatched them."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Trouble: TypeAlias = Literal["wait", "pageable copy", "not contiguous", "not deterministic", "two devices"]
"""wait: the CPU waits for the device. pageable copy: from memory that is not page-locked."""

SOURCES = ("/seqkit/", "/seqkit_")

MEASURING = ("gradient_flow/", "training/throughput.py")
"""What looks at a step now and then: it waits on purpose."""


@dataclass
class Records:
    """What was seen.

    Attributes:
        phase: what the program is doing; set by whoever drives it.
        troubles: how often, by (trouble, phase, where, operation).
        operations: what the phase "step" dispatched since its beginning, by name; views are not counted.
        views: how many views it made.
        steps: `operations` of each step that has ended.
        waits_allowed: read-backs that a program makes on purpose, by phase.
    """

    phase: str = "start"
    troubles: Counter[tuple[Trouble, str, str, str]] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    views: int = 0
    steps: list[Counter[str]] = field(default_factory=list)
    read_backs: Counter[str] = field(default_factory=Counter)

    def note(self, trouble: Trouble, operation: str) -> None:
        where = caller()
        phase = "measurement" if where.startswith(MEASURING) else self.phase
        self.troubles[trouble, phase, where, operation] += 1

    def count(self, name: str, *, is_view: bool) -> None:
        if self.phase != "step":
            return
        if is_view:
            self.views += 1
        else:
            self.operations[name] += 1

    def begin_step(self) -> None:
        self.phase, self.operations = "step", Counter()

    def end_step(self) -> None:
        if self.phase == "step":
            self.steps.append(self.operations)
        self.phase = "between steps"

    def of(self, trouble: Trouble, *phases: str) -> list[str]:
        """The troubles of a kind in these phases (none: in all), as lines."""
        return [
            f"{phase}: {operation} at {where} ({count} times)"
            for (kind, phase, where, operation), count in sorted(self.troubles.items())
            if kind == trouble and (not phases or phase in phases)
        ]

    def facts(self) -> dict[str, object]:
        """As JSON."""
        median = sorted(self.steps, key=Counter.total)[len(self.steps) // 2] if self.steps else Counter[str]()
        return {
            "troubles": [[*key, count] for key, count in sorted(self.troubles.items())],
            "read_backs": dict(self.read_backs),
            "steps": [step.total() for step in self.steps],
            "operations": dict(median.most_common()),
        }


def caller() -> str:
    """The innermost line of seqkit or of a plugin on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if any(source in name for source in SOURCES) and "site-packages/torch" not in name and "/tests/" not in name:
            return f"{name.rsplit('/', 2)[-2]}/{name.rsplit('/', 1)[-1]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"
