"""Failures on purpose, to show that a run survives them: `SEQKIT_FAULT=point:kind[:n]`.

    SEQKIT_FAULT=save.write:kill:3 seqkit run my.yaml

kills the process in the middle of the third file that a save writes. `n` says at which visit of the point it happens
(1 if left out; 0: at every visit). The variable is read once, when this module is imported: set later, it does nothing.
Unset, a point costs one look at a global. A run that is made to fail says so in its run.log. Imports no torch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from seqkit.errors import UsageError, suggest

POINTS = {
    "save.open": "before a file of a checkpoint is made",
    "save.write": "in the middle of a file of a checkpoint",
    "save.fsync": "before a file of a checkpoint is made durable",
    "save.rename": "before a finished checkpoint takes its name",
    "save.dirfsync": "before that name is made durable",
    "save.manifest": "in the middle of a checkpoint's manifest",
    "retain.delete": "when an old checkpoint has lost its name and is being deleted",
    "log.flush": "in the middle of a line of metrics.jsonl, and before the numbers are made durable",
    "batch.fetch": "when a training batch has been made",
    "loss": "after the forward pass of a training batch",
    "step": "after the backward pass, before the optimiser's step",
    "eval": "after the forward pass of a batch of an evaluation",
    "report": "after training: before the last scores, and in the middle of each file of the model folder",
}
"""Where it can fail."""

KINDS = {
    "kill": "SIGKILL",
    "term": "SIGTERM",
    "raise": "an error that nobody expects",
    "enospc": "the disk is full",
    "sleep": "it takes half a second longer",
    "nan": "a number that is none",
    "oom": "no memory is left",
    "short_write": "the system takes only half of what it was given",
}
"""How it can fail."""

SLEEP = 0.5
"""Seconds of one `sleep`."""

_WRITES = {"save.write", "save.manifest", "log.flush", "report"}
_DISK = _WRITES | {point for point in POINTS if point.startswith("save.")}
_TENSORS = {"batch.fetch", "loss", "step", "eval"}

T = TypeVar("T")


def impossible(point: str, kind: str) -> str | None:
    """Why nothing can fail in this way at this point, or None if it can."""
    if kind == "short_write" and point not in _WRITES:
        return "nothing is written there"
    if kind == "enospc" and point not in _DISK:
        return "no block of a disk is taken there"
    if kind == "nan" and point not in _TENSORS:
        return "no number is computed there"
    if kind == "oom" and point not in _TENSORS:
        return "nothing large is allocated there"
    return None


class Unexpected(Exception):
    """What `raise` raises: no error of seqkit's own, so nothing is prepared for it."""


@dataclass
class Fault:
    """One failure to come."""

    point: str
    kind: str
    number: int = 1
    """At which visit of the point; 0: at every one."""
    visits: int = 0
    fired: bool = False

    def __str__(self) -> str:
        return f"{self.point}:{self.kind}:{self.number}"


def parse(text: str) -> Fault:
    """`point:kind[:n]`.

    Raises:
        UsageError: no such point or kind, nothing can fail in that way there, or `n` is no number.
    """
    point, _, rest = text.partition(":")
    kind, _, number = rest.partition(":")
    if point not in POINTS:
        raise UsageError(f"SEQKIT_FAULT={text}: no point {point!r}; {suggest(point, POINTS) or ', '.join(POINTS)}")
    if kind not in KINDS:
        raise UsageError(f"SEQKIT_FAULT={text}: no kind {kind!r}; {suggest(kind, KINDS) or ', '.join(KINDS)}")
    if why := impossible(point, kind):
        raise UsageError(f"SEQKIT_FAULT={text}: {why}")
    if number and not (number.isascii() and number.isdecimal()):
        raise UsageError(f"SEQKIT_FAULT={text}: {number!r} is no number of visits; expected {point}:{kind}:3")
    return Fault(point, kind, int(number or 1))


def arm(text: str | None) -> None:
    """Let this failure come (None: none any more). For tests; everybody else sets the variable."""
    global _fault
    _fault = parse(text) if text else None


def announce(tell: Callable[[str], object]) -> None:
    """Say through `tell` that this run is made to fail; it is also told when that happens."""
    global _tell
    if _fault is not None:
        _tell = tell
        tell(f"!!! SEQKIT_FAULT={_fault}: this process is made to fail on purpose; its run proves nothing else")


def waits(point: str) -> bool:
    """Whether a failure is to come at this point."""
    return _fault is not None and _fault.point == point


def at(point: str, value: T = None) -> T:  # type: ignore[assignment]
    """Visit a point: the failure that is to come here, comes. Returns `value`, spoiled if the kind is `nan`.

    A tensor is spoiled in a copy; a batch's inputs and a model's first gradient in place.
    """
    if _fault is None or _fault.point != point:
        return value
    return _strike(_fault, value)


def _strike(fault: Fault, value: T) -> T:
    fault.visits += 1
    if fault.number not in (0, fault.visits):
        return value
    if not fault.fired:
        fault.fired = True
        _tell(f"!!! SEQKIT_FAULT: {fault.kind} at {fault.point}, visit {fault.visits}")
    what = f"{KINDS[fault.kind]} at {fault.point} (SEQKIT_FAULT={fault})"
    match fault.kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "raise":
            raise Unexpected(what)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "sleep":
            time.sleep(SLEEP)
        case "oom":
            from torch import OutOfMemoryError

            raise OutOfMemoryError(what)
        case "nan":
            spoiled: T = _spoiled(value)
            return spoiled
    return value


def _spoiled(value: Any) -> Any:
    """Knows its values by what they have, for torch is not imported here."""
    if hasattr(value, "named_parameters"):
        gradient = next(p.grad for _, p in value.named_parameters() if p.grad is not None)
        gradient = gradient.values() if gradient.is_sparse else gradient
        gradient.view(-1)[0] = float("nan")
        return value
    if hasattr(value, "lengths"):
        if not value.x.is_floating_point():
            raise UsageError(f"SEQKIT_FAULT={_fault}: the inputs of this task are whole numbers, which cannot be NaN")
        value.x.view(-1)[0] = float("nan")
        return value
    return value * float("nan")


def _nobody(sentence: str) -> None:
    print(sentence, file=sys.stderr)


_tell: Callable[[str], object] = _nobody
_fault: Fault | None = parse(os.environ["SEQKIT_FAULT"]) if os.environ.get("SEQKIT_FAULT") else None
