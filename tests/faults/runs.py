"""The runs of one recipe: uninterrupted, or interrupted and resumed until they have finished."""

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
    """A recipe, the folder of its runs, and what an uninterrupted run ends with."""

    recipe: Path
    folder: Path
    uninterrupted: RunDigest
    seconds: float
    sets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.recipe.stem


def case(domain: str, work: Path, encoder: str = "lstm") -> Case:
    """Run a domain's tiny recipe without interruption."""
    return case_of(recipes.write(domain, work / "recipes", encoder), work)


def case_of(path: Path, work: Path, sets: tuple[str, ...] = ()) -> Case:
    """Run a recipe without interruption, with these overrides."""
    folder = work / path.stem
    folder.mkdir(parents=True)
    output = folder / "whole.txt"
    arguments = ["run", str(path), "--quiet", *(word for setting in sets for word in ("--set", setting))]
    child = children.start([*arguments, "--out", str(folder / "whole")], output, cache=folder / "whole-cache")
    code = child.wait()
    assert code == 0, f"{path.stem} exited with {code}: {output.read_text()}"
    return Case(path, folder, comparison.read(folder / "whole"), child.seconds, sets)


class Attempt:
    """A run of a case that is interrupted, and resumed without looking into its folder, as a supervisor would do it."""

    def __init__(self, case: Case, name: str) -> None:
        self.case = case
        self.out = case.folder / name
        self.cache = case.folder / f"{name}-cache"
        self.output = case.folder / f"{name}.txt"

    def start(self, *, fault: str | None = None, sabotage: Sabotage | None = None) -> Child:
        """Start the run, or resume it if there is something to resume."""
        if (self.out / "resolved.yaml").exists():
            arguments = ["run", "--quiet", "--resume", str(self.out)]
        else:
            sets = [word for setting in self.case.sets for word in ("--set", setting)]
            arguments = ["run", str(self.case.recipe), "--quiet", *sets, "--out", str(self.out)]
        return children.start(arguments, self.output, fault=fault, sabotage=sabotage, cache=self.cache)

    def finish(self, sabotage: Sabotage | None = None) -> list[str]:
        """Resume the run to its end; the differences from the uninterrupted run, in sentences."""
        code = self.start(sabotage=sabotage).wait()
        if code != 0:
            return [f"resumed, it exited with {code}: {self.tail()}"]
        return self.differences()

    def differences(self) -> list[str]:
        """The differences from the uninterrupted run, and leftovers."""
        differences = list(comparison.find_differences(self.case.uninterrupted, comparison.read(self.out)))
        # The next process that needs the cache removes unfinished entries of killed ones.
        differences += [f"cache: {path.name} was left behind" for path in self.cache.glob("store/.*")]
        if (state := self.status()["state"]) != "finished":
            differences.append(f"its state is {state}")
        return differences

    def status(self) -> dict[str, object]:
        return atomic.read_json(self.out / "status.json") or {"state": "none"}

    def step(self) -> int | None:
        """The step of its newest valid checkpoint; None if it has none. Nothing is changed."""
        newest = checkpoint.newest(self.out / "checkpoints", repair=False)
        return None if newest is None else checkpoint.step_of(newest)

    def tail(self) -> str:
        return " / ".join(self.output.read_text(errors="replace").strip().splitlines()[-3:])

    def clear(self) -> None:
        """Remove its folders; to be called if there were no problems."""
        for path in (self.out, self.cache):
            shutil.rmtree(path, ignore_errors=True)
        self.output.unlink(missing_ok=True)


@functools.cache
def shell(code: int) -> int:
    """An exit code as a shell shows it: 137 for a process that SIGKILL ended."""
    return 128 - code if code < 0 else code


KILLED = shell(-signal.SIGKILL)
