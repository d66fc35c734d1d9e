"""Memory through time is measured without training noticing, and a resumed run writes the same records."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqkit import Example, Label, Task, Vectors, recipe
from seqkit.errors import Interrupted
from seqkit.experiments import run_recipe
from seqkit.heads.classification import Classify
from seqkit.metrics import label_scores
from seqkit.runs import comparison
from seqkit.runs.memory_log import read_memory
from seqkit.training.memory_monitor import choose_examples, next_step
from seqkit.types import Choice
from tests.helpers import small
from tests.training.test_loop import Stopping, corpus, joint, run_it, same, single

__all__ = ["corpus"]


def both_ways(path: Path, *sets: str) -> recipe.Recipe:
    """Two bidirectional layers with dropout, and a head that looks at all steps."""
    path = path.with_name("both.yaml")
    path.write_text(
        """
seed: 7
tasks:
  genome: {source: generated, sizes: [40, 10, 10], head: {use: classify, pool: max}}
encoder: {use: gru, dim: 8, hidden: 12, layers: 2, bidirectional: true, dropout: 0.3, locked: true}
train: {steps: 24, batch: 4, evaluate_every: 8, log_every: 3}
"""
    )
    return recipe.load(str(path), sets)


KINDS: dict[str, Any] = {
    "text in windows": single,
    "two tasks": lambda path, *sets: recipe.load(str(path.with_name("joint.yaml")), sets) if joint(path) else None,
    "both directions": both_ways,
    "averaged": lambda path, *sets: single(path, "train.average=0.9", "train.clip=0.05", *sets),
}


@pytest.mark.parametrize("kind", KINDS)
def test_training_does_not_notice(corpus: Path, tmp_path: Path, kind: str) -> None:
    run_it(KINDS[kind](corpus, "train.memory=null"), tmp_path / "without")
    run_it(KINDS[kind](corpus, "train.memory=2"), tmp_path / "with")
    same(tmp_path / "without", tmp_path / "with")
    assert read_memory(tmp_path / "without") == []
    records = read_memory(tmp_path / "with")
    assert all(record["cell"] is not None for record in records)
    for task in {record["task"] for record in records}:
        steps = [record["step"] for record in records if record["task"] == task]
        assert len(steps) >= 6


# The flag is read while data is prepared too: the first record is there after about ten reads, the second after 18.
@pytest.mark.parametrize("after", [14, 20])
@pytest.mark.parametrize("kind", ["text in windows", "two tasks", "both directions"])
def test_a_resumed_run_writes_the_same_records(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, after: int
) -> None:
    checked = KINDS[kind](corpus, "train.memory=5")
    run_it(checked, tmp_path / "whole")
    with monkeypatch.context() as patch:
        Stopping.reads, Stopping.after = 0, after
        patch.setattr(run_recipe, "Interrupts", Stopping)
        with pytest.raises(Interrupted):
            run_it(checked, tmp_path / "parts")
    before = read_memory(tmp_path / "parts")
    with (tmp_path / "parts/memory.jsonl").open("a") as file:  # what a killed process leaves after its checkpoint
        file.write(json.dumps({**before[-1], "step": 23}) + '\n{"step": 24, "ta')
    run_it(checked, tmp_path / "parts", resume=True)
    assert 0 < len(before) < len(read_memory(tmp_path / "parts"))
    assert (tmp_path / "whole/memory.jsonl").read_bytes() == (tmp_path / "parts/memory.jsonl").read_bytes()
    digests = comparison.read(tmp_path / "whole"), comparison.read(tmp_path / "parts")
    assert list(comparison.find_differences(*digests)) == []


class Restless(torch.nn.Module):
    """An input layer that draws numbers and counts, in evaluation mode too."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(5))

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        steps, lengths = self.layer(x, lengths)
        if self.training:
            steps = steps + 0.01 * torch.randn_like(steps)
        np.random.random()
        torch.rand(())
        self.calls = self.calls + 1
        self.mean.mul_(0.9).add_(steps.detach().mean(dim=(0, 1)))
        return steps, lengths


def test_modules_that_draw_and_count_do_not_notice_either(tmp_path: Path) -> None:
    data = small.vectors(tmp_path / "cache")
    ended = []
    for memory in (None, 1):
        model = small.model(data, dropout=0.2)
        model.layers[data.name] = Restless(model.layers[data.name])
        model.heads[data.name].eval()  # a part that somebody wants to stay in evaluation mode
        torch.manual_seed(5)
        np.random.seed(5)
        run = small.create_run(tmp_path / f"run-{memory}")
        with run:
            small.train(model, data, small.settings(memory=memory), run)
        assert all(parameter.grad is None for parameter in model.parameters())
        ended.append({**model.state_dict(), "numbers": torch.tensor([np.random.random(), float(torch.rand(()))])})
    assert read_memory(tmp_path / "run-1")
    assert [name for name in ended[0] if not torch.equal(ended[0][name], ended[1][name])] == []


