"""M1: resident memory over a whole run, beside what its largest batch needs. M2: growth over 50 epochs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.frame import Case, Contender, Group, Limit, Prepared

WHOLE, ONE, EPOCHS = "whole run", "one epoch", "50 epochs"
SETTLED = 10
"""Epochs after which memory may not grow any more."""


def seqkit(recipe: str, epochs: int, sets: Sequence[str] = ()) -> Prepared:
    """A run in a process of its own, made once; a round answers the seconds that it took."""
    changes = [*sets, f"train.epochs={epochs}"]
    with tempfile.TemporaryDirectory(prefix="seqkit-memory-") as folder:
        environment = {"SEQKIT_CACHE": str(Path(folder) / "cache")} | os.environ
        run = child("run", recipe, folder, changes, environment)
        needed = child("needed", recipe, folder, changes, environment)
    notes = needed | {name: run[name] for name in ("records", "scores", "precision")}
    return Prepared(lambda: float(run["seconds"]), None, notes)


def child(kind: str, recipe: str, folder: str, changes: Sequence[str], environment: Mapping[str, str]) -> Any:
    command = [sys.executable, "-m", "benchmarks.memory_child", kind, recipe, str(Path(folder) / "run"), *changes]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def derive(cases: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The peak beside what the largest batch needs, and the growth by epoch."""
    figures: dict[str, Any] = {}
    for case in cases:
        notes = case["notes"]
        if not notes:
            continue
        records = notes["records"]
        peak, ends = max(record["peak"] for record in records), epoch_starts(records)
        figures[f"{case['name']}: peak over need"] = round(peak / notes["needed"], 2)
        figures[f"{case['name']}: MiB"] = (
            f"{peak:,.0f} at most; {notes['needed']:,.0f} for the process ({notes['base']:,.0f} with torch, seqkit, "
            f"data), the model of {notes['parameters']:,} weights, its optimiser and two steps on the largest batch "
            f"({notes['batch_steps']:,} steps with padding)"
        )
        figures[f"{case['name']}: resident at the start of each epoch, and at the end"] = ", ".join(
            f"{size:,.1f}" for size in ends
        )
        figures[f"{case['name']}: growth an epoch from the second on, MiB"] = round(growth(ends[1:-1]), 3)
        if len(ends) > SETTLED + 2:
            figures[f"{case['name']}: growth an epoch from the tenth on, MiB"] = round(
                growth(ends[SETTLED - 1 : -1]), 3
            )
        scores = ", ".join(f"{name} {score:.4g}" for name, score in notes["scores"].items())
        figures[f"{case['name']}: scores"] = f"{scores}; {notes['precision']}"
    return figures


def epoch_starts(records: Sequence[Mapping[str, float]]) -> list[float]:
    """MiB of the process itself, without pages of files, after the first step of each epoch, and after the run."""
    sizes: dict[float, float] = {}
    for record in records:
        sizes.setdefault(record["epoch"], record["own"])
    return list(sizes.values())


def growth(sizes: Sequence[float]) -> float:
    """MiB an epoch from the first to the last of these."""
    return (sizes[-1] - sizes[0]) / (len(sizes) - 1) if len(sizes) > 1 else 0.0


HERE = __name__
GROUP = Group(
    "memory",
    "A whole run in a process of its own, as `seqkit run` does it, evaluations included; data prepared in the same "
    "process. Its most resident memory (the kernel's own record, pages of files included) is compared with that of "
    "another process, which imports the same, opens the stored data, builds the model and takes two steps with its "
    "optimiser on the batch with the most padded steps of all epochs. Growth is that of memory that is no page of a "
    "file, from epoch to epoch.",
    [
        Case(
            WHOLE,
            {"recipe": "translation-multi30k", "epochs": 10},
            on_request=True,
            quick_options={"epochs": 1, "sets": ["train.steps=60", "tasks.translation.head.beams=1"]},
        ),
        Case(ONE, {"recipe": "translation-multi30k", "epochs": 1}, on_request=True),
        Case(EPOCHS, {"recipe": "ner", "epochs": 50}, quick=True, quick_options={"epochs": 4}),
    ],
    [Contender("seqkit", f"{HERE}:seqkit")],
    rounds=1,
    derive=derive,
    limits=[
        Limit(
            "peak memory of a whole translation run, over what its largest batch needs",
            f"{WHOLE}: peak over need",
            1.5,
            1.25,
        ),
        Limit("growth of memory an epoch, MiB", f"{EPOCHS}: growth an epoch from the second on, MiB", 1, 0.1),
        Limit("the same from the tenth epoch on", f"{EPOCHS}: growth an epoch from the tenth on, MiB", 0.05, 0),
    ],
)
