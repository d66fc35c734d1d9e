"""Power cuts: the process dies, and the disk keeps only what was synced."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults.kills import FEW, SAVE_POINTS, VISITS, Kill
from tests.faults.runs import Attempt, Case
from tests.faults.sabotage import PowerCut

AFTER = ("step", "loss", "eval", "report", *SAVE_POINTS)
"""Where the current goes."""


def campaign(cases: list[Case], count: int, *, seed: int, deaf: bool = False) -> Iterator[Kill]:
    """Cut the power of `count` runs; each goes on from what the disk has."""
    dice = random.Random(seed)
    for number in range(count):
        case = cases[number % len(cases)]
        attempt = Attempt(case, f"power-{number}")
        cut = PowerCut(case.folder / f"power-{number}-notes", deaf=deaf)
        point = dice.choice(AFTER)
        visit = {"step": 59, "loss": 59, "eval": 4, "report": 2}.get(point) or VISITS.get(point, FEW)
        fault = f"{point}:kill:{dice.randint(1, visit)}"
        attempt.start(fault=fault, sabotage=cut).wait()
        before = attempt.step()
        _lose(attempt.out, cut)
        kill = Kill(case.name, f"power cut at {fault}", 0.0, attempt.step())
        # A name that is being made durable may be on the disk or not; every other one must be.
        if before != kill.step and point != "save.dirfsync":
            kill.problems.append(f"the checkpoint of step {before} is gone; left is {kill.step}")
        kill.problems += attempt.finish()
        if not kill.problems:
            attempt.clear()
            shutil.rmtree(cut.notes)
        yield kill


def _lose(folder: Path, cut: PowerCut) -> None:
    """Put what the disk has where the run was."""
    inode = folder.stat().st_ino
    shutil.rmtree(folder)
    cut.restore(inode, folder)
