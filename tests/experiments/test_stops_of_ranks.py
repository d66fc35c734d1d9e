"""Several processes end together: asked to stop, short of disk, or with data that cannot be read. None waits on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit import fault_injection
from seqkit.errors import DataError, Problem
from seqkit.experiments import run_recipe
from seqkit.io import atomic
from seqkit.runtime.ranks import Ranks
from tests.experiments.test_ranks import numbers_alone, result, run  # noqa: F401  numbers_alone is a fixture
from tests.helpers.together import outcomes, together

SECONDS = 100
"""Far more than it takes; a process that hangs is found out."""


def ends(results: list[tuple[bool, Any]]) -> list[str]:
    """The names of the errors that the processes ended with."""
    assert not any(succeeded for succeeded, _ in results)
    return sorted(error[0] for _, error in results)


@pytest.mark.parametrize(
    "victims", [{1}, pytest.param({0}, marks=pytest.mark.slow), pytest.param({0, 1}, marks=pytest.mark.slow)]
)
def test_a_run_that_is_asked_to_stop_ends_and_goes_on(victims: set[int], tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run("sentiment", whole, sets=("train.shards=2",))

    def start(ranks: Ranks) -> None:
        fault_injection.arm("step:term:3" if ranks.rank in victims else None)
        run("sentiment", stopped, ranks, sets=("train.shards=2",))

    results = outcomes(2, start, seconds=SECONDS)
    assert ends(results) == ["Interrupted", "QuietExit"]
    status = atomic.read_json(stopped / "status.json")
    assert status["state"] == "interrupted"
    assert "after step 3" in status["reason"] or "after step 4" in status["reason"]
    together(2, lambda ranks: run("sentiment", stopped, ranks, resume=True, sets=("train.shards=2",)))
    expected, scores = result(whole)
    weights, resumed_scores = result(stopped)
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
    assert resumed_scores == scores


def test_a_stop_before_an_evaluation_of_fewer_batches_than_processes_ends_all(tmp_path: Path) -> None:
    """All know of it when the evaluation begins, and one of them has nothing to evaluate."""
    sets = ("train.evaluate_every=4", "train.save_every=4")

    def start(ranks: Ranks) -> None:
        fault_injection.arm("step:term:3")
        run("sentiment", tmp_path / "run", ranks, sets=sets)

    assert ends(outcomes(2, start, seconds=SECONDS)) == ["Interrupted", "QuietExit"]
    assert atomic.read_json(tmp_path / "run" / "status.json")["state"] == "interrupted"
    together(2, lambda ranks: run("sentiment", tmp_path / "run", ranks, resume=True, sets=sets))
    assert (tmp_path / "run" / "model" / "MANIFEST.json").is_file()


def test_a_full_disk_ends_all_and_one_says_so(tmp_path: Path) -> None:
    def start(ranks: Ranks) -> None:
        fault_injection.arm("save.write:enospc:2" if ranks.is_first else None)
        run("sentiment", tmp_path / "run", ranks)

    results = outcomes(2, start, seconds=SECONDS)
    assert ends(results) == ["QuietExit", "RunError"]
    assert "disk full" in results[0][1][1]
    assert atomic.read_json(tmp_path / "run" / "status.json")["state"] == "failed"


@pytest.mark.parametrize("rank", [0, 1])
def test_data_that_one_process_cannot_read_end_all(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_recipe.prepare_data

    def start(ranks: Ranks) -> None:
        def prepare(*arguments: Any, **options: Any) -> Any:
            if ranks.rank == rank:
                raise DataError(Problem("data.txt:3", "not a label"))
            return real(*arguments, **options)

        monkeypatch.setattr(run_recipe, "prepare_data", prepare)
        run("sentiment", tmp_path / "run", ranks)

    results = outcomes(2, start, seconds=SECONDS)
    assert ends(results) == ["DataError", "QuietExit"]
    assert results[rank][1][1] == "data.txt:3: not a label"
    assert atomic.read_json(tmp_path / "run" / "status.json")["state"] == "failed"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_while_data_are_prepared_stops_all(rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run_recipe.prepare_data

    def start(ranks: Ranks) -> None:
        def prepare(*arguments: Any, **options: Any) -> Any:
            if ranks.rank == rank:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments, **options)

        monkeypatch.setattr(run_recipe, "prepare_data", prepare)
        run("sentiment", tmp_path / "run", ranks)

    results = outcomes(2, start, seconds=SECONDS)
    assert ends(results) == ["Interrupted", "QuietExit"]
    assert atomic.read_json(tmp_path / "run" / "status.json")["state"] in ("interrupted", "failed")
