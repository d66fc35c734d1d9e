"""Signals at every stage of a run: the right exit code within seconds, a checkpoint, and no processes left."""

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
from tests.faults.kills import has_failed, wait_until
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
"""How many of a hundred signals come at which stage; `twice`: a second one while the first is handled."""

_SLEEP_POINTS = {"training": "step", "evaluation": "eval", "saving": "save.write", "report": "report"}
_VISITS = {"training": 50, "evaluation": 6, "saving": 30, "report": 3}


@dataclass
class Signalled:
    """One signal and its result."""

    case: str
    stage: str
    name: str
    code: int
    seconds: float
    problems: list[str] = field(default_factory=list)


def campaign(
    cases: list[Case], count: int, *, seed: int, stages: tuple[str, ...] = tuple(STAGES)
) -> Iterator[Signalled]:
    """Send `count` signals, distributed over the stages like STAGES."""
    dice = random.Random(seed)
    shares = {stage: STAGES[stage] for stage in stages}
    plan: list[str] = []
    while len(plan) < count:  # always the stage that lacks the most of its share
        plan.append(max(shares, key=lambda stage: shares[stage] / (plan.count(stage) + 1)))
    for number, stage in enumerate(plan):
        case, which = cases[number % len(cases)], SIGNALS[number % len(SIGNALS)]
        result = None
        while result is None:
            attempt = Attempt(case, f"signal-{number}")
            result = _new_python(attempt, which, dice) if stage == "start-up" else _forked(attempt, stage, which, dice)
            if result is None or not result.problems:
                attempt.clear()
        yield result


def _forked(attempt: Attempt, stage: str, which: signal.Signals, dice: random.Random) -> Signalled | None:
    """Signal a forked child. None if the run had ended before."""
    if stage == "reading":
        child = attempt.start()
        # The data are stored within a few milliseconds from now.
        if not wait_until(lambda: (attempt.out / "run.log").exists(), child):
            return None
        time.sleep(dice.uniform(0.0, 0.1 * attempt.case.seconds))
    else:
        kind = "saving" if stage == "twice" else stage
        visit = 0 if stage == "twice" else dice.randint(1, _VISITS[kind])
        child = attempt.start(fault=f"{_SLEEP_POINTS[kind]}:sleep:{visit}")
        if not wait_until(lambda: has_failed(attempt), child):
            return None
        time.sleep(dice.uniform(0.0, 0.45))
    start = time.monotonic()
    if not child.send(which):
        return None
    if stage == "twice":
        time.sleep(0.15)
        which = dice.choice(SIGNALS)
        start = time.monotonic()
        if not child.send(which):
            return None
    code = child.wait()
    return _check(attempt, stage, which, child, code, time.monotonic() - start)


def _new_python(attempt: Attempt, which: signal.Signals, dice: random.Random) -> Signalled | None:
    """Signal a new process during the seconds that its imports take."""
    command = [sys.executable, "-m", "seqkit", "run", str(attempt.case.recipe), "--quiet", "--out", str(attempt.out)]
    variables = {**os.environ, "SEQKIT_CACHE": str(attempt.cache)}
    with attempt.output.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=variables, start_new_session=True)
    child = Child(process.pid, attempt.output, time.monotonic())
    time.sleep(dice.uniform(0.02, 3.0))
    start = time.monotonic()
    if not child.send(which):
        return None
    code = child.wait()
    process.returncode = code
    return _check(attempt, "start-up", which, child, code, time.monotonic() - start)


def _check(attempt: Attempt, stage: str, which: signal.Signals, child: Child, code: int, seconds: float) -> Signalled:
    result = Signalled(attempt.case.name, stage, which.name, shell(code), round(seconds, 2))
    # Before seqkit's first line, a signal has its default effect: 128 + its number.
    expected = {CODES[which], 128 + which} if stage == "start-up" else {CODES[which]}
    if code < 0 and stage != "start-up":
        result.problems.append(f"it was ended by {signal.Signals(-code).name}")
    if shell(code) not in expected:
        result.problems.append(f"it exited with {shell(code)}: {attempt.tail()}")
    if seconds > (1.0 if stage == "twice" else LIMIT):
        result.problems.append(f"it took {seconds:.1f} s")
    if remaining := child.remaining_processes():
        result.problems.append(f"processes are still running: {remaining}")
    output = attempt.output.read_text(errors="replace")
    state = attempt.status()["state"]
    if stopped := re.search(r"stopped after step ([\d,]+)", output):
        step = int(stopped[1].replace(",", ""))
        if attempt.step() != step:
            result.problems.append(f"it stopped after step {step}, and its checkpoint is of step {attempt.step()}")
    elif stage in ("training", "evaluation", "saving") and attempt.step() != STEPS:
        result.problems.append(f"it did not say at which step it stopped: {attempt.tail()}")
    if stage not in ("start-up", "twice") and state != "interrupted":
        result.problems.append(f"its state is {state}")
    result.problems += attempt.finish()
    return result


def summary(signals: list[Signalled]) -> str:
    """A line per stage, and a line for all."""
    lines = []
    for stage in STAGES:
        at_stage = [result for result in signals if result.stage == stage]
        if at_stage:
            good, slowest = sum(not result.problems for result in at_stage), max(result.seconds for result in at_stage)
            codes = ", ".join(map(str, sorted({result.code for result in at_stage})))
            codes = f"codes {codes}, at most {slowest:.2f} s"
            lines.append(f"{stage:<12} {good:>3} of {len(at_stage):>3} as documented, {codes}")
    good = sum(not result.problems for result in signals)
    lines.append(f"{'all':<12} {good:>3} of {len(signals):>3}, resumed bit for bit")
    for result in signals:
        if result.problems:
            lines.append(f"FAILED {result.case}, {result.stage}, {result.name}: {'; '.join(result.problems[:3])}")
    return "\n".join(lines)
