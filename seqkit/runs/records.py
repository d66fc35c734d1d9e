"""What a run folder says of a run, finished or not: its scores and its numbers by step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seqkit.errors import RunError, UsageError
from seqkit.io import atomic
from seqkit.types import JSON

_STATUS_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(("state", "stage", "name", "started", "heartbeat", "host", "boot", "reason", "chosen_by"), str),
    **dict.fromkeys(("pid", "pid_started", "resumed", "steps", "best_step", "parameters", "peak_memory"), int),
    "warnings": list,
}
"""Of the values in status.json, where they are not null."""


def is_run_folder(folder: Path) -> bool:
    """Whether this is a run folder."""
    return (folder / "status.json").is_file() and (folder / "resolved.yaml").is_file()


def read_status(folder: Path) -> dict[str, JSON]:
    """What status.json says; empty if there is none."""
    status = atomic.read_json(folder / "status.json")
    return status if isinstance(status, dict) else {}


def check_status(path: Path, status: JSON) -> dict[str, JSON]:
    """What status.json says, which others may have written.

    Raises:
        UsageError: it is no object, or a value of it is not of its type.
    """
    if not isinstance(status, dict):
        raise UsageError(f"{path}: is not what a run writes; put the file back as it was")
    for key, value in status.items():
        if value is not None and not isinstance(value, _STATUS_TYPES.get(key, object)):
            shown = json.dumps(value)
            message = f"{key} is {shown if len(shown) <= 60 else shown[:57] + '...'}, which no run writes"
            raise UsageError(f"{path}: {message}; put the file back as it was")
    return status


def read_scores(folder: Path) -> dict[str, float]:
    """The scores of the best checkpoint; until the run has finished, those on dev so far."""
    if read_status(folder).get("state") == "finished":
        return read_final_scores(folder)
    from seqkit.runs import checkpoint  # imports torch, which a check of a folder has no time for

    best = checkpoint.read_pointer(folder / "checkpoints", "best")
    rows = [] if best is None else [row for row in read_history(folder) if row["step"] == checkpoint.step_of(best)]
    return {name: value for row in rows for name, value in row.items() if "/dev/" in name}


def read_final_scores(folder: Path) -> dict[str, float]:
    """The scores of a run that has finished.

    Raises:
        RunError: metrics.json is not what a run writes.
    """
    path = folder / "metrics.json"
    row = atomic.read_json(path)
    try:
        if not isinstance(row, Mapping):
            raise TypeError
        return {name: float(value) for name, value in row.items()}
    except (TypeError, ValueError, OverflowError):
        raise RunError(f"{path}: is not what a run writes; put the file back as it was") from None


def read_history(folder: Path) -> list[dict[str, float]]:
    """The numbers of metrics.jsonl, a mapping for each step, in order. An incomplete last line is left out."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    by_step: dict[int, dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        try:
            row = _numbers(json.loads(line))
            by_step.setdefault(int(row["step"]), {}).update(row)
        except (ValueError, RecursionError, KeyError, TypeError, OverflowError):
            raise RunError(f"{path}:{number}: is not a line that a run writes; put the file back as it was") from None
    return [by_step[step] for step in sorted(by_step)]


def _numbers(row: JSON) -> dict[str, float]:
    """A row of numbers; NaN and infinities are texts in the files of a run."""
    if not isinstance(row, Mapping):
        return {}
    return {key: float(value) if isinstance(value, str) else value for key, value in row.items() if value is not None}
