"""One recipe's run: left alone, or interrupted and gone on with until it has finished."""

from __future__ import annotations

import functools
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from seqkit.io import atomic
from seqkit.runs import checkpoint, comparison
from seqkit.runs.comparison import RunDigest
from tests.faults import children, recipes
from tests.faults.children import Child, Sabotage


@dataclass(frozen=True)
class Case:
    """A recipe, where its runs go, and how it ends when it is left alone."""

    recipe: Path
    folder: Path
    whole: RunDigest
    seconds: float
    sets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.recipe.stem


def case(domain: str, work: Path, encoder: str = "lstm") -> Case:
    """Run a domain's tiny recipe in one go."""
    return case_of(recipes.write(domain, work / "recipes", encoder), work)


def case_of(path: Path, work: Path, sets: tuple[str, ...] = ()) -> Case:
    """Run a recipe in one go, with these overrides."""
    folder = work / path.stem
    folder.mkdir(parents=True)
    said = folder / "whole.txt"
    arguments = ["run", str(path), "--quiet", *(word for each in sets for word in ("--set", each))]
    child = children.start([*arguments, "--out", str(folder / "whole")], said, cache=folder / "whole-cache")
    code = child.wait()
    assert code == 0, f"{path.stem} left with {code}: {said.read_text()}"
    return Case(path, folder, comparison.read(folder / "whole"), child.seconds, sets)


class Attempt:
    """A run of a case that things happen to. Gone on with as any supervisor would, without a look inside."""

    def __init__(self, case: Case, name: str) -> None:
        self.case = case
        self.out = case.folder / name
        self.cache = case.folder / f"{name}-cache"
        self.said = case.folder / f"{name}.txt"

    def start(self, *, fault: str | None = None, sabotage: Sabotage | None = None) -> Child:
        """Start it, or go on with it if there is something to go on with."""
        if (self.out / "resolved.yaml").exists():
            arguments = ["run", "--quiet", "--resume", str(self.out)]
        else:
            sets = [word for each in self.case.sets for word in ("--set", each)]
            arguments = ["run", str(self.case.recipe), "--quiet", *sets, "--out", str(self.out)]
        return children.start(arguments, self.said, fault=fault, sabotage=sabotage, cache=self.cache)

    def finish(self, sabotage: Sabotage | None = None) -> list[str]:
        """Go on to the end; what is not as in the run that was left alone, in sentences."""
        code = self.start(sabotage=sabotage).wait()
        if code != 0:
            return [f"resumed, it left with {code}: {self.tail()}"]
        return self.differences()

    def differences(self) -> list[str]:
        """What is not as in the run that was left alone, whatever lies about included."""
        found = list(comparison.find_differences(self.case.whole, comparison.read(self.out)))
        # Unfinished entries of killed processes go when the next one needs the cache; runs leave none.
        found += [f"cache: {path.name} was left behind" for path in self.cache.glob("store/.*")]
        if (state := self.status()["state"]) != "finished":
            found.append(f"its state is {state}")
        return found

    def status(self) -> dict[str, object]:
        return atomic.read_json(self.out / "status.json") or {"state": "none"}

    def step(self) -> int | None:
        """The step of its newest valid checkpoint, None if it has none. Nothing is touched."""
        found = checkpoint.newest(self.out / "checkpoints", repair=False)
        return None if found is None else checkpoint.step_of(found)

    def tail(self) -> str:
        return " / ".join(self.said.read_text(errors="replace").strip().splitlines()[-3:])

    def clear(self) -> None:
        """Remove it; called when there is nothing to look at."""
        for path in (self.out, self.cache):
            shutil.rmtree(path, ignore_errors=True)
        self.said.unlink(missing_ok=True)


@functools.cache
def shell(code: int) -> int:
    """An exit code as a shell shows it: 137 for a process that SIGKILL ended."""
    return 128 - code if code < 0 else code


KILLED = shell(-signal.SIGKILL)
