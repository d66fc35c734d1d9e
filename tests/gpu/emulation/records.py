"""What an emulated GPU has seen: troubles by where they come from, and operations by the step that dispatched them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

Trouble: TypeAlias = Literal["wait", "pageable copy", "not contiguous", "not deterministic", "two devices"]
"""wait: the CPU waits for the device. pageable copy: from memory that is not page-locked."""

SOURCES = ("/seqkit/", "/seqkit_")

MEASURING = ("gradient_flow/", "training/throughput.py", "kernels/triton_choice.py", "training/step_graphs.py")
"""What looks at a step now and then, or compares kernels or graphs at their first use: it waits on purpose."""


@dataclass
class Records:
    """What was seen.

    Attributes:
        phase: what the program is doing; set by whoever drives it.
        troubles: how often, by (trouble, phase, where, operation).
        has_lines: whether operations are counted by the line of seqkit that made them as well; that takes time.
        operations: what the phase "step" dispatched since its beginning, by name; views are not counted.
        lines: the same by (line, name), if `has_lines`.
        views: how many views it made.
        steps: `operations` of each step that has ended.
        step_lines: `lines` of each.
        read_backs: read-backs that a program makes on purpose, by phase.
        refuse: told of each wait; raises an error within the capture of a graph.
    """

    phase: str = "start"
    troubles: Counter[tuple[Trouble, str, str, str]] = field(default_factory=Counter)
    has_lines: bool = False
    operations: Counter[str] = field(default_factory=Counter)
    lines: Counter[tuple[str, str]] = field(default_factory=Counter)
    views: int = 0
    steps: list[Counter[str]] = field(default_factory=list)
    step_lines: list[Counter[tuple[str, str]]] = field(default_factory=list)
    read_backs: Counter[str] = field(default_factory=Counter)
    refuse: Callable[[str], None] = lambda operation: None

    def note(self, trouble: Trouble, operation: str) -> None:
        if trouble == "wait":
            self.refuse(operation)
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
            if self.has_lines:
                self.lines[forward_caller() or caller(), name] += 1

    def begin_step(self) -> None:
        self.phase, self.operations, self.lines = "step", Counter(), Counter()

    def end_step(self) -> None:
        if self.phase == "step":
            self.steps.append(self.operations)
            self.step_lines.append(self.lines)
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
        ranked = sorted(range(len(self.steps)), key=lambda step: self.steps[step].total())
        median = ranked[len(ranked) // 2 :][:1]
        return {
            "troubles": [[*key, count] for key, count in sorted(self.troubles.items())],
            "read_backs": dict(self.read_backs),
            "steps": [step.total() for step in self.steps],
            "operations": dict(self.steps[median[0]].most_common()) if median else {},
            "lines": [[*key, count] for step in median for key, count in sorted(self.step_lines[step].items())],
        }


def caller() -> str:
    """The innermost line of seqkit or of a plugin on the stack."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if is_ours(name):
            return place(name, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return "?"


def forward_caller() -> str:
    """In a backward pass, the line whose operation is being differentiated; else empty.

    Torch keeps the stack of the forward pass where anomalies are looked for. A function with a backward pass of its own
    is on the stack that `caller` looks at.
    """
    node = torch._C._current_autograd_node()
    if node is None or node.name().endswith(("LayerBackward", "KernelLossBackward", "LogPartitionBackward")):
        return ""
    stack = node.metadata.get("traceback_") or []
    for entry in reversed(stack):
        if (seen := re.match(r'  File "(.+)", line (\d+), in (\S+)', entry)) and is_ours(seen[1]):
            return place(seen[1], int(seen[2]), seen[3]) + ", backward"
    return f"{node.name()}"


def is_ours(name: str) -> bool:
    """Whether a file is one of seqkit or of a plugin."""
    return any(source in name for source in SOURCES) and "site-packages/torch" not in name and "/tests/" not in name


def place(name: str, line: int, function: str) -> str:
    """A line of a file, short."""
    return f"{name.rsplit('/', 2)[-2]}/{name.rsplit('/', 1)[-1]}:{line} {function}"
