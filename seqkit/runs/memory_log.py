"""memory.jsonl: what was measured about memory through time, one line of JSON for each measurement.

docs/memory.md says what the keys mean. A resumed run drops the lines after its checkpoint and writes them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.types import JSON

NAME: Final = "memory.jsonl"


class MemoryLog:
    """Appends to memory.jsonl, and takes it back to a step.

    Attributes:
        records: all that is in the file, in order.

    Args:
        path: of the file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[dict[str, JSON]] = _parse(path, _lines(path))

    def add(self, record: Mapping[str, JSON]) -> None:
        """Append a record, unless its task has one at this or a later step.

        Raises:
            OSError: it cannot be written.
        """
        if any(old["task"] == record["task"] and old["step"] >= record["step"] for old in self.records):
            return
        self.records.append(dict(record))
        atomic.append(self._path, atomic.dump_json(record) + "\n")

    def rewind(self, step: int) -> None:
        """Remove records after `step`, and an incomplete last line.

        Raises:
            OSError: it cannot be written.
        """
        self.records = [record for record in self.records if record["step"] <= step]
        if self._path.is_file():
            lines = [atomic.dump_json(record) + "\n" for record in self.records]
            atomic.write(self._path, "".join(lines).encode())


def read_memory(folder: Path) -> list[dict[str, JSON]]:
    """The records of a run folder's memory.jsonl, in order; empty where nothing was measured.

    The last record of a task is the newest, and its `advice` looks back on those before it. An incomplete last line is
    left out.

    Raises:
        RunError: a line is not what a run writes.
    """
    return _parse(folder / NAME, _lines(folder / NAME))


def _lines(path: Path) -> list[bytes]:
    """The complete lines of the file."""
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def _parse(path: Path, lines: list[bytes]) -> list[dict[str, JSON]]:
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if (
                not isinstance(record, dict)
                or not isinstance(record["step"], int)
                or not isinstance(record["task"], str)
            ):
                raise TypeError
        except (ValueError, RecursionError, KeyError, TypeError):
            raise RunError(f"{path}:{number}: is not a line that a run writes; put the file back as it was") from None
        records.append(record)
    return records
