"""torchrun itself: it starts a run of two processes, and starts it again when one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqkit.io import atomic
from seqkit.runs import comparison

OVERRIDES = [
    "tasks.sentiment.sizes=[90,33,21]",
    "encoder.dim=8",
    "encoder.hidden=12",
    "encoder.output_dropout=0.3",
    "train.steps=20",
    "train.save_every=4",
    "train.evaluate_every=10",
]


def torchrun(folder: Path, *options: str, fault: str = "") -> tuple[int, str]:
    """The exit code and the output of a run of two processes in this folder."""
    module = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *options, "-m", "seqkit"]
    sets = [word for override in OVERRIDES for word in ("--set", override)]
    environment = {**os.environ, "SEQKIT_FAULT": fault, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*module, "run", "sentiment", *sets, "--out", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_torchrun_goes_on_after_each_kill_and_ends_alike(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, output = torchrun(whole)
    assert code == 0, output
    code, output = torchrun(killed, "--max-restarts", "3", fault="step:kill:10@1")
    assert code == 0, output
    assert output.count("started again by torchrun") == 2, output
    assert "another process has ended" in output
    assert atomic.read_json(killed / "status.json")["resumed"] == 2
    assert list(comparison.find_differences(comparison.read(whole), comparison.read(killed))) == []


@pytest.mark.slow
def test_torchrun_does_not_take_a_run_that_was_there_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    code, output = torchrun(folder, "--max-restarts", "1")
    assert code == 1
    assert output.count("the folder is not empty") == 2, "once for each start"
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
