"""`python -m tests.gpu.emulation RECIPE ...|all [--json FILE]`: what a GPU would mind in a run of a recipe.

Each recipe trains for some steps, evaluates, saves, is resumed, and predicts. With `--operations` it trains for some
steps only, and what a step dispatches is listed by line and by kind. This starts a process that sees the GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

from seqkit.recipe import bundled
from tests.gpu.emulation import libraries

Extent: TypeAlias = Literal["run", "operations"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.emulation", description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--operations", action="store_true", help="only count the operations of a step")
    options = parser.parse_args()
    if reason := libraries.why_not():
        print(f"no GPU can be emulated: {reason}")
        return 2
    failed = False
    results = {}
    names = bundled.names() if options.recipes == ["all"] else options.recipes
    for recipe in names:
        with tempfile.TemporaryDirectory() as folder:
            extent: Extent = "operations" if options.operations else "run"
            facts = run(recipe, options.sets, options.steps, Path(folder), extent=extent)
        kernels = os.environ.get("SEQKIT_KERNELS")
        results[f"{recipe} (SEQKIT_KERNELS={kernels})" if kernels else recipe] = facts
        (show_operations if options.operations else show)(recipe, facts)
        failed |= bool(facts.get("error"))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    return int(failed)


def run(
    recipe: str, sets: list[str], steps: int, folder: Path, *, timeout: float | None = None, extent: Extent = "run"
) -> dict:
    """What was seen in a run of this recipe, or only in its steps, with `error` if it failed."""
    out = folder / "facts.json"
    command = [sys.executable, "-m", "tests.gpu.emulation.recipe_run", extent, recipe, str(folder), str(steps), *sets]
    ended = subprocess.run(
        command, env=libraries.environment(folder), capture_output=True, text=True, check=False, timeout=timeout
    )
    if not out.exists():
        return {"error": (ended.stdout + ended.stderr)[-4000:]}
    return json.loads(out.read_text())


def show_operations(recipe: str, facts: dict) -> None:
    """The operations of a step by the line that made them, and by kind."""
    print(f"== {recipe}: operations of each step: {facts.get('steps')}\n{facts.get('error', '')}")
    by_line: dict[str, Counter[str]] = {}
    for where, name, count in facts.get("lines", []):
        by_line.setdefault(where, Counter())[name] += count
    for where, names in sorted(by_line.items(), key=lambda pair: -pair[1].total()):
        shown = ", ".join(name if count == 1 else f"{count} {name}" for name, count in names.most_common())
        print(f"  {names.total():5}  {where}: {shown}")
    print()
    for name, count in facts.get("operations", {}).items():
        print(f"  {count:5}  {name}")


def show(recipe: str, facts: dict) -> None:
    print(f"== {recipe}")
    if facts.get("error"):
        print(facts["error"])
    for kind, phase, where, operation, count in facts.get("troubles", []):
        print(f"  {kind:18} {phase:14} {count:5}  {where}: {operation}")
    print(f"  read-backs {facts.get('read_backs')}  evaluated batches {facts.get('batches')}")
    print(f"  operations of each step: {facts.get('steps')}")
    print(f"  resumed alike: {facts.get('resumed alike')}; predictions {facts.get('predictions')}")


if __name__ == "__main__":
    sys.exit(main())
