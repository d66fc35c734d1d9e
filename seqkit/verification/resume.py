"""Check that a run that is killed and resumed ends exactly as one without interruption, on a recipe's own run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import torch

from seqkit._version import __version__
from seqkit.errors import RunError, UsageError
from seqkit.io import atomic
from seqkit.runs import checkpoint, comparison
from seqkit.types import JSON

FAULT_POINTS = (
    "step",
    "save.write",
    "step",
    "eval",
    "step",
    "save.rename",
    "loss",
    "log.flush",
    "step",
    "retain.delete",
)
"""Where one kill after another happens: at steps, and in the middle of saves, evaluations and log writes."""

Launch: TypeAlias = Callable[[Sequence[str], str | None, Path], int]
"""Runs `seqkit ARGUMENTS` with SEQKIT_FAULT set to this text (None: not set), its output going to a file.

Returns the exit code, or minus the number of the signal that ended the process.
"""


@dataclass
class Certificate:
    """The result of `verify_resume`.

    Attributes:
        recipe: the recipe's file or name.
        steps: optimiser steps of the run.
        kills: for each SIGKILL its fault point and step, and the step from which the run was resumed.
        compared: how much was compared, as a text.
        sha256: of everything that the uninterrupted run ended with.
        differences: some sentences, the earliest difference first; empty if the runs ended alike.
        seconds: how long it took.
        folder: where the two runs are.
    """

    recipe: str
    steps: int
    kills: list[dict[str, JSON]] = field(default_factory=list)
    compared: str = ""
    sha256: str = ""
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0
    folder: str = ""

    @property
    def equal(self) -> bool:
        return not self.differences

    def facts(self) -> JSON:
        """As JSON."""
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()}
        when = datetime.now(UTC).isoformat(timespec="seconds")
        return {**vars(self), "equal": self.equal, "seqkit": __version__, **machine, "when": when}

    def __str__(self) -> str:
        kills = "; ".join(f"at {kill['point']} after step {kill['step']}" for kill in self.kills)
        facts = self.facts()
        lines = [f"{self.recipe}: {self.steps} steps, killed {len(self.kills)} times ({kills}) and resumed"]
        if self.equal:
            lines.append(f"bit for bit equal to the uninterrupted run: {self.compared}")
        else:
            lines += ["DIFFERS from the uninterrupted run:", *(f"  {sentence}" for sentence in self.differences)]
            lines.append(f"both runs are in {self.folder}")
        versions = f"seqkit {__version__}, torch {torch.__version__}, {facts['threads']} threads, {facts['when']}"
        lines.append(f"sha256 {self.sha256}  {versions}")
        return "\n".join(lines)


def shorten(steps: int | None) -> list[str]:
    """Overrides that give a recipe's run this many steps, with some evaluations and saves; none for None."""
    if steps is None:
        return []
    every = {"evaluate_every": max(1, steps // 3), "save_every": max(1, steps // 8), "log_every": max(1, steps // 12)}
    return [f"train.steps={steps}", *(f"train.{name}={value}" for name, value in every.items())]


def verify_resume(
    recipe: str,
    sets: Sequence[str],
    *,
    kills: int,
    steps: int | None,
    seed: int,
    folder: Path,
    nproc: int = 1,
    launch: Launch | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Certificate:
    """Run the recipe once without interruption, and once killed and resumed `kills` times; compare how both ended.

    Args:
        recipe: a file, or the name of one.
        sets: overrides of the recipe.
        kills: how often the second run is killed.
        steps: shorten the run to this many optimiser steps; None: as long as the recipe says.
        seed: of the moments of the kills.
        nproc: processes that train together. Kills hit one of them, drawn at random, and the others have to end too.
        folder: a new or empty folder for the two run folders, `whole` and `killed`.
        launch: starts a process; None: `launch_python`.
        tell: gets a sentence for each start.

    Raises:
        RunError: a run failed by itself; the message has the end of its output.
        UsageError: `folder` is not empty.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty; name a new folder")
    overrides = [word for override in (*sets, *shorten(steps)) for word in ("--set", override)]
    processes = ["--nproc", str(nproc)] if nproc > 1 else []
    runner = _Runner(["run", recipe, "--quiet", *overrides], processes, folder, launch or launch_python)
    uninterrupted, killed = folder / "whole", folder / "killed"
    tell("one run from start to end")
    runner.run(uninterrupted, "whole.txt")
    steps = int(atomic.read_json(uninterrupted / "status.json")["steps"])
    certificate = Certificate(recipe, steps, folder=str(folder))
    rng = random.Random(seed)
    moments = sorted(rng.randint(1, steps) for _ in range(kills))
    for number, moment in enumerate(moments):
        position = _position(killed)
        point = FAULT_POINTS[number % len(FAULT_POINTS)]
        counts_steps = point in ("step", "loss")
        visit = max(1, moment - position) if counts_steps else rng.randint(1, 3)
        # Only the first process saves, logs and deletes.
        of_rank = f"@{rng.randrange(nproc) if point in ('step', 'loss') else 0}" if nproc > 1 else ""
        tell(f"from step {position}, to be killed at {point}{of_rank}")
        if runner.run(killed, f"killed-{number + 1}.txt", f"{point}:kill:{visit}{of_rank}"):
            step = position + visit - 1 if counts_steps else position
            certificate.kills.append({"point": point, "step": step, "resumed": _position(killed)})
    tell(f"from step {_position(killed)}, to the end")
    runner.run(killed, "resumed.txt")
    expected, actual = comparison.read(uninterrupted), comparison.read(killed)
    certificate.compared, certificate.sha256 = str(expected), expected.sha256
    certificate.differences = _first_differences(expected, actual)
    certificate.seconds = round(time.monotonic() - began, 1)
    return certificate


@dataclass(frozen=True)
class _Runner:
    """Starts and resumes runs.

    Attributes:
        arguments: of seqkit, to start a run, without its folder.
        processes: the option for several of them.
        folder: where the output of the processes goes.
        launch: starts a process.
    """

    arguments: Sequence[str]
    processes: Sequence[str]
    folder: Path
    launch: Launch

    def run(self, out: Path, log: str, fault: str | None = None) -> int:
        """Start the run in the folder `out`, or resume it if it exists; the exit code.

        Raises:
            RunError: the process failed, and not by the fault.
        """
        resume = ["run", "--quiet", "--resume", str(out)]
        arguments = [*(resume if out.exists() else [*self.arguments, "--out", str(out)]), *self.processes]
        code = self.launch(arguments, fault, self.folder / log)
        if code not in ({0} if fault is None else {0, -signal.SIGKILL, 128 + signal.SIGKILL}):
            lines = (self.folder / log).read_text(errors="replace").strip().splitlines()[-5:]
            output = " / ".join(lines) or "without output"
            raise RunError(f"a run ended with exit code {code}: {output} (all of its output: {self.folder / log})")
        return code


def _first_differences(expected: comparison.RunDigest, actual: comparison.RunDigest, count: int = 4) -> list[str]:
    """The first differences, and among them the first one of a tensor of the last checkpoint."""
    differences = list(comparison.find_differences(expected, actual))
    tensors = [sentence for sentence in differences[count:] if sentence.startswith(("last model", "last optimizer"))]
    return differences[: count - 1] + (tensors[:1] or differences[count - 1 : count])


def _position(run: Path) -> int:
    """The step from which a run would be resumed."""
    newest = checkpoint.newest(run / "checkpoints", repair=False)
    return 0 if newest is None else checkpoint.step_of(newest)


def launch_python(arguments: Sequence[str], fault: str | None, log: Path) -> int:
    """Run seqkit in a new Python process."""
    environment: dict[str, Any] = {name: value for name, value in os.environ.items() if name != "SEQKIT_FAULT"}
    if fault is not None:
        environment["SEQKIT_FAULT"] = fault
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "seqkit", *arguments]
        return subprocess.run(command, env=environment, stdout=stream, stderr=stream, check=False).returncode
