"""metrics.jsonl: one line of JSON for each step at which numbers are logged, each name at most once per step."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from seqkit.io import atomic
from seqkit.regular_files import open_regular

RESERVED = ("step", "epoch", "time")
"""Keys of a line that are not metrics."""


class MetricsLog:
    """Appends to metrics.jsonl, and takes it back to a step.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_steps: dict[str, int] = {}

    def add(self, step: int, values: Mapping[str, float], epoch: float | None) -> bool:
        """Append `{"step", "epoch", "time", ...values}`, without values whose name has one at this or a later step.

        Returns:
            Whether there was anything to append.

        Raises:
            OSError: it cannot be written.
        """
        if clash := [name for name in RESERVED if name in values]:
            raise ValueError(f"a metric may not be called {clash[0]!r}")
        values = {name: value for name, value in values.items() if self._last_steps.get(name, -1) < step}
        if not values:
            return False
        self._last_steps.update(dict.fromkeys(values, step))
        row = {"step": step, "epoch": epoch, "time": round(time.time(), 3), **values}
        line = atomic.dump_json(row) + "\n"
        atomic.append(self._path, line, point="log.flush")
        return True

    def rewind(self, step: int) -> int:
        """Remove lines after `step`, and incomplete ones; returns how many.

        Raises:
            OSError: it cannot be written.
        """
        lines = [line for line in self._read().split(b"\n") if line]
        remaining = [line for line in lines if _is_up_to(line, step)]
        rows = [json.loads(line) for line in remaining]
        self._last_steps = {name: row["step"] for row in rows for name in row if name not in RESERVED}
        if lines:
            atomic.write(self._path, b"".join(line + b"\n" for line in remaining))
        return len(lines) - len(remaining)

    def _read(self) -> bytes:
        try:
            with open_regular(self._path) as file:
                return file.read()
        except FileNotFoundError:
            return b""


def _is_up_to(line: bytes, last_step: int) -> bool:
    """Whether this is a complete line about a step up to `last_step`."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(step, int) and step <= last_step
