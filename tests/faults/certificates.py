"""`seqkit verify-resume` on every domain with every encoder, each start a forked child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqkit.verification.resume import Certificate, verify_resume
from tests.faults import children, recipes
from tests.faults.children import Sabotage


@dataclass
class Verified:
    """A certificate, and why it is none."""

    case: str
    kills: int
    text: str
    problems: list[str] = field(default_factory=list)


def certificate(path: Path, folder: Path, kills: int, *, seed: int, sabotage: Sabotage | None = None) -> Certificate:
    """Of one recipe; `sabotage` breaks something in the starts that nothing kills and that go on with a run."""

    def launch(arguments: Sequence[str], fault: str | None, said: Path) -> int:
        broken = sabotage if fault is None and "--resume" in arguments else None
        return children.start(arguments, said, fault=fault, sabotage=broken, cache=folder.with_suffix(".cache")).wait()

    return verify_resume(str(path), (), kills=kills, steps=24, seed=seed, folder=folder, launch=launch)


def certificates(
    work: Path, domains: tuple[str, ...], encoders: tuple[str, ...], *, kills: int, seed: int
) -> Iterator[Verified]:
    """One each."""
    for domain in domains:
        for encoder in encoders:
            path = recipes.write(domain, work / "recipes", encoder)
            found = certificate(path, work / f"verify-{path.stem}", kills, seed=seed)
            yield Verified(path.stem, len(found.kills), str(found), list(found.differences))


def summary(found: list[Verified]) -> str:
    """A line a recipe, and a line for all."""
    lines = [f"{each.case:<16} {each.kills} kills: {'DIFFERS' if each.problems else 'equal'}" for each in found]
    lines += [each.text for each in found if each.problems]
    return "\n".join([*lines, f"{sum(not each.problems for each in found)} of {len(found)} certificates"])
