"""The harness must fail when resuming is broken on purpose. A control is good when something was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import certificates, kills, power, sabotage
from tests.faults.runs import Attempt, Case

STOPPED_AT = "step:term:33"
"""In an epoch, between two logs, after an evaluation, before a save."""


@dataclass
class Control:
    """One thing broken, and whether that was noticed."""

    broken: str
    found: str

    @property
    def good(self) -> bool:
        return bool(self.found)


def controls(case: Case, *, kills_in_saves: int = 12, names: tuple[str, ...] | None = None) -> Iterator[Control]:
    """Break one thing after another. The case must have all that can be lost: windows, early stopping, dropout."""
    for broken, breaks in sabotage.RESUMED.items():
        if names is not None and broken not in names:
            continue
        attempt = Attempt(case, f"control-{breaks.__name__}")
        # Killed where there is something to rewind, stopped where the position is exact.
        fault = {sabotage.metrics: "log.flush:kill:17", sabotage.board: "save.rename:kill:4"}.get(breaks, STOPPED_AT)
        attempt.start(fault=fault).wait()
        yield Control(broken, "; ".join(attempt.finish(breaks)[:1]))
    if names is None or "verify-resume, a random state not restored" in names:
        # Of the starts, the last alone is broken: what came before it is sound.
        told = certificates.certificate(case.recipe, case.folder / "broken", 1, seed=4, sabotage=sabotage.random_state)
        yield Control("verify-resume, a random state not restored", "; ".join(told.differences[-1:]))
    if names is None or "checkpoints are written in place" in names:
        naive, count = sabotage.naive_write, kills_in_saves
        found = list(kills.campaign([case], count, count, seed=9, sabotage=naive, again=0))
        damaged = [kill.problems[0] for kill in found if kill.problems]
        share = f"{len(damaged)} of {len(found)} kills seen: " if damaged else ""
        yield Control("checkpoints are written in place", share + "".join(damaged[:1]))
    if names is None or "folders are not synced" in names:
        lost = [kill for kill in power.campaign([case], 3, seed=1, deaf=True) if kill.problems]
        yield Control("folders are not synced", lost[0].problems[0] if lost else "")


def summary(found: list[Control]) -> str:
    """A line a control."""
    lines = [f"{'seen  ' if each.good else 'MISSED'} {each.broken}: {each.found[:140]}" for each in found]
    lines.append(f"{sum(each.good for each in found)} of {len(found)} broken things were noticed")
    return "\n".join(lines)
