"""Power cuts: the process dies, and the disk keeps only what was synced."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.faults.kills import DEFAULT_VISITS, SAVE_POINTS, VISITS, Kill
from tests.faults.runs import Attempt, Case
from tests.faults.sabotage import PowerCut

CUT_POINTS = ("step", "loss", "eval", "report", *SAVE_POINTS)
"""Where the power is cut."""


def campaign(cases: list[Case], count: int, *, seed: int, skip_folders: bool = False) -> Iterator[Kill]:
    """Cut the power of `count` runs and resume each from what is on the disk.

    `skip_folders`: as `PowerCut`.
    """
    dice = random.Random(seed)
    for number in range(count):
        case = cases[number % len(cases)]
        attempt = Attempt(case, f"power-{number}")
        cut = PowerCut(case.folder / f"power-{number}-notes", skip_folders=skip_folders)
        point = dice.choice(CUT_POINTS)
        visit = {"step": 59, "loss": 59, "eval": 4, "report": 2}.get(point) or VISITS.get(point, DEFAULT_VISITS)
        fault = f"{point}:kill:{dice.randint(1, visit)}"
        attempt.start(fault=fault, sabotage=cut).wait()
        before = attempt.step()
        _replace_by_disk(attempt.out, cut)
        kill = Kill(case.name, f"power cut at {fault}", 0.0, attempt.step())
        # A name that is just being synced may be on the disk or not; all others must be.
        if before != kill.step and point != "save.dirfsync":
            kill.problems.append(f"the checkpoint of step {before} is lost; the newest one is {kill.step}")
        kill.problems += attempt.finish()
        if not kill.problems:
            attempt.clear()
            shutil.rmtree(cut.notes)
        yield kill


def _replace_by_disk(folder: Path, cut: PowerCut) -> None:
    """Replace a run folder by what is on the disk."""
    inode = folder.stat().st_ino
    shutil.rmtree(folder)
    cut.restore(inode, folder)
