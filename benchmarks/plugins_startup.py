"""What an installed plugin costs a command that does not use it: `python -m benchmarks.plugins_startup [--plugins 20]`.

The same command runs with and without N generated distributions on its path, in turns; the difference of the medians,
divided by N, is what one costs. Wall time and the child's processor time are both given: on a busy machine only the
second means much.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {"--help": ["--help"], "tasks": ["tasks"], "recipes check": ["recipes", "check", "charlm"]}


def write(folder: Path, number: int) -> None:
    """A distribution as an installer leaves it: a package, a task, and metadata."""
    package = folder / f"seqkit_generated_{number}"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nobody asked for this')\n")
    info = folder / f"seqkit_generated_{number}-1.0.dist-info"
    info.mkdir()
    requires = "Requires-Dist: seqkit<0.2,>=0.1\nRequires-Dist: scikit-learn>=1.4\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: seqkit-generated-{number}\nVersion: 1.0\n{requires}")
    (info / "entry_points.txt").write_text(f"[seqkit.tasks]\ngenerated-{number} = {package.name}:task\n")
    (info / "RECORD").write_text(f"{package.name}/__init__.py,,\n")
    (info / "INSTALLER").write_text("pip\n")


def seconds(command: list[str], path: str) -> tuple[float, float]:
    """(wall, processor) seconds of one run of the command."""
    environment = {**os.environ, "PYTHONPATH": path}
    usage_before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "seqkit", *command], env=environment, check=True, capture_output=True)
    wall, usage_after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, usage_after.ru_utime + usage_after.ru_stime - usage_before.ru_utime - usage_before.ru_stime


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plugins_startup", description=__doc__)
    parser.add_argument("--plugins", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    python_path = os.environ.get("PYTHONPATH", "")
    results = {}
    with tempfile.TemporaryDirectory(prefix="seqkit-plugins-") as folder_name:
        for number in range(options.plugins):
            write(Path(folder_name), number)
        paths = {
            "without": python_path,
            "with": os.pathsep.join(folder for folder in (folder_name, python_path) if folder),
        }
        for name, command in COMMANDS.items():
            times: dict[str, list[tuple[float, float]]] = {variant: [] for variant in paths}
            for path in paths.values():  # once, so that files are in memory and compiled
                seconds(command, path)
            for round_ in range(options.rounds):
                for variant, path in sorted(paths.items(), reverse=bool(round_ % 2)):
                    times[variant].append(seconds(command, path))
            medians = {
                variant: [statistics.median(values) for values in zip(*times[variant], strict=True)]
                for variant in paths
            }
            wall, cpu = ((medians["with"][k] - medians["without"][k]) / options.plugins * 1000 for k in (0, 1))
            results[name] = {
                "wall_ms": round(wall, 3),
                "cpu_ms": round(cpu, 3),
                "without_ms": medians["without"][0] * 1000,
            }
            if not options.json:
                without = medians["without"][0]
                print(f"{name:<14} {wall:6.2f} ms a plugin ({cpu:.2f} ms of processor time); {without:.3f} s without")
    if options.json:
        print(json.dumps({"plugins": options.plugins, "rounds": options.rounds, "commands": results}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
