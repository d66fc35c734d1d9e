"""The loop: it learns, it gives the same numbers again, and a resumed run ends like one that was not interrupted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from seqkit import recipe
from seqkit.errors import Interrupted, RunError
from seqkit.experiments import run_recipe
from seqkit.model import Model
from seqkit.runs import checkpoint
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.training import averaging
from seqkit.training.state import TrainingState

TEXT = "the quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def single(corpus: Path, *sets: str) -> recipe.Recipe:
    path = corpus.with_name("tiny.yaml")
    path.write_text(
        f"""
seed: 7
tasks:
  lm: {{use: charlm, file: {corpus}, window: 16, piece: 100, dev: 0.1, test: 0.1}}
encoder: {{use: lstm, dim: 8, hidden: 16, dropout: 0.1, layers: 2}}
train: {{steps: 24, batch: 4, evaluate_every: 8, log_every: 3, histograms: false, optimizer: {{use: adamw, lr: 0.01}}}}
"""
    )
    return recipe.load(str(path), sets)


def joint(corpus: Path) -> recipe.Recipe:
    path = corpus.with_name("joint.yaml")
    path.write_text(
        f"""
seed: 7
tasks:
  lm: {{use: charlm, file: {corpus}, window: 16, piece: 100, dev: 0.1, test: 0.1}}
  mood: {{use: sentiment, source: generated, unit: characters, sizes: [60, 20, 20], weight: 0.5}}
encoder: {{use: gru, dim: 8, hidden: 16, output_dropout: 0.2}}
train: {{steps: 24, batch: 4, accumulate: 2, average: 0.9, evaluate_every: 12, log_every: 5, histograms: false}}
"""
    )
    return recipe.load(str(path))


def lazy(corpus: Path) -> recipe.Recipe:
    """Words, an adaptive softmax, and an optimiser that changes only the rows that were read."""
    words = ["tasks.lm.unit=words", "tasks.lm.head={use: language, softmax: adaptive, cutoffs: [6, 9]}"]
    return single(corpus, *words, "train.optimizer={use: lazy_adamw, lr: 0.01}", "train.accumulate=2")


def run_it(checked: recipe.Recipe, folder: Path, *, resume: bool = False) -> run_recipe.RunResult:
    run = Run.resume(folder) if resume else Run.create("t", text=checked.text, resolved=checked.resolved(), out=folder)
    return run_recipe.run_recipe(checked, run, Progress(quiet=True), resume=resume)


def numbers(folder: Path) -> list[dict[str, object]]:
    """metrics.jsonl without timings."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    path = checkpoint.read_pointer(folder / "checkpoints", "last")
    assert path is not None
    tensors, _ = checkpoint.load(path)
    return {f"{stem}/{name}": tensor for stem, named in tensors.items() for name, tensor in named.items()}


def same(a: Path, b: Path) -> None:
    one, two = weights(a), weights(b)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert numbers(a) == numbers(b)
    assert json.loads((a / "metrics.json").read_text()) == json.loads((b / "metrics.json").read_text())


def test_it_learns_and_keeps_the_best(corpus: Path, tmp_path: Path) -> None:
    finished = run_it(single(corpus, "train.steps=60"), tmp_path / "run")
    assert finished.scores["lm/test/nats"] < 2.6 < math.log(28)
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"
    rows = numbers(tmp_path / "run")
    best = min((row["lm/dev/nats"], row["step"]) for row in rows if "lm/dev/nats" in row)
    assert best == (pytest.approx(finished.scores["lm/dev/nats"], abs=1e-9), finished.best_step)


def test_the_same_recipe_gives_the_same_numbers(corpus: Path, tmp_path: Path) -> None:
    run_it(single(corpus), tmp_path / "a")
    again = recipe.load(str(tmp_path / "a/resolved.yaml"))
    run_it(again, tmp_path / "b")
    same(tmp_path / "a", tmp_path / "b")


class Stopping(Interrupts):
    """Asks to stop once the flag was read so many times, as a Ctrl-C between two steps would."""

    reads = 0
    after = 0

    @property
    def requested(self) -> bool:
        Stopping.reads += 1
        return Stopping.reads >= Stopping.after


