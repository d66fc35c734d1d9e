"""`python -m tests.gpu.emulation.graphed RECIPE ... [--json FILE]`: recipes with `train.cuda_graphs` and without.

Each trains for some steps in both ways: how many operations a step has, whether graphs were captured, and whether the
weights are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.gpu.emulation import libraries
from tests.gpu.emulation.device import emulated_gpu
from tests.gpu.emulation.recipe_run import few_evaluated, watched, weights
from tests.gpu.emulation.tensors import records

STEPS: Final = 10


def train(recipe_name: str, folder: Path, sets: list[str]) -> dict[str, Any]:
    """A short run in a process that sees the emulated GPU."""
    from seqkit import recipe
    from seqkit.experiments import run_recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

    every = [f"train.steps={STEPS}", f"train.evaluate_every={STEPS}", f"train.log_every={STEPS}", "train.memory=null"]
    checked = recipe.load(recipe_name, [*every, "train.batch=8", "train.tokens=null", "device=cuda", *sets])
    with emulated_gpu(), watched(), few_evaluated():
        run = Run.create("graphs", text=checked.text, resolved=checked.resolved(), out=folder / "run")
        run_recipe.run_recipe(checked, run, Progress(quiet=True))
    log = [line.partition(" ")[2] for line in (run.folder / "run.log").read_text().splitlines() if "graph" in line]
    graphed = [step for step in records.steps if step["CUDA graph"]]
    steps = sorted(step.total() for step in graphed or records.steps)
    return {
        "weights": weights(run.folder),
        "operations": steps[len(steps) // 2],
        "steps": [step.total() for step in records.steps],
        "graphs": len(graphed),
        "log": log,
        "waits": records.of("wait", "step"),
    }


def compare(recipe: str, sets: list[str], *, timeout: float | None = None) -> dict[str, Any]:
    """Both ways; `error` if one failed."""
    results = []
    for setting in ("false", "true"):
        with tempfile.TemporaryDirectory() as folder:
            arguments = [recipe, folder, f"train.cuda_graphs={setting}", *sets]
            ended = subprocess.run(
                [sys.executable, "-m", "tests.gpu.emulation.graphed", "--child", *arguments],
                env=libraries.environment(Path(folder)),
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
            if ended.returncode:
                return {"error": ended.stderr[-3000:]}
            results.append(json.loads(ended.stdout.splitlines()[-1]))
    plain, graphed = results
    return {
        "operations": plain["operations"],
        "with graphs": graphed["operations"],
        "steps": graphed["steps"],
        "captured": graphed["graphs"] > 0,
        "equal": plain["weights"] == graphed["weights"],
        "log": graphed["log"],
        "waits": graphed["waits"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.emulation.graphed", description=__doc__)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if reason := libraries.why_not():
        print(f"no GPU can be emulated: {reason}")
        return 2
    results: dict[str, dict[str, Any]] = {}
    for recipe in options.recipes:
        results[recipe] = compare(recipe, options.sets)
        print(f"{recipe}: {results[recipe]}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1))
    return int(any("error" in facts or not facts["equal"] for facts in results.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _, _, name, where, *changes = sys.argv
        print(json.dumps(train(name, Path(where), changes)))
    else:
        sys.exit(main())
