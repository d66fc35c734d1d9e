"""Digests of short runs of the offline recipes: a change that is meant to change no number is held to them.

`python -m tests.digests` compares, `python -m tests.digests --record` writes `recorded.json` anew (after a change that
is meant to change numbers; say so in the changelog). Digests hold on one kind of processor and one version of torch
only, so both are recorded with them; on any other machine the losses are compared within a tolerance instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from seqkit.runs import comparison
from seqkit.runtime import native_library

RECIPES = ("charlm", "ner", "sentiment", "speech", "genome", "names", "translation", "joint")
"""The offline recipes: between them every task, every encoder and nearly every head."""

SETTINGS = ("train.steps=12", "train.evaluate_every=6", "train.log_every=3")

RECORDED = Path(__file__).with_name("recorded.json")

TOLERANCE = 2e-3
"""Relative difference of a loss or score between two kinds of processors after twelve steps."""


def machine() -> str:
    """What rounding depends on: torch's version and vector instructions, and the native library's key."""
    facts = [
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        native_library.implementation_key(),
        _processor(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line for line in lines if line.startswith("model name")), "unknown")


def run(recipe: str, folder: Path) -> dict[str, Any]:
    """Train a recipe for twelve steps on one thread; its digest and its numbers, `step name` -> value."""
    command = [sys.executable, "-m", "seqkit", "run", recipe, "--quiet", "--out", str(folder)]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{recipe}: exit code {done.returncode}: {done.stderr[-2000:]}")
    left = comparison.read(folder)
    numbers = {f"{step} {name}": value for (step, name), (value, _) in left.metrics.items()}
    return {"sha256": left.sha256, "numbers": numbers}


def recorded() -> dict[str, Any]:
    """`{"digests": {machine: {recipe: SHA-256}}, "numbers": {recipe: {"step name": value}}}`."""
    content: dict[str, Any] = json.loads(RECORDED.read_text())
    return content
