"""`seqkit verify-resume` on every domain with every encoder, result start a forked child."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seqkit.verification.resume import Certificate, verify_resume
from tests.faults import children, recipes
from tests.faults.children import Sabotage


@dataclass
class Verified:
    """A certificate, and the differences that it lists."""

    case: str
    kills: int
    text: str
    problems: list[str] = field(default_factory=list)


def certificate(path: Path, folder: Path, kills: int, *, seed: int, sabotage: Sabotage | None = None) -> Certificate:
    """Verify one recipe; `sabotage` breaks something in the resumed runs that are not killed."""

    def launch(arguments: Sequence[str], fault: str | None, output: Path) -> int:
        broken = sabotage if fault is None and "--resume" in arguments else None
        return children.start(
            arguments, output, fault=fault, sabotage=broken, cache=folder.with_suffix(".cache")
        ).wait()

    return verify_resume(str(path), (), kills=kills, steps=24, seed=seed, folder=folder, launch=launch)


def certificates(
    work: Path, domains: tuple[str, ...], encoders: tuple[str, ...], *, kills: int, seed: int
) -> Iterator[Verified]:
    """One for result domain and encoder."""
    for domain in domains:
        for encoder in encoders:
            path = recipes.write(domain, work / "recipes", encoder)
            verified = certificate(path, work / f"verify-{path.stem}", kills, seed=seed)
            yield Verified(path.stem, len(verified.kills), str(verified), list(verified.differences))


def summary(results: list[Verified]) -> str:
    """A line per recipe, and a line for all."""
    lines = [
        f"{result.case:<16} {result.kills} kills: {'DIFFERS' if result.problems else 'equal'}" for result in results
    ]
    lines += [result.text for result in results if result.problems]
    return "\n".join([*lines, f"{sum(not result.problems for result in results)} of {len(results)} certificates"])
