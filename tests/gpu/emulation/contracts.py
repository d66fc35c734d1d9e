"""`python -m tests.gpu.emulation.contracts [--json FILE]`: `seqkit prove` and `verify-resume` on the emulated GPU.

For a task of each of five kinds: classification, a random field, a language model, CTC, and a decoder with attention.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from seqkit.verification.resume import verify_resume
from tests.gpu.emulation import libraries

TASKS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "classify": ("sentiment", ()),
    "crf": ("ner", ()),
    "language": ("charlm", ()),
    "ctc": (
        "speech",
        ("tasks.speech.target=text", "tasks.speech.unit=characters", "tasks.speech.head={use: ctc}", "expect={}"),
    ),
    "attend": ("translation", ()),
}
"""The recipe of each kind, and what is set in it."""

FEW_EVALUATED: Final = {
    "crf": "tasks.ner.sizes=[400, 24, 24]",
    "ctc": "tasks.speech.sizes=[120, 24, 24]",
    "attend": "tasks.translation.sizes=[400, 24, 24]",
}
"""Smaller data for the runs that are killed: Triton's interpreter takes minutes for the evaluation of whole splits."""

STEPS, KILLS = 12, 2


def run_seqkit(arguments: Sequence[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of seqkit in a process that sees the emulated GPU."""
    command = [sys.executable, "-m", "tests.gpu.emulation.command", *arguments]
    environment = {**libraries.environment(folder), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)


def prove(kind: str, folder: Path) -> dict[str, Any]:
    """How many checks held; `error` if one did not."""
    recipe, sets = TASKS[kind]
    options = [word for change in sets for word in ("--set", change)]
    ended = run_seqkit(["prove", recipe, *options, "--device", "cuda", "--json"], folder)
    if ended.returncode:
        return {"error": (ended.stdout + ended.stderr)[-3000:]}
    return {"checks": len([line for line in ended.stdout.splitlines() if line.startswith("{")])}


def resume(kind: str, folder: Path) -> dict[str, Any]:
    """Where a run was killed, and whether it ended as one that was not; `error` if that could not be found out."""

    def launch(arguments: Sequence[str], fault: str | None, log: Path) -> int:
        ended = run_seqkit(arguments, folder, **({} if fault is None else {"SEQKIT_FAULT": fault}))
        log.write_text(ended.stdout + ended.stderr)
        return ended.returncode

    recipe, sets = TASKS[kind]
    few = [FEW_EVALUATED[kind]] if kind in FEW_EVALUATED else []
    options = [*sets, *few, "device=cuda", "train.precision=fp32", "train.batch=8"]
    certificate = verify_resume(
        recipe, options, kills=KILLS, steps=STEPS, seed=1, folder=folder / "runs", launch=launch
    )
    facts = {"equal": certificate.equal, "kills": len(certificate.kills), "sha256": certificate.sha256}
    return facts | ({"error": "\n".join(certificate.differences)[:3000]} if not certificate.equal else {})


CHECKS: Final = {"prove": prove, "verify-resume": resume}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.emulation.contracts", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kind", action="append", choices=list(TASKS))
    parser.add_argument("--check", action="append", choices=list(CHECKS))
    options = parser.parse_args()
    if reason := libraries.why_not():
        print(f"no GPU can be emulated: {reason}")
        return 2
    results: dict[str, dict[str, Any]] = {}
    for check in options.check or CHECKS:
        for kind in options.kind or TASKS:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                facts = CHECKS[check](kind, Path(folder))
            results.setdefault(check, {})[kind] = facts | {"recipe": TASKS[kind][0]}
            print(f"{check} {kind}: {facts} after {time.monotonic() - began:.0f} s", flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1))
    return int(any("error" in facts for of_check in results.values() for facts in of_check.values()))


if __name__ == "__main__":
    sys.exit(main())
