"""memory.jsonl: written once a step and task, taken back to a step, and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkit.errors import RunError
from seqkit.runs.memory_log import NAME, MemoryLog, read_memory


def record(step: int, task: str = "text", **more: object) -> dict[str, object]:
    return {"step": step, "task": task, **more}


def test_what_is_added_is_read(tmp_path: Path) -> None:
    log = MemoryLog(tmp_path / NAME)
    log.add(record(1, growth=float("inf")))
    log.add(record(1, "other"))
    assert read_memory(tmp_path) == [record(1, growth="Infinity"), record(1, "other")]


def test_a_step_of_a_task_is_written_once(tmp_path: Path) -> None:
    log = MemoryLog(tmp_path / NAME)
    log.add(record(5, growth=1.0))
    log.add(record(5, growth=2.0))
    assert read_memory(tmp_path) == [record(5, growth=1.0)]


def test_rewinding_drops_later_records_and_what_a_crash_has_cut_short(tmp_path: Path) -> None:
    log = MemoryLog(tmp_path / NAME)
    for step in (1, 5, 9):
        log.add(record(step))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"step": 12, "ta')
    again = MemoryLog(tmp_path / NAME)
    again.rewind(5)
    assert (tmp_path / NAME).read_text().count("\n") == 2
    again.add(record(9))
    assert [row["step"] for row in read_memory(tmp_path)] == [1, 5, 9]


def test_a_run_without_measurements_has_no_records(tmp_path: Path) -> None:
    assert read_memory(tmp_path) == []


LINES = ["[1]", "{}", '{"step": "1", "task": "text"}', '{"step": 1, "task": 2}', "nothing", "3"]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_no_run_writes_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / NAME).write_text('{"step": 1, "task": "text"}\n' + line + "\n")
    with pytest.raises(RunError, match=r"memory\.jsonl:2"):
        read_memory(tmp_path)
