"""A resumed run computes with the threads that it was recorded with, unless the user asks for others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from seqkit.runtime import threads

USUAL = 3


@pytest.fixture(autouse=True)
def _nobody_asks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*threads.VARIABLES, "TORCHELASTIC_RESTART_COUNT", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(USUAL)
    yield
    torch.set_num_threads(before)


def during(recorded: int | None) -> tuple[int, list[str]]:
    """The number of threads of a run with this record, and what was told."""
    sentences: list[str] = []
    with threads.as_recorded(recorded, sentences.append):
        count = torch.get_num_threads()
    assert torch.get_num_threads() == USUAL
    return count, sentences


@pytest.mark.parametrize("recorded", [None, USUAL])
def test_nothing_changes_without_need(recorded: int | None) -> None:
    assert during(recorded) == (USUAL, [])


def test_a_resumed_run_keeps_its_threads_and_says_so() -> None:
    count, sentences = during(1)
    assert count == 1
    assert sentences == ["threads of each process: 1, as this run was recorded with (here it would be 3)"]


def test_more_threads_than_cores_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    count, sentences = during(4)
    assert count == 4
    assert "8 threads on 4 cores" in sentences[1]
    assert "OMP_NUM_THREADS=2 and --accept-changes" in sentences[1]


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_who_sets_a_variable_gets_what_it_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "3")
    assert during(1) == (USUAL, [])


@pytest.mark.parametrize(
    ("processes", "value", "count"),
    [("2", "1", 2), ("2", "3", USUAL), ("1", "1", USUAL)],
    ids=["what torchrun sets", "more than that", "one process, for which torchrun sets nothing"],
)
def test_the_one_thread_of_torchrun_is_not_asked_for(
    processes: str, value: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "TORCHELASTIC_RESTART_COUNT": "0",
        "LOCAL_WORLD_SIZE": processes,
        "OMP_NUM_THREADS": value,
    }.items():
        monkeypatch.setenv(name, text)
    assert during(2)[0] == count
