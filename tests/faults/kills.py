"""SIGKILL at random moments, some of them forced into a save: the run goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from seqkit.runs import checkpoint
from tests.faults.children import Child, Sabotage
from tests.faults.runs import KILLED, Attempt, Case, shell

SAVE_POINTS = tuple("save." + each for each in ("write", "fsync", "open", "manifest", "rename", "dirfsync"))
SAVE_POINTS += ("retain.delete",)
"""Where a slow save is met, and `save.write` most often: it is visited once a file."""

VISITS = {"save.write": 30, "save.fsync": 36, "save.open": 36}
"""How many visits of a point a tiny run has at least; of the others, this many:"""
FEW = 4


@dataclass
class Kill:
    """One SIGKILL and what came of it."""

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
    """Kill `count` runs of these cases, `in_save` of them in the middle of a save, and go on with each to its end.

    Args:
        sabotage: breaks something in the runs that are killed.
        resumed: breaks something in the runs that go on.
        again: the share of runs that are killed a second time; both kills count.
    """
    dice, done, saves = random.Random(seed), 0, 0
    while done < count:
        # Spread evenly: the kills in a save must not all come first.
        case, saving = cases[done % len(cases)], saves * count < in_save * (done + 1)
        attempt = Attempt(case, f"kill-{done}")
        kill = _kill_in_save(attempt, dice, sabotage) if saving else _kill(attempt, dice, sabotage)
        if kill is None:  # the run was over before
            attempt.clear()
            continue
        done, saves = done + 1, saves + saving
        kills = [kill]
        if done < count and dice.random() < again and (second := _kill(attempt, dice, sabotage)):
            done += 1
            kills.append(second)
        problems = attempt.finish(resumed)
        for kill in kills:
            kill.problems += problems
        if not problems:
            attempt.clear()
        yield from kills


def _kill(attempt: Attempt, dice: random.Random, sabotage: Sabotage | None) -> Kill | None:
    """At a moment of the whole run, from its first line to its last."""
    child = attempt.start(sabotage=sabotage)
    time.sleep(dice.uniform(0.0, attempt.case.seconds))
    return _killed(attempt, child, "at random")


def _kill_in_save(attempt: Attempt, dice: random.Random, sabotage: Sabotage | None) -> Kill | None:
    """While a save sleeps at one of its points."""
    point = dice.choice(SAVE_POINTS[:1] * 4 + SAVE_POINTS)
    visit = dice.randint(1, VISITS.get(point, FEW))
    child = attempt.start(fault=f"{point}:sleep:{visit}", sabotage=sabotage)
    if not until(lambda: struck(attempt), child):
        return _killed(attempt, child, f"{point}, visit {visit}")
    time.sleep(dice.uniform(0.0, 0.3))
    return _killed(attempt, child, f"{point}, visit {visit}")


def _killed(attempt: Attempt, child: Child, where: str) -> Kill | None:
    child.send(signal.SIGKILL)
    code = shell(child.wait())
    if code == 0:
        return None
    problems = [] if code == KILLED else [f"it left with {code} by itself: {attempt.tail()}"]
    checkpoint.newest(attempt.out / "checkpoints", problems.append, repair=False)
    return Kill(attempt.case.name, where, round(child.seconds / attempt.case.seconds, 2), attempt.step(), problems)


def struck(attempt: Attempt) -> bool:
    """Whether the failure that a run was started with has come."""
    path = attempt.out / "run.log"
    return path.exists() and b"!!! SEQKIT_FAULT: " in path.read_bytes()


def until(met: Callable[[], bool], child: Child, seconds: float = 60.0) -> bool:
    """Wait for something to become true in a child's run. False if it ended before."""
    for _ in range(int(seconds / 0.005)):
        if met():
            return True
        if not child.alive():
            return False
        time.sleep(0.005)
    raise TimeoutError


def summary(kills: list[Kill]) -> str:
    """A line a domain, and a line for all."""
    lines = []
    for name in sorted({kill.case for kill in kills}):
        mine = [kill for kill in kills if kill.case == name]
        good = sum(not kill.problems for kill in mine)
        saves = sum(kill.in_save for kill in mine)
        lines.append(f"{name:<18} {good:>3} of {len(mine):>3} kills, {saves:>2} of them in a save")
    good = sum(not kill.problems for kill in kills)
    saves = sum(kill.in_save for kill in kills)
    lines.append(
        f"{'all':<18} {good:>3} of {len(kills):>3} kills, {saves:>2} of them in a save, ended alike, bit for bit"
    )
    for kill in kills:
        if kill.problems:
            lines.append(f"FAILED {kill.case}, {kill.where}, step {kill.step}: {'; '.join(kill.problems[:3])}")
    return "\n".join(lines)
