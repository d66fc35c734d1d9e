"""Large vocabularies on a GPU: the numbers of the CPU, one order of sums, and a bad step that is passed over."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit import recipe
from seqkit.experiments import run_recipe
from seqkit.heads.adaptive_softmax import AdaptiveSoftmax
from seqkit.layers.embedding import Embedding
from seqkit.optim.gradients import dense_gradients
from seqkit.optim.optimizers import lazy_adamw
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

V, D = 5_000, 64


def stepped(device: str, *, bad: bool = False, steps: int = 10) -> torch.Tensor:
    """The table after some steps; `bad`: a gradient is spoiled in each second one, and the optimiser is told."""
    torch.manual_seed(1)
    layer = Embedding(V, D)
    towards = torch.randn(32, 20, D).to(device)
    batches = [(torch.rand(32, 20) ** 4 * V).long().to(device) for _ in range(steps)]
    layer.sparse = True
    layer = layer.to(device)
    made: Any = lazy_adamw(layer.parameters(), lr=0.01)
    for number, x in enumerate(batches):
        made.zero_grad()
        for part in (x[:16], x[16:]):
            read, _ = layer(part, torch.full((16,), 20))
            (read * towards[:16]).tanh().sum().backward()
        gradients = dense_gradients(layer.parameters())
        if bad and number % 2:
            gradients[0][0, 0] = torch.nan
        norm = gradients.norm_of(gradients)
        gradients.clip(gradients, 1.0, norm)
        if bad:
            made.found_inf = (~norm.isfinite()).float()
        before = layer.weight.detach().clone()
        made.step()
        assert torch.equal(before, layer.weight) == (bad and number % 2 == 1)
    return layer.weight.detach().cpu()


def test_rows_move_as_on_the_cpu_and_alike_each_time() -> None:
    first = stepped("cuda")
    torch.testing.assert_close(first, stepped("cpu"), rtol=0, atol=1e-5)
    assert all(torch.equal(first, stepped("cuda")) for _ in range(10))


def test_a_bad_step_leaves_the_rows() -> None:
    torch.testing.assert_close(stepped("cuda", bad=True), stepped("cpu", bad=True), rtol=0, atol=1e-5)


def test_the_adaptive_softmax_has_the_numbers_of_the_cpu() -> None:
    torch.manual_seed(2)
    cpu = AdaptiveSoftmax(D, V)
    gpu = copy.deepcopy(cpu).to("cuda")
    steps, y = torch.randn(500, D), torch.randint(-1, V, (500,))
    actual = []
    for softmax, device in ((cpu, "cpu"), (gpu, "cuda")):
        nats = softmax.nats(steps.to(device), y.to(device))
        grads = torch.autograd.grad(softmax.loss(steps.to(device), y.to(device)), list(softmax.parameters()))
        sure, best = softmax.best(steps.to(device))
        actual.append([each.detach().cpu() for each in (nats, *grads, sure)])
        assert torch.equal(best.cpu(), softmax.log_probabilities(steps.to(device)).argmax(dim=-1).cpu())
    for one, other in zip(*actual, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_language_model_of_words_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog ran to the old house by the sea . " * 60)
    path = tmp_path / "words.yaml"
    path.write_text(
        f"""
seed: 7
device: cuda
tasks:
  lm:
    {{use: charlm, file: {tmp_path}/text.txt, unit: words, window: 8, piece: 200, dev: 0.1, test: 0.1,
     head: {{use: language, softmax: adaptive, cutoffs: [6, 12]}}}}
encoder: {{use: gru, dim: 16, hidden: 32}}
train: {{steps: 80, batch: 4, histograms: true, precision: {precision}, optimizer: {{use: lazy_adamw, lr: 0.02}}}}
"""
    )
    checked = recipe.load(str(path))
    run = Run.create("gpu", text=checked.text, resolved=checked.resolved(), out=tmp_path / "run")
    assert run_recipe.run_recipe(checked, run, Progress(quiet=True)).scores["lm/test/nats"] < 1.0
