"""S1: how long until the command says anything. S2: from the command to the first optimiser step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.frame import Case, Contender, Group, Prepared, Target

RECIPE = """seed: 1
tasks:
  charlm: {source: python-docs, window: 64}
encoder: {use: gru, hidden: 16}
train: {steps: 1, batch: 8, histograms: false}
"""
SCRIPT = """import torch
from torch import nn
text = "".join(chr(97 + i % 26) for i in range(20000))
symbols = sorted(set(text))
x = torch.tensor([symbols.index(c) for c in text[:513]])
table, cell, out = nn.Embedding(26, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 26)
optimizer = torch.optim.AdamW([*table.parameters(), *cell.parameters(), *out.parameters()])
loss = nn.functional.cross_entropy(out(cell(table(x[:512].view(8, 64)))[0]).flatten(0, 1), x[1:])
loss.backward()
optimizer.step()
"""


def _running(command: list[str]) -> Prepared:
    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return Prepared(run)


def seqkit(case: str) -> Prepared:
    if case == "help":
        return _running([sys.executable, "-m", "seqkit", "--help"])
    folder = tempfile.mkdtemp()
    recipe = Path(folder) / "recipe.yaml"
    recipe.write_text(RECIPE)
    if case == "check":
        return _running([sys.executable, "-m", "seqkit", "recipes", "check", str(recipe)])
    os.environ["SEQKIT_CACHE"] = str(Path(folder) / "cache")
    count = 0

    def run() -> None:
        nonlocal count
        count += 1
        out = str(Path(folder) / f"run-{count}")
        command = [sys.executable, "-m", "seqkit", "run", str(recipe), "--quiet", "--out", out]
        subprocess.run(command, check=True, capture_output=True)

    return Prepared(run)


def torch(case: str) -> Prepared:
    code = SCRIPT if case == "first step" else "import torch"
    return _running([sys.executable, "-c", code])


HERE = __name__
GROUP = Group(
    "startup",
    "Whole processes: `seqkit --help`, the check of a recipe, and a recipe of one optimiser step from start to "
    "end (with run folder, evaluation on dev and test, and model folder), compared with `python -c 'import "
    "torch'` and with a bare script of one step.",
    [
        Case("help", {"case": "help"}, quick=True),
        Case("check", {"case": "check"}, quick=True),
        Case("first step", {"case": "first step"}),
    ],
    [Contender("seqkit", f"{HERE}:seqkit"), Contender("torch", f"{HERE}:torch")],
    # What matters is how small a share of torch's own start this is: torch's time over ours.
    [
        Target("`seqkit --help` against `import torch`", "help", "torch", 1 / 0.15, 1 / 0.08),
        Target("first step of a run against a bare script", "first step", "torch", 1, 1),
    ],
)
