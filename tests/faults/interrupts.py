"""Signals at every stage of a run: a truthful exit code within seconds, a checkpoint, nothing left running."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.faults.children import Child
from tests.faults.kills import struck, until
from tests.faults.recipes import STEPS
from tests.faults.runs import Attempt, Case, shell

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}

LIMIT = 5.0
"""Seconds from a signal to the end of the process."""

STAGES = {
    "start-up": 14,
    "reading": 12,
    "training": 24,
    "evaluation": 16,
    "saving": 14,
    "report": 10,
    "twice": 10,
}
"""How many of a hundred signals come when; `twice`: a second one while the first is being obeyed."""

_SLOW = {"training": "step", "evaluation": "eval", "saving": "save.write", "report": "report"}
_VISITS = {"training": 50, "evaluation": 6, "saving": 30, "report": 3}


@dataclass
class Signalled:
    """One signal and what came of it."""

    case: str
    stage: str
    name: str
    code: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def campaign(
    cases: list[Case], count: int, *, seed: int, stages: tuple[str, ...] = tuple(STAGES)
) -> Iterator[Signalled]:
    """Send `count` signals, spread over the stages as STAGES says."""
    dice = random.Random(seed)
    shares = {stage: STAGES[stage] for stage in stages}
    plan: list[str] = []
    while len(plan) < count:  # always the stage that is the farthest behind its share
        plan.append(max(shares, key=lambda stage: shares[stage] / (plan.count(stage) + 1)))
    for number, stage in enumerate(plan):
        case, which = cases[number % len(cases)], SIGNALS[number % len(SIGNALS)]
        found = None
        while found is None:
            attempt = Attempt(case, f"signal-{number}")
            found = _new_python(attempt, which, dice) if stage == "start-up" else _forked(attempt, stage, which, dice)
            if found is None or not found.problems:
                attempt.clear()
        yield found


def _forked(attempt: Attempt, stage: str, which: signal.Signals, dice: random.Random) -> Signalled | None:
    """In a forked child. None if the run was over before the signal came."""
    if stage == "reading":
        child = attempt.start()
        # The folder under which the data are being stored exists for a few milliseconds; about then.
        if not until(lambda: (attempt.out / "run.log").exists(), child):
            return None
        time.sleep(dice.uniform(0.0, 0.1 * attempt.case.seconds))
    else:
        kind = "saving" if stage == "twice" else stage
        visit = 0 if stage == "twice" else dice.randint(1, _VISITS[kind])
        child = attempt.start(fault=f"{_SLOW[kind]}:sleep:{visit}")
        if not until(lambda: struck(attempt), child):
            return None
        time.sleep(dice.uniform(0.0, 0.45))
    began = time.monotonic()
    if not child.send(which):
        return None
    if stage == "twice":
        time.sleep(0.15)
        which = dice.choice(SIGNALS)
        began = time.monotonic()
        if not child.send(which):
            return None
    code = child.wait()
    return _judged(attempt, stage, which, child, code, time.monotonic() - began)


def _new_python(attempt: Attempt, which: signal.Signals, dice: random.Random) -> Signalled | None:
    """In a process that starts from nothing, within the seconds that its imports take."""
    command = [sys.executable, "-m", "seqkit", "run", str(attempt.case.recipe), "--quiet", "--out", str(attempt.out)]
    variables = {**os.environ, "SEQKIT_CACHE": str(attempt.cache)}
    with attempt.said.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=variables, start_new_session=True)
    child = Child(process.pid, attempt.said, time.monotonic())
    time.sleep(dice.uniform(0.02, 3.0))
    began = time.monotonic()
    if not child.send(which):
        return None
    code = child.wait()
    process.returncode = code
    return _judged(attempt, "start-up", which, child, code, time.monotonic() - began)


def _judged(attempt: Attempt, stage: str, which: signal.Signals, child: Child, code: int, seconds: float) -> Signalled:
    found = Signalled(attempt.case.name, stage, which.name, shell(code), round(seconds, 2))
    # Before Python has come to seqkit's first line, a signal does what the system says: 128 + its number.
    expected = {CODES[which], 128 + which} if stage == "start-up" else {CODES[which]}
    if code < 0 and stage != "start-up":
        found.problems.append(f"it died of {signal.Signals(-code).name}")
    if shell(code) not in expected:
        found.problems.append(f"it left with {shell(code)}: {attempt.tail()}")
    if seconds > (1.0 if stage == "twice" else LIMIT):
        found.problems.append(f"it took {seconds:.1f} s")
    if kin := child.kin():
        found.problems.append(f"processes are left: {kin}")
    said = attempt.said.read_text(errors="replace")
    state = attempt.status()["state"]
    if stopped := re.search(r"stopped after step ([\d,]+)", said):
        step = int(stopped[1].replace(",", ""))
        if attempt.step() != step:
            found.problems.append(f"it stopped after step {step}, and its checkpoint is of step {attempt.step()}")
    elif stage in ("training", "evaluation", "saving") and attempt.step() != STEPS:
        found.problems.append(f"it did not say at which step it stopped: {attempt.tail()}")
    if stage not in ("start-up", "twice") and state != "interrupted":
        found.problems.append(f"its state is {state}")
    found.problems += attempt.finish()
    return found


def summary(signals: list[Signalled]) -> str:
    """A line a stage, and a line for all."""
    lines = []
    for stage in STAGES:
        mine = [each for each in signals if each.stage == stage]
        if mine:
            good, slowest = sum(not each.problems for each in mine), max(each.seconds for each in mine)
            codes = ", ".join(map(str, sorted({each.code for each in mine})))
            codes = f"codes {codes}, at most {slowest:.2f} s"
            lines.append(f"{stage:<12} {good:>3} of {len(mine):>3} as documented, {codes}")
    good = sum(not each.problems for each in signals)
    lines.append(f"{'all':<12} {good:>3} of {len(signals):>3}, resumed bit for bit")
    for each in signals:
        if each.problems:
            lines.append(f"FAILED {each.case}, {each.stage}, {each.name}: {'; '.join(each.problems[:3])}")
    return "\n".join(lines)
