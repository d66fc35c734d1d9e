"""Tasks x encoders x the moments at which a run may be stopped: it continues from exactly there, bit for bit."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import recipes, runs
from tests.faults.runs import Attempt, Case, shell

MOMENTS = ("in an epoch", "at an epoch's end", "in an accumulation", "in an evaluation")

_SETS = ("train.accumulate=2", "train.log_every=1", "train.evaluate_every=7", "train.save_every=25", "train.steps=24")


@dataclass
class Stop:
    """One stop and its result."""

    case: str
    moment: str
    step: int | None
    problems: list[str] = field(default_factory=list)


def cases(work: Path, domains: tuple[str, ...], encoders: tuple[str, ...]) -> Iterator[Case]:
    """Each domain with each encoder, two batches per step."""
    for domain in domains:
        for encoder in encoders:
            path = recipes.write(domain, work / "recipes", encoder)
            renamed = path.with_name(f"stops-{path.name}")
            path.rename(renamed)
            yield runs.case_of(renamed, work, _SETS)


def stops(case: Case, *, seed: int, moments: tuple[str, ...] = MOMENTS) -> Iterator[Stop]:
    """Stop a run of the case at each moment with SIGTERM, and resume it."""
    dice = random.Random(f"{seed} {case.name}")
    ends = [
        step for (step, name), value in case.uninterrupted.metrics.items() if name == "lr" and value[1] == int(value[1])
    ]
    within = [step for step in range(2, 23) if step not in ends]
    for moment in moments:
        expected: int | None = dice.choice(within if moment != "at an epoch's end" else [s for s in ends if s < 24])
        fault = f"step:term:{expected}"
        if moment == "in an accumulation":
            # Visits are batches, two per step except at the ends of epochs: an odd one is the first of its step.
            fault, expected = f"loss:term:{2 * dice.randint(1, 3) - 1}", None
        elif moment == "in an evaluation":
            fault, expected = "eval:term:1", 7
        attempt = Attempt(case, f"stop-{MOMENTS.index(moment)}")
        code = shell(attempt.start(fault=fault).wait())
        stop = Stop(case.name, moment, attempt.step())
        if code != 143 or stop.step is None:
            stop.problems.append(f"it exited with {code} at step {stop.step}: {attempt.tail()}")
        if expected is not None and stop.step != expected:
            stop.problems.append(f"it stopped at step {stop.step}, not {expected}")
        stop.problems += attempt.finish()
        if not stop.problems:
            attempt.clear()
        yield dataclasses.replace(stop)


def summary(stops: list[Stop]) -> str:
    """A line per case, and a line for all."""
    lines = []
    for name in dict.fromkeys(stop.case for stop in stops):
        of_case = [stop for stop in stops if stop.case == name]
        steps = ", ".join(str(stop.step) for stop in of_case)
        good = sum(not stop.problems for stop in of_case)
        lines.append(f"{name:<26} {good} of {len(of_case)}, stopped after steps {steps}")
    lines.append(f"{'all':<26} {sum(not stop.problems for stop in stops)} of {len(stops)} continued bit for bit")
    for stop in stops:
        if stop.problems:
            lines.append(f"FAILED {stop.case}, {stop.moment}, step {stop.step}: {'; '.join(stop.problems[:3])}")
    return "\n".join(lines)
