"""Does a run that is killed again and again end where one ends that is left alone? Shown on a recipe's own run."""

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

STEPS = 60
"""Optimiser steps of a run, unless told otherwise."""

POINTS = ("step", "save.write", "step", "eval", "step", "save.rename", "loss", "log.flush", "step", "retain.delete")
"""Where one kill after another comes: at steps, and at the moments that are the most awkward."""

Launch: TypeAlias = Callable[[Sequence[str], str | None, Path], int]
"""Runs `seqkit ARGUMENTS` with SEQKIT_FAULT set to this (or not set), what it says going to a file.

Returns the exit code, or minus the number of the signal that ended it.
"""


@dataclass
class Certificate:
    """What was done, and what came of it.

    Attributes:
        recipe: as it was named.
        steps: optimiser steps of the run.
        kills: where each SIGKILL came, and at which step the run was resumed after it.
        compared: how much was compared.
        sha256: of everything that the uninterrupted run ended with.
        differences: at most a few sentences, what happened first in front; empty if the two runs ended alike.
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
        where = "; ".join(f"at {kill['point']} after step {kill['step']}" for kill in self.kills)
        facts = self.facts()
        lines = [f"{self.recipe}: {self.steps} steps, killed {len(self.kills)} times ({where}) and resumed"]
        if self.equal:
            lines.append(f"bit for bit equal to the run that nobody killed: {self.compared}")
        else:
            lines += ["DIFFERS from the run that nobody killed:", *(f"  {sentence}" for sentence in self.differences)]
            lines.append(f"both runs are in {self.folder}")
        made = f"seqkit {__version__}, torch {torch.__version__}, {facts['threads']} threads, {facts['when']}"
        lines.append(f"sha256 {self.sha256}  {made}")
        return "\n".join(lines)


def shortened(steps: int | None) -> list[str]:
    """The overrides that make a recipe's run one of so many steps, with a few evaluations and saves in it."""
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
    launch: Launch | None = None,
    tell: Callable[[str], object] = lambda sentence: None,
) -> Certificate:
    """Run the recipe once as it is, and once killed `kills` times and resumed each time; compare how both ended.

    Args:
        recipe: a file, or the name of one.
        steps: cut the run to so many optimiser steps; None: as long as the recipe says.
        seed: of the moments of the kills.
        folder: for the two run folders, `whole` and `killed`.
        launch: how a process is run; None: as a new Python.
        tell: gets a sentence for each start.

    Raises:
        RunError: a run failed by itself; the end of what it said is told.
        UsageError: `folder` is not empty.
    """
    launch, dice, began = launch or new_python, random.Random(seed), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder}: not empty; name a new folder")
    whole, killed = folder / "whole", folder / "killed"
    start = ["run", recipe, "--quiet", *(word for each in (*sets, *shortened(steps)) for word in ("--set", each))]

    def go(out: Path, said: str, fault: str | None = None) -> int:
        """Start a run, or go on with it; its exit code. One that nothing was to kill must finish."""
        arguments = ["run", "--quiet", "--resume", str(out)] if out.exists() else [*start, "--out", str(out)]
        code = launch(arguments, fault, folder / said)
        _must(code, {0} if fault is None else {0, -signal.SIGKILL}, folder / said)
        return code

    tell("one run from start to end")
    go(whole, "whole.txt")
    steps = int(atomic.read_json(whole / "status.json")["steps"])
    certificate = Certificate(recipe, steps, folder=str(folder))
    moments = sorted(dice.randint(1, steps) for _ in range(kills))
    for number, moment in enumerate(moments):
        at = _position(killed)
        point = POINTS[number % len(POINTS)]
        visit = max(1, moment - at) if point in ("step", "loss") else dice.randint(1, 3)
        tell(f"from step {at}, to be killed at {point}")
        if go(killed, f"killed-{number + 1}.txt", f"{point}:kill:{visit}"):
            certificate.kills.append({"point": point, "step": _stepped(at, point, visit), "resumed": _position(killed)})
    tell(f"from step {_position(killed)}, to the end")
    go(killed, "resumed.txt")
    one, two = comparison.read(whole), comparison.read(killed)
    certificate.compared, certificate.sha256 = str(one), one.sha256
    certificate.differences = _first(one, two)
    certificate.seconds = round(time.monotonic() - began, 1)
    return certificate


def _first(one: comparison.RunDigest, two: comparison.RunDigest, most: int = 4) -> list[str]:
    """The first few differences, the first tensor among them."""
    found = list(comparison.differences(one, two))
    tensors = [sentence for sentence in found[most:] if sentence.startswith(("last model", "last optimizer"))]
    return found[: most - 1] + (tensors[:1] or found[most - 1 : most])


def _stepped(at: int, point: str, visit: int) -> int:
    return at + visit - 1 if point in ("step", "loss") else at


def _position(run: Path) -> int:
    """The step that a run would be resumed from."""
    found = checkpoint.newest(run / "checkpoints", repair=False)
    return 0 if found is None else checkpoint.step_of(found)


def _must(code: int, expected: set[int], said: Path) -> None:
    if code not in expected:
        tail = said.read_text(errors="replace").strip().splitlines()[-5:]
        raise RunError(f"a run left with {code}: {' / '.join(tail) or 'it said nothing'} (all of it: {said})")


def new_python(arguments: Sequence[str], fault: str | None, said: Path) -> int:
    """Run seqkit in a new Python."""
    variables: dict[str, Any] = {name: value for name, value in os.environ.items() if name != "SEQKIT_FAULT"}
    if fault is not None:
        variables["SEQKIT_FAULT"] = fault
    with said.open("wb") as stream:
        command = [sys.executable, "-m", "seqkit", *arguments]
        return subprocess.run(command, env=variables, stdout=stream, stderr=stream, check=False).returncode
