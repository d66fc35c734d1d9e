"""A training run on a GPU: the CPU's numbers within tolerance, and no step that waits for the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqkit import recipe
from seqkit.experiments import run_recipe
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

RECIPE = """
seed: 3
tasks:
  lm: {{use: charlm, file: {folder}/text.txt, window: 32, piece: 200}}
  mood: {{use: sentiment, sizes: [400, 50, 50]}}
encoder: {{use: {cell}, dim: 32, hidden: 64}}
train: {{steps: {steps}, batch: 8, evaluate_every: {steps}, log_every: {steps},
        precision: {precision}, histograms: false}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    return tmp_path


def made(folder: Path, *, cell: str, precision: str, steps: int, device: str) -> recipe.Recipe:
    path = folder / "gpu.yaml"
    path.write_text(RECIPE.format(folder=folder, cell=cell, precision=precision, steps=steps))
    return recipe.load(str(path), [f"device={device}"])


def scores(checked: recipe.Recipe, out: Path, progress: Progress | None = None) -> dict[str, float]:
    run = Run.create("gpu", text=checked.text, resolved=checked.resolved(), out=out)
    return run_recipe.run_recipe(checked, run, progress or Progress(quiet=True)).scores


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_run_on_the_gpu_gives_the_numbers_of_the_cpu(folder: Path, cell: str) -> None:
    options = {"cell": cell, "precision": "fp32", "steps": 30}
    cpu = scores(made(folder, device="cpu", **options), folder / "cpu")
    gpu = scores(made(folder, device="cuda", **options), folder / "cuda")
    assert gpu == {key: pytest.approx(value, abs=0.03) for key, value in cpu.items()}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_well(folder: Path, precision: str) -> None:
    full = scores(made(folder, cell="lstm", precision="fp32", steps=60, device="cuda"), folder / "fp32")
    half = scores(made(folder, cell="lstm", precision=precision, steps=60, device="cuda"), folder / precision)
    assert half["lm/test/nats"] == pytest.approx(full["lm/test/nats"], abs=0.1)


def test_steps_as_graphs_give_the_same_weights(folder: Path) -> None:
    weights = []
    for setting in ("false", "true"):
        made(folder, cell="lstm", precision="fp32", steps=60, device="cuda")
        checked = recipe.load(str(folder / "gpu.yaml"), ["device=cuda", f"train.cuda_graphs={setting}"])
        scores(checked, folder / setting)
        weights.append((folder / setting / "model" / "model.safetensors").read_bytes())
    log = (folder / "true" / "run.log").read_text()
    assert "task lm: batches of 8 x 32 steps are run as a CUDA graph" in log, log
    assert weights[0] == weights[1]


class Watching(Progress):
    """From the third step to the 53rd, an operation that makes the CPU wait for the GPU is an error."""

    def update(self, step: int, total: int | None = None, *, tokens: int = 0, **fields: object) -> None:
        if step == 3:
            torch.cuda.set_sync_debug_mode("error")
        if step == 53:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_fifty_steps_do_not_wait_for_the_gpu(folder: Path, cell: str) -> None:
    try:
        checked = made(folder, cell=cell, precision="auto", steps=60, device="cuda")
        scores(checked, folder / "watched", Watching(quiet=True))
    finally:
        torch.cuda.set_sync_debug_mode("default")
