"""Whole runs of several processes: the same weights for every task, and resuming with another number of them."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqkit import fault_injection
from seqkit import recipe as recipes
from seqkit.errors import QuietExit, RunError
from seqkit.experiments.run_recipe import run_recipe
from seqkit.runs import checkpoint
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.runs.tensorboard import Board
from seqkit.runtime import environment
from seqkit.runtime.ranks import ALONE, Ranks
from seqkit.verification.resume import verify_resume
from tests.helpers.together import launch_forked, outcomes, together

SMALL = {
    "sentiment": ["tasks.sentiment.sizes=[90,33,21]", "encoder.hidden=12", "encoder.output_dropout=0.3"],
    "charlm": ["encoder.hidden=16", "encoder.output_dropout=0.3", "train.batch=6"],
    "ner": ["tasks.ner.char_hidden=4", "encoder.hidden=12", "encoder.input_dropout=0.3"],
    "speech": ["encoder.hidden=12", "encoder.output_dropout=0.3"],
    "names": [
        "tasks.names.head.hidden=16",
        "tasks.names.head.embedding=8",
        "tasks.names.head.dropout=0.3",
        "tasks.names.head.drop=0.2",
    ],
}
"""Each with dropout."""

LENGTH = [
    "train.steps=6",
    "train.evaluate_every=3",
    "train.save_every=2",
    "train.log_every=2",
    "train.histograms=false",
    "encoder.dim=8",
]


def run(name: str, folder: Path, ranks: Ranks = ALONE, *, resume: bool = False, sets: tuple[str, ...] = ()) -> None:
    """Train the small version of a recipe in this folder, or resume it."""
    torch.set_num_threads(1)
    checked = recipes.load(name, (*SMALL[name], *LENGTH, *sets))
    held = None
    if ranks.is_first:
        text, resolved = checked.text, checked.resolved()
        held = Run.resume(folder) if resume else Run.create(name, text=text, resolved=resolved, out=folder)
    ranks.wait()
    with Progress(quiet=True) as progress:
        run_recipe(checked, held or Run.follow(folder), progress, resume=resume, ranks=ranks)


def result(folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The weights of the last checkpoint, and the final scores."""
    newest = checkpoint.newest(folder / "checkpoints", repair=False)
    assert newest is not None
    tensors, _ = checkpoint.load(newest)
    return dict(tensors["model"]), json.loads((folder / "metrics.json").read_text())


def compare(name: str, sizes: tuple[int, ...], tmp_path: Path) -> None:
    for sets in ((), ("train.shards=4",)):
        alone = tmp_path / f"alone{len(sets)}"
        run(name, alone, sets=sets)
        weights, scores = result(alone)
        for size in sizes:
            folder = tmp_path / f"together-{len(sets)}-{size}"
            together(size, lambda ranks, folder=folder, sets=sets: run(name, folder, ranks, sets=sets))
            others, other_scores = result(folder)
            assert others.keys() == weights.keys()
            for key, tensor in weights.items():
                if sets:
                    assert torch.equal(others[key], tensor), (size, key)
                else:
                    assert torch.allclose(others[key].double(), tensor.double(), atol=1e-6), (size, key)
            if sets:
                assert other_scores == scores
            assert (folder / "model" / "MANIFEST.json").is_file()


def test_a_run_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    compare("sentiment", (2,), tmp_path)


@pytest.fixture(autouse=True)
def numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without pictures, and without the list of installed packages: they take most of the time of a short run."""
    monkeypatch.setattr(Board, "picture", lambda *arguments, **options: None)
    monkeypatch.setattr(environment, "packages", dict)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_every_number_of_processes_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    compare(name, (2, 3, 4), tmp_path)


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run("charlm", whole, sets=("train.shards=3",))

    def die(ranks: Ranks) -> Any:
        fault_injection.arm("step:raise:4" if ranks.rank == 1 else None)
        try:
            run("charlm", parts, ranks, sets=("train.shards=3",))
        except (fault_injection.Unexpected, RunError, QuietExit) as error:
            return type(error).__name__
        return None

    assert together(2, die) == ["RankLost", "Unexpected"]
    together(3, lambda ranks: run("charlm", parts, ranks, resume=True, sets=("train.shards=3",)))
    expected, scores = result(whole)
    weights, resumed_scores = result(parts)
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
    assert resumed_scores == scores


@pytest.mark.slow
def test_runs_that_lose_a_process_end_alike(tmp_path: Path) -> None:
    overrides = [*SMALL["sentiment"], "encoder.dim=8"]
    certificate = verify_resume("sentiment", overrides, kills=4, steps=12, seed=2, folder=tmp_path / "v", nproc=2)
    assert certificate.equal, str(certificate)
    assert len(certificate.kills) >= 2


def _start_to_be_killed(
    name: str, folder: Path, sets: tuple[str, ...], victim: int, fault: str | None, resume: bool, ranks: Ranks
) -> None:
    fault_injection.arm(fault if ranks.rank == victim else None)
    run(name, folder, ranks, resume=resume, sets=sets)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_fifty_kills_of_random_processes_end_alike(name: str, tmp_path: Path) -> None:
    """Ten for each task: SIGKILL to one process, and on with any number of them, until the run has ended."""
    sets = ("train.shards=4", "train.steps=24", "train.save_every=2", "train.evaluate_every=8")
    run(name, tmp_path / "whole", sets=sets)
    expected, scores = result(tmp_path / "whole")
    rng = random.Random(name)
    kills, runs, size = 0, 0, 2
    while kills < 10 or (tmp_path / f"killed{runs}").exists():
        folder, victim = tmp_path / f"killed{runs}", rng.randrange(size)
        fault = (
            f"{rng.choice(('step', 'loss', 'loss'))}:kill:{rng.randint(1, 3)}" if rng.random() < 0.8 else "eval:kill"
        )
        start = partial(_start_to_be_killed, name, folder, sets, victim, fault if kills < 10 else None, folder.exists())
        results = outcomes(size, start, seconds=600)
        if all(succeeded for succeeded, _ in results):
            weights, resumed_scores = result(folder)
            assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
            assert resumed_scores == scores
            runs += 1
        else:
            kills += 1
            assert results[victim] == (False, ("", "", "")), "it was killed"
            for rank, (succeeded, error) in enumerate(results):
                assert rank == victim or (not succeeded and error[0] in ("RankLost", "QuietExit")), error
            size = rng.choice((2, 2, 2, 3, 4))
    print(f"{name}: {kills} kills in {runs} runs")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_verify_resume_of_two_processes_certifies_five_tasks(name: str, tmp_path: Path) -> None:
    certificate = verify_resume(
        name,
        [*SMALL[name], "encoder.dim=8"],
        kills=4,
        steps=12,
        seed=len(name),
        folder=tmp_path / "v",
        nproc=2,
        launch=launch_forked,
    )
    print(certificate)
    assert certificate.equal, str(certificate)
    assert len(certificate.kills) >= 2
