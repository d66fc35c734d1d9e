"""SIGKILL at random moments, some of them during a save: the resumed run ends as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from seqkit.runs import checkpoint
from tests.faults.children import Child, Sabotage
from tests.faults.runs import KILLED, Attempt, Case, shell

SAVE_POINTS = tuple("save." + name for name in ("write", "fsync", "open", "manifest", "rename", "dirfsync"))
SAVE_POINTS += ("retain.delete",)
"""Where a save is slowed down; `save.write` most often, because it is visited once per file."""

VISITS = {"save.write": 30, "save.fsync": 36, "save.open": 36}
"""The least visits of a point in a tiny run; of other points:"""
DEFAULT_VISITS = 4


@dataclass
class Kill:
    """One SIGKILL and its result."""

    case: str
    where: str
    moment: float
    step: int | None
    problems: list[str] = field(default_factory=list)

    @property
    def in_save(self) -> bool:
        return "save." in self.where or "retain." in self.where


def campaign(
    cases: list[Case],
    count: int,
    in_save: int,
    *,
    seed: int,
    sabotage: Sabotage | None = None,
    resumed: Sabotage | None = None,
    again: float = 0.2,
) -> Iterator[Kill]:
    """Kill `count` runs of these cases, `in_save` of them during a save, and resume each to its end.

    Args:
        sabotage: breaks something in the runs that are killed.
        resumed: breaks something in the resumed runs.
        again: the share of runs that are killed a second time; both kills count.
    """
    dice, killed, saves = random.Random(seed), 0, 0
    while killed < count:
        # Evenly distributed, so that the kills during a save do not all come first.
        case, saving = cases[killed % len(cases)], saves * count < in_save * (killed + 1)
        attempt = Attempt(case, f"kill-{killed}")
        kill = _kill_in_save(attempt, dice, sabotage) if saving else _kill(attempt, dice, sabotage)
        if kill is None:  # the run had ended before
            attempt.clear()
            continue
        killed, saves = killed + 1, saves + saving
        kills = [kill]
        if killed < count and dice.random() < again and (second := _kill(attempt, dice, sabotage)):
            killed += 1
            kills.append(second)
        problems = attempt.finish(resumed)
        for kill in kills:
            kill.problems += problems
        if not problems:
            attempt.clear()
        yield from kills


def _kill(attempt: Attempt, dice: random.Random, sabotage: Sabotage | None) -> Kill | None:
    """Kill it at any moment of the run."""
    child = attempt.start(sabotage=sabotage)
    time.sleep(dice.uniform(0.0, attempt.case.seconds))
    return _send_kill(attempt, child, "at random")


def _kill_in_save(attempt: Attempt, dice: random.Random, sabotage: Sabotage | None) -> Kill | None:
    """Kill it while a save sleeps at one of its points."""
    point = dice.choice(SAVE_POINTS[:1] * 4 + SAVE_POINTS)
    visit = dice.randint(1, VISITS.get(point, DEFAULT_VISITS))
    child = attempt.start(fault=f"{point}:sleep:{visit}", sabotage=sabotage)
    if not wait_until(lambda: has_failed(attempt), child):
        return _send_kill(attempt, child, f"{point}, visit {visit}")
    time.sleep(dice.uniform(0.0, 0.3))
    return _send_kill(attempt, child, f"{point}, visit {visit}")


def _send_kill(attempt: Attempt, child: Child, where: str) -> Kill | None:
    child.send(signal.SIGKILL)
    code = shell(child.wait())
    if code == 0:
        return None
    problems = [] if code == KILLED else [f"it exited with {code} before it was killed: {attempt.tail()}"]
    checkpoint.newest(attempt.out / "checkpoints", problems.append, repair=False)
    return Kill(attempt.case.name, where, round(child.seconds / attempt.case.seconds, 2), attempt.step(), problems)


def has_failed(attempt: Attempt) -> bool:
    """Whether the failure that a run was started with has happened."""
    path = attempt.out / "run.log"
    return path.exists() and b"!!! SEQKIT_FAULT: " in path.read_bytes()


def wait_until(condition: Callable[[], bool], child: Child, seconds: float = 60.0) -> bool:
    """Wait for a condition during a child's run. False if the child ended before."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return True
        if not child.alive():
            return False
        time.sleep(0.005)
    raise TimeoutError


def summary(kills: list[Kill]) -> str:
    """A line per domain, and a line for all."""
    lines = []
    for name in sorted({kill.case for kill in kills}):
        of_case = [kill for kill in kills if kill.case == name]
        good = sum(not kill.problems for kill in of_case)
        saves = sum(kill.in_save for kill in of_case)
        lines.append(f"{name:<18} {good:>3} of {len(of_case):>3} kills, {saves:>2} of them in a save")
    good = sum(not kill.problems for kill in kills)
    saves = sum(kill.in_save for kill in kills)
    lines.append(
        f"{'all':<18} {good:>3} of {len(kills):>3} kills, {saves:>2} of them in a save, ended alike, bit for bit"
    )
    for kill in kills:
        if kill.problems:
            lines.append(f"FAILED {kill.case}, {kill.where}, step {kill.step}: {'; '.join(kill.problems[:3])}")
    return "\n".join(lines)