def test_a_head_that_cannot_be_measured_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, real = small.vectors(tmp_path / "cache"), Classify.loss

    def picky(self: Any, encoded: Any, batch: Any) -> Any:
        if not self.training:
            raise ValueError("only for training")
        return real(self, encoded, batch)

    run, calls = small.create_run(tmp_path / "run"), itertools.count()
    monkeypatch.setattr(Classify, "loss", lambda self, *rest: (next(calls), picky(self, *rest))[1])
    with run, pytest.raises(ValueError, match="only for training"):  # of the evaluation at the end, which needs it
        small.train(small.model(data), data, small.settings(memory=2, evaluate_every=12), run)
    log = (tmp_path / "run/run.log").read_text()
    assert log.count("gradients through time are not measured: ValueError: only for training") == 1
    records = read_memory(tmp_path / "run")
    assert [record["cell"] for record in records] == [None] * 7
    assert records[-1]["norms"]["steps"] == 2


def test_the_example_behind_a_spike_is_named(tmp_path: Path) -> None:
    """One label is wrong. Once the others are learned, its gradient is far larger than theirs."""

    def read(split: str) -> Iterator[Example]:
        for number in range(160 if split == "train" else 8):
            sign = 1 if number % 2 else -1
            is_wrong = split == "train" and number == 101
            yield Example(np.full((3, 2), float(sign)), "up" if (sign > 0) != is_wrong else "down", f"{split}:{number}")

    task = Task(read=read, input=Vectors(2), target=Label(), head="classify", metric=label_scores, best="accuracy")
    data = small._stored(task, "spike", tmp_path / "cache")
    run = small.create_run(tmp_path / "run")
    with run:
        optimizer = Choice("adamw", {"lr": 0.03})
        small.train(small.model(data), data, small.settings(memory=1000, steps=160, optimizer=optimizer), run)
    (spike,) = [spike for spike in read_memory(tmp_path / "run")[-1]["spikes"] if spike["example"] is not None]
    assert spike["example"] == "train:101"
    assert spike["norm"] > 5 * spike["median"]
    assert 1 <= spike["position"] <= 3
    (advice,) = [entry["sentence"] for entry in read_memory(tmp_path / "run")[-1]["advice"] if entry["kind"] == "spike"]
    assert "train:101" in advice


def test_an_encoder_without_recurrence_has_norms_only(corpus: Path, tmp_path: Path) -> None:
    path = corpus.with_name("none.yaml")
    path.write_text(
        """
tasks: {genome: {source: generated, sizes: [40, 10, 10]}}
encoder: {use: none, dim: 8}
train: {steps: 24, batch: 4, memory: 10, clip: 1.0e-4}
"""
    )
    run_it(recipe.load(str(path)), tmp_path / "run")
    records = read_memory(tmp_path / "run")
    assert [record["step"] for record in records] == [1, 10, 20, 24]
    assert all(record["cell"] is None and "gradient" not in record for record in records)
    assert records[-1]["norms"]["clipped"] == 1.0
    assert [entry["kind"] for entry in records[-1]["advice"]] == ["clipping"]


def test_text_in_windows_is_measured_beyond_its_window(corpus: Path, tmp_path: Path) -> None:
    run_it(single(corpus, "train.memory=10"), tmp_path / "run")
    record = read_memory(tmp_path / "run")[-1]
    assert record["window"] == 16
    assert record["length"] == 64
    assert record["distances"][-1] >= 48
    assert 0 < record["cut"] < 1


@pytest.mark.parametrize(("count", "batch"), [(1, 4), (5, 32), (1000, 32), (1000, 2)])
def test_the_examples_that_are_measured_are_long_and_few(count: int, batch: int) -> None:
    lengths = np.random.default_rng(1).integers(5, 400, count)
    chosen = choose_examples(lengths, batch)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, max(2, min(8, len(chosen))))
    if count == 1000:
        assert abs(np.mean(lengths[chosen] <= np.quantile(lengths, 0.9)) - 0.5) <= 0.5
        assert lengths[chosen].min() > np.quantile(lengths, 0.85)
        assert len(chosen) <= max(2, batch * math.ceil(np.median(lengths)) / lengths[chosen].min() + 1)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_measurements_become_rarer_in_a_long_run(every: int) -> None:
    steps = [1]
    while steps[-1] < 10_000 * every:
        steps.append(next_step(steps[-1], every))
    assert all(step % every == 0 for step in steps[1:])
    intervals = np.diff(steps[1:])
    assert set(intervals[:99].tolist()) == {every}
    assert all(interval <= max(every, step / 90) for step, interval in zip(steps[1:-1], intervals, strict=True))
    assert len(steps) < 700, "and not 10,000"
