"""The campaigns must fail when resuming is broken on purpose. A control passes if that is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import certificates, kills, power, sabotage
from tests.faults.runs import Attempt, Case

STOPPED_AT = "step:term:33"
"""Within an epoch, between two logs, after an evaluation, before a save."""


@dataclass
class Control:
    """What was broken, and what was noticed of it.

    Attributes:
        broken: what was broken.
        noticed: the first difference; empty if there was none.
    """

    broken: str
    noticed: str

    @property
    def passed(self) -> bool:
        return bool(self.noticed)


def controls(case: Case, *, kills_in_saves: int = 12, names: tuple[str, ...] | None = None) -> Iterator[Control]:
    """Break one thing after another. The case must use all of it: windows, early stopping, dropout."""
    for broken, breaks in sabotage.RESUMED.items():
        if names is not None and broken not in names:
            continue
        attempt = Attempt(case, f"control-{breaks.__name__}")
        # Killed where something has to be rewound, otherwise stopped at an exact position.
        fault = {sabotage.metrics: "log.flush:kill:17", sabotage.board: "save.rename:kill:4"}.get(breaks, STOPPED_AT)
        attempt.start(fault=fault).wait()
        yield Control(broken, "; ".join(attempt.finish(breaks)[:1]))
    if names is None or "verify-resume, random numbers of another step" in names:
        # Only the last start is broken.
        verified = certificates.certificate(
            case.recipe, case.folder / "broken", 1, seed=4, sabotage=sabotage.random_numbers
        )
        yield Control("verify-resume, random numbers of another step", "; ".join(verified.differences[-1:]))
    if names is None or "checkpoints are written in place" in names:
        naive, count = sabotage.naive_write, kills_in_saves
        results = list(kills.campaign([case], count, count, seed=9, sabotage=naive, again=0))
        damaged = [kill.problems[0] for kill in results if kill.problems]
        share = f"{len(damaged)} of {len(results)} kills noticed: " if damaged else ""
        yield Control("checkpoints are written in place", share + "".join(damaged[:1]))
    if names is None or "folders are not synced" in names:
        lost = [kill for kill in power.campaign([case], 3, seed=1, skip_folders=True) if kill.problems]
        yield Control("folders are not synced", lost[0].problems[0] if lost else "")


def summary(results: list[Control]) -> str:
    """A line per control."""
    lines = [
        f"{'noticed' if result.passed else 'MISSED '} {result.broken}: {result.noticed[:140]}" for result in results
    ]
    lines.append(f"{sum(result.passed for result in results)} of {len(results)} broken things were noticed")
    return "\n".join(lines)