@pytest.mark.parametrize("after", [1, 9, 15, 16])
@pytest.mark.parametrize("kind", ["single", "joint", "lazy"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, kind: str
) -> None:
    checked = {"single": single, "joint": joint, "lazy": lazy}[kind](corpus)
    run_it(checked, tmp_path / "whole")
    with monkeypatch.context() as patch:
        Stopping.reads, Stopping.after = 0, after
        patch.setattr(run_recipe, "Interrupts", Stopping)
        with pytest.raises(Interrupted):
            run_it(checked, tmp_path / "parts")
    assert json.loads((tmp_path / "parts/status.json").read_text())["state"] == "interrupted"
    torch.manual_seed(12345)  # the present random state must not matter
    run_it(checked, tmp_path / "parts", resume=True)
    same(tmp_path / "whole", tmp_path / "parts")


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_over(corpus: Path, tmp_path: Path) -> None:
    checked = single(corpus)
    run_it(checked, tmp_path / "run")
    for path in (tmp_path / "run/checkpoints").glob("step-*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match="every checkpoint is damaged"):
        run_it(checked, tmp_path / "run", resume=True)


def test_the_comparison_can_fail(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resume is broken on purpose: what the optimiser keeps is not restored."""
    checked = single(corpus)
    run_it(checked, tmp_path / "whole")
    with monkeypatch.context() as patch:
        Stopping.reads, Stopping.after = 0, 9
        patch.setattr(run_recipe, "Interrupts", Stopping)
        with pytest.raises(Interrupted):
            run_it(checked, tmp_path / "parts")
    monkeypatch.setattr(TrainingState, "_load_optimizer", lambda self, saved, *, changed: None)
    run_it(checked, tmp_path / "parts", resume=True)
    with pytest.raises(AssertionError):
        same(tmp_path / "whole", tmp_path / "parts")


def test_accumulated_batches_step_like_one_large_batch(corpus: Path, tmp_path: Path) -> None:
    """Two batches of 2 a step give the gradients of one batch of 4: the mean is over all that was counted."""
    rows = "\n".join(f"{word}\t{label}" for word, label in [("ab", "x"), ("abcd", "y"), ("b", "x"), ("dca", "y")] * 2)
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.tsv").write_text(rows + "\n")
    path = tmp_path / "r.yaml"

    def trained(batch: int, accumulate: int, out: str) -> dict[str, torch.Tensor]:
        path.write_text(
            f"""
tasks: {{t: {{use: sentiment, folder: {tmp_path}, unit: characters}}}}
encoder: {{use: gru, dim: 4, hidden: 6}}
train: {{epochs: 1, batch: {batch}, accumulate: {accumulate}, histograms: false, optimizer: {{use: sgd, lr: 0.5}}}}
"""
        )
        checked = recipe.load(str(path))
        run_it(checked, tmp_path / out)
        return {k: v for k, v in weights(tmp_path / out).items() if k.startswith("model/")}

    one, two = trained(8, 1, "one"), trained(4, 2, "two")
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)


def test_patience_ends_training_early(corpus: Path, tmp_path: Path) -> None:
    checked = single(
        corpus, "train.optimizer.lr=1.0e-12", "train.patience=1", "train.steps=400", "train.evaluate_every=2"
    )
    run_it(checked, tmp_path / "run")
    assert numbers(tmp_path / "run")[-1]["step"] < 400


def test_a_loss_that_is_not_finite_stops_the_run_before_the_step(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Model.loss

    def broken(self, task, batch, state=None):
        total, count, encoded = real(self, task, batch, state)
        return total * math.nan, count, encoded

    monkeypatch.setattr(Model, "loss", broken)
    with pytest.raises(RunError, match=r"step 1: the loss of task lm is nan.*lane 0"):
        run_it(single(corpus), tmp_path / "run")
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "failed"


def test_averaged_weights_are_the_running_mean(corpus: Path, tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    average = averaging.AveragedWeights(model, 0.9)  # type: ignore[arg-type]
    expected = model.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 2))
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        average.update(step)
    assert torch.allclose(average.weights["weight"], expected, atol=1e-6)
    current = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, average.weights["weight"])
    assert torch.equal(model.weight, current)
