"""`python -m tests.gpu.emulation RECIPE ...|all [--json FILE]`: what a GPU would mind in a run of a recipe.

Each recipe trains for some steps, evaluates, saves, is resumed, and predicts. This starts a process that sees the GPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from seqkit.recipe import bundled
from tests.gpu.emulation import libraries


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.emulation", description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--operations", action="store_true", help="list the operations of a step")
    options = parser.parse_args()
    if reason := libraries.why_not():
        print(f"no GPU can be emulated: {reason}")
        return 2
    failed = False
    results = {}
    names = bundled.names() if options.recipes == ["all"] else options.recipes
    for recipe in names:
        with tempfile.TemporaryDirectory() as folder:
            facts = run(recipe, options.sets, options.steps, Path(folder))
        results[recipe] = facts
        show(recipe, facts, with_operations=options.operations)
        failed |= bool(facts.get("error"))
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    return int(failed)


def run(recipe: str, sets: list[str], steps: int, folder: Path, *, timeout: float | None = None) -> dict:
    """What was seen in a run of this recipe, with `error` if it failed."""
    out = folder / "facts.json"
    command = [sys.executable, "-m", "tests.gpu.emulation.recipe_run", recipe, str(folder), str(steps), *sets]
    ended = subprocess.run(
        command, env=libraries.environment(folder), capture_output=True, text=True, check=False, timeout=timeout
    )
    if not out.exists():
        return {"error": (ended.stdout + ended.stderr)[-4000:]}
    return json.loads(out.read_text())


def show(recipe: str, facts: dict, *, with_operations: bool) -> None:
    print(f"== {recipe}")
    if facts.get("error"):
        print(facts["error"])
    for kind, phase, where, operation, count in facts.get("troubles", []):
        print(f"  {kind:18} {phase:14} {count:5}  {where}: {operation}")
    print(f"  read-backs {facts.get('read_backs')}  evaluated batches {facts.get('batches')}")
    print(f"  operations of each step: {facts.get('steps')}")
    print(f"  resumed alike: {facts.get('resumed alike')}; predictions {facts.get('predictions')}")
    if with_operations:
        for name, count in facts.get("operations", {}).items():
            print(f"    {count:5}  {name}")


if __name__ == "__main__":
    sys.exit(main())
