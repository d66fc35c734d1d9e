"""Failures on purpose, to show that a run survives them: `SEQKIT_FAULT=point:kind[:n][@rank]`.

    SEQKIT_FAULT=save.write:kill:3 seqkit run my.yaml

kills the process in the middle of the third file that a save writes. The failure happens at the n-th visit of the point
(default 1; 0: at every visit); of several processes, in the one of that rank alone. The variable is read once, when
this module is imported; later changes have no effect.
If it is not set, a visit only reads a global variable. run.log says that the failure is on purpose. Imports no torch.
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
    "save.open": "before a file of a checkpoint is created",
    "save.write": "in the middle of a file of a checkpoint",
    "save.fsync": "before a file of a checkpoint is made durable",
    "save.rename": "before a complete checkpoint gets its name",
    "save.dirfsync": "before that name is made durable",
    "save.manifest": "in the middle of a checkpoint's manifest",
    "retain.delete": "when an old checkpoint has lost its name and is being deleted",
    "log.flush": "in the middle of a line of metrics.jsonl, and before the numbers are made durable",
    "batch.fetch": "after a training batch was made",
    "loss": "after the forward pass of a training batch",
    "step": "after the backward pass, before the optimiser's step",
    "eval": "after the forward pass of a batch of an evaluation",
    "report": "after training: before the last scores, and in the middle of each file of the model folder",
}
"""Where a failure can happen."""

KINDS = {
    "kill": "SIGKILL",
    "term": "SIGTERM",
    "raise": "an unexpected error",
    "enospc": "the disk is full",
    "sleep": "a delay of half a second",
    "nan": "a value that is not a number",
    "oom": "out of memory",
    "short_write": "the system writes only half",
}
"""The kinds of failure."""

SLEEP_SECONDS = 0.5
"""The delay of `sleep`."""

_WRITE_POINTS = {"save.write", "save.manifest", "log.flush", "report"}
_DISK_POINTS = _WRITE_POINTS | {point for point in POINTS if point.startswith("save.")}
_TENSOR_POINTS = {"batch.fetch", "loss", "step", "eval"}

T = TypeVar("T")


def why_impossible(point: str, kind: str) -> str | None:
    """Why there is no such failure at this point; None if there is one."""
    if kind == "short_write" and point not in _WRITE_POINTS:
        return "nothing is written there"
    if kind == "enospc" and point not in _DISK_POINTS:
        return "no disk space is used there"
    if kind == "nan" and point not in _TENSOR_POINTS:
        return "no number is computed there"
    if kind == "oom" and point not in _TENSOR_POINTS:
        return "nothing large is allocated there"
    return None


class Unexpected(Exception):
    """What the kind `raise` raises: not an error of seqkit's, so no code handles it."""


@dataclass
class Fault:
    """A failure that is to happen."""

    point: str
    kind: str
    number: int = 1
    """The visit of the point at which it happens; 0: every visit."""
    rank: str = ""
    """Of several processes, the one that fails; empty: each that comes there."""
    visits: int = 0
    fired: bool = False

    def __str__(self) -> str:
        return f"{self.point}:{self.kind}:{self.number}"


def parse(text: str) -> Fault:
    """`point:kind[:n][@rank]`.

    Raises:
        UsageError: the point or kind does not exist, they are not possible together, or `n` is not a number.
    """
    text, _, rank = text.partition("@")
    point, _, rest = text.partition(":")
    kind, _, number = rest.partition(":")
    if point not in POINTS:
        raise UsageError(f"SEQKIT_FAULT={text}: no point {point!r}; {suggest(point, POINTS) or ', '.join(POINTS)}")
    if kind not in KINDS:
        raise UsageError(f"SEQKIT_FAULT={text}: no kind {kind!r}; {suggest(kind, KINDS) or ', '.join(KINDS)}")
    if why := why_impossible(point, kind):
        raise UsageError(f"SEQKIT_FAULT={text}: {why}")
    if number and not (number.isascii() and number.isdecimal()):
        raise UsageError(f"SEQKIT_FAULT={text}: {number!r} is not a number of visits; write {point}:{kind}:3")
    return Fault(point, kind, int(number or 1), rank)


def arm(text: str | None) -> None:
    """Let this failure happen; None cancels it. For tests: everything else sets the variable."""
    global _fault
    fault = parse(text) if text else None
    _fault = None if fault is not None and fault.rank not in ("", os.environ.get("RANK", "0")) else fault


def announce(tell: Callable[[str], object]) -> None:
    """Say through `tell` that this process will fail on purpose, and say so again when it does."""
    global _tell
    if _fault is not None:
        _tell = tell
        tell(f"!!! SEQKIT_FAULT={_fault}: this process will fail on purpose")


def is_armed(point: str) -> bool:
    """Whether a failure is to happen at this point."""
    return _fault is not None and _fault.point == point


def at(point: str, value: T = None) -> T:  # type: ignore[assignment]
    """Visit a point: a failure that is to happen here happens. Returns `value`, with a NaN in it for the kind `nan`.

    A tensor is multiplied by NaN in a copy; the first input of a batch and the first gradient of a model are set in
    place.
    """
    if _fault is None or _fault.point != point:
        return value
    return _fail(_fault, value)


def _fail(fault: Fault, value: T) -> T:
    fault.visits += 1
    if fault.number not in (0, fault.visits):
        return value
    if not fault.fired:
        fault.fired = True
        _tell(f"!!! SEQKIT_FAULT: {fault.kind} at {fault.point}, visit {fault.visits}")
    message = f"{KINDS[fault.kind]} at {fault.point} (SEQKIT_FAULT={fault})"
    match fault.kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "raise":
            raise Unexpected(message)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "sleep":
            time.sleep(SLEEP_SECONDS)
        case "oom":
            from torch import OutOfMemoryError

            raise OutOfMemoryError(message)
        case "nan":
            with_nan: T = _put_nan(value)
            return with_nan
    return value


def _put_nan(value: Any) -> Any:
    """The value with a NaN in it. Types are recognised by their attributes, because torch is not imported here."""
    if hasattr(value, "named_parameters"):
        gradient = next(p.grad for _, p in value.named_parameters() if p.grad is not None)
        gradient = gradient.values() if gradient.is_sparse else gradient
        gradient.view(-1)[0] = float("nan")
        return value
    if hasattr(value, "lengths"):
        if not value.x.is_floating_point():
            raise UsageError(f"SEQKIT_FAULT={_fault}: the inputs of this task are integers, which cannot be NaN")
        value.x.view(-1)[0] = float("nan")
        return value
    return value * float("nan")


def _print_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr)


_tell: Callable[[str], object] = _print_stderr
_fault: Fault | None = None
arm(os.environ.get("SEQKIT_FAULT"))
