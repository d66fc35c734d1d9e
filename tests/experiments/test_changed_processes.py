"""A run as a user starts it, who sets no number of threads: stopped, and resumed with another number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqkit.io import atomic
from seqkit.runs import checkpoint
from seqkit.runtime.machine import usable_cores
from seqkit.runtime.threads import VARIABLES

OVERRIDES = [
    *("tasks.sentiment.sizes=[90,33,21]", "encoder.dim=8", "encoder.hidden=12", "encoder.output_dropout=0.3"),
    *("train.steps=8", "train.save_every=4", "train.evaluate_every=4", "train.shards=2"),
]
STARTS = {
    "alone": ["-m", "seqkit", "run"],
    "nproc": ["-m", "seqkit", "run", "--nproc", "2"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "seqkit", "run"],
}


def start(how: str, *arguments: str, fault: str = "", threads: str | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a run of the recipe `sentiment` that is started in one of three ways."""
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment |= {"SEQKIT_FAULT": fault, **({} if threads is None else {"OMP_NUM_THREADS": threads})}
    command = [sys.executable, *STARTS[how], *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout, done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.newest(folder / "checkpoints", repair=False)
    assert newest is not None
    return dict(checkpoint.load(newest)[0]["model"])


@pytest.mark.skipif(usable_cores() < 2, reason="with one core a process has one thread, however many there are")
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("nproc", "alone"),
        pytest.param("alone", "nproc", marks=pytest.mark.slow),
        pytest.param("alone", "torchrun", marks=pytest.mark.slow),
        pytest.param("torchrun", "alone", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_with_the_threads_it_was_recorded_with(first: str, then: str, tmp_path: Path) -> None:
    folder, uninterrupted = tmp_path / "run", tmp_path / "uninterrupted"
    sets = [word for override in OVERRIDES for word in ("--set", override)]
    code, _, errors = start(first, "sentiment", *sets, "--out", str(folder), fault="step:term:3")
    assert code != 0
    assert atomic.read_json(folder / "status.json")["state"] == "interrupted", errors

    code, _, errors = start(then, "--resume", str(folder))
    assert code == 0, errors
    assert not (folder / "changes.json").exists()

    recorded = atomic.read_json(folder / "origin.json")["environment"]["torch"]["threads"]
    code, _, errors = start("alone", "sentiment", *sets, "--out", str(uninterrupted), threads=str(recorded))
    assert code == 0, errors
    expected = weights(uninterrupted)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in weights(folder).items())


def test_a_warning_is_printed_by_one_process(tmp_path: Path) -> None:
    texts = tmp_path / "mood.tsv"
    lines = [f"{'good' if i % 2 else 'bad'} film number {i % 7}\t{'pos' if i % 2 else 'neg'}" for i in range(60)]
    texts.write_text("\n".join(lines) + "\n")
    recipe = tmp_path / "mood.yaml"
    recipe.write_text(
        "tasks: {mood: {use: sentiment, folder: ., train: mood.tsv, dev: mood.tsv, test: null}}\n"
        "encoder: {use: gru, dim: 8, hidden: 8}\ntrain: {steps: 2, batch: 8}\n"
    )
    code, _, errors = start("nproc", str(recipe), "--out", str(tmp_path / "run"))
    assert code == 0, errors
    warnings = [line for line in errors.splitlines() if "dev" in line and "train" in line]
    assert warnings, errors
    assert len(warnings) == len(set(warnings)), errors
