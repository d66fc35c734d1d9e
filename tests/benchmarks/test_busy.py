"""The group `busy`: another process keeps a core busy for as long as a round takes."""

from __future__ import annotations

import os

import pytest

from benchmarks.frame import Prepared
from benchmarks.groups import busy


def test_a_core_is_busy_while_a_round_runs_and_no_longer() -> None:
    with busy.busy_core() as process:
        assert process.poll() is None
        assert os.sched_getaffinity(process.pid) == {min(os.sched_getaffinity(0))}
    assert process.returncode is not None


@pytest.mark.parametrize(("hidden", "count"), [(64, 5), (128, 4), (512, 1), (2048, 1)])
def test_a_round_beside_a_busy_core_does_its_work_some_times_and_tells_the_time_of_one(hidden: int, count: int) -> None:
    rounds: list[int] = []
    prepared = busy.beside_busy_core(Prepared(lambda: rounds.append(1), None, {"tokens": 3}), hidden)
    seconds = prepared.run()
    assert seconds is not None
    assert seconds >= 0.0
    assert len(rounds) == count
    assert prepared.notes == {"tokens": 3}
