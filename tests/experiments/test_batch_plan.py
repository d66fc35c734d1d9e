"""`seqkit plan`: its counts are those of training, and only the choice is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from seqkit import recipe
from seqkit.cli import main
from seqkit.data.epoch import EpochPlan
from seqkit.experiments import batch_cost, batch_plan, prepare
from seqkit.runs.progress import Progress
from seqkit.settings import TrainSettings
from seqkit.types import Index

RECIPE = """# what this is for
tasks:
  mood: {use: sentiment, sizes: [300, 20, 20]}   # small
encoder: {use: gru, dim: 8, hidden: 8}
train:
  epochs: 2
  batch: 12      # as many as fit
  pool: 1
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def call(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["plan", str(path), "--quiet", *words])


def test_the_counts_are_those_of_training(path: Path) -> None:
    checked = recipe.load(path)
    with Progress(quiet=True) as progress:
        [plan] = batch_plan.plan_batches(checked, progress, measure=False)
        data = prepare.prepare_data(checked, progress, progress.say)
    assert len(plan.lengths) == 300
    for choice in plan.choices:
        epoch = EpochPlan(data, choice.settings, seed=checked.seed, epoch=0)
        batches = [batch for turn in epoch.turns for batch in epoch.batches(turn)]
        assert choice.examples.tolist() == [batch.size for batch in batches]
        assert choice.padded.tolist() == [batch.x.shape[1] for batch in batches]
        tokens = sum(batch.tokens for batch in batches)
        assert choice.valid == pytest.approx(tokens / sum(batch.size * batch.x.shape[1] for batch in batches))
        assert choice.seconds is None
    by_chance, best = plan.choices[0], plan.choices[plan.best]
    assert best.valid > by_chance.valid + 0.05
    assert min(choice.shapes for choice in plan.choices) <= batch_plan.SHAPES


def counted(lengths: Index, settings: TrainSettings) -> list[batch_cost.BatchingChoice]:
    candidates = batch_plan.candidates(lengths, settings)
    return [batch_plan.count_batches(name, changed, lengths, seed=1) for name, changed in candidates]


def test_the_choices_are_alike_but_for_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 2000)
    choices = counted(lengths, TrainSettings(batch=16))
    assert len({choice.name for choice in choices}) == len(choices) >= 6
    for choice in choices:
        assert int(choice.examples.sum()) == 2000
        assert len(choice.examples) == pytest.approx(125, rel=0.1)
    with_few_shapes = [choice for choice in choices if choice.settings.shapes]
    assert all(choice.shapes <= batch_plan.SHAPES for choice in with_few_shapes)


def test_the_recipe_is_left_alone_if_nothing_is_better() -> None:
    lengths = np.full(100, 7)
    choices = counted(lengths, TrainSettings(batch=10))
    assert batch_plan.choose_best(choices) == 0
    assert all(choice.valid == 1.0 for choice in choices)


def test_a_line_through_costs() -> None:
    assert batch_cost._fit_lines([1, 2, 3], [5.0, 7.0, 9.0]) == [pytest.approx((3.0, 2.0))]
    assert batch_cost._fit_lines([10, 20], [4.0, 3.0]) == [pytest.approx((3.5, 0.0))], (
        "noise must not make a cost negative"
    )
    assert batch_cost._fit_lines([10, 20], [1.0, 3.0]) == [pytest.approx((0.0, 2 / 15))]


def test_what_is_saved_for_the_backward_pass_is_counted() -> None:
    class Model(torch.nn.Linear):
        device = torch.device("cpu")

    model = Model(10, 10)
    x = torch.randn(5, 10)
    with batch_cost.SavedActivations(model) as saved:  # type: ignore[arg-type]
        y = model(x).tanh()
    assert y.requires_grad
    assert saved.bytes == x.nbytes + y.nbytes, "the input for the weights' gradient, the output for that of tanh"


def test_time_and_memory_grow_with_the_batch(path: Path) -> None:
    result = call(path, "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["task"] == "mood"
    assert all(choice["seconds"] > 0 and choice["memory"] > 1000 for choice in plan["ways"])
    bigger = json.loads(call(path, "--json", "--set", "train.batch=60").stdout)
    assert bigger["ways"][0]["memory"] > 2 * plan["ways"][0]["memory"]


@pytest.mark.parametrize("option", ["train.agreement=1.0", "train.mixup=0.2"])
def test_a_second_pass_is_counted(option: str, path: Path) -> None:
    sets = ["--set", "encoder.hidden=64", "--set", option.split("=")[0] + "=null"]
    once = json.loads(call(path, "--json", *sets).stdout)["ways"][0]["memory"]
    twice = call(path, "--json", *sets[:2], "--set", option)
    assert twice.exit_code == 0, twice.output
    assert json.loads(twice.stdout)["ways"][0]["memory"] > 1.3 * once


def test_lengths_are_shown(path: Path) -> None:
    result = call(path, "--no-measure")
    assert result.exit_code == 0, result.output
    counts = [
        int(row.split()[-2 if row.endswith("#") else -1]) for row in result.stdout.split("\n\n")[0].splitlines()[1:]
    ]
    assert sum(counts) == 300
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert len(re.findall("^-> (batch|tokens): ", result.stdout, re.MULTILINE)) == 1
    assert "-> the least padding; seqkit plan RECIPE --write" in result.stdout
    assert re.search(r"batch: 12, pool: 64 +25 ", result.stdout)


def test_a_stream_has_no_padding(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("she sells sea shells. " * 60)
    path.write_text(
        "tasks: {charlm: {file: text.txt, window: 16, piece: 100}}\nencoder: {use: gru, dim: 8, hidden: 8}\n"
        "train: {batch: 4}\n"
    )
    result = call(path)
    assert result.exit_code == 0, result.output
    assert "one stream, read in windows side by side" in result.stdout
    assert "without padding, so there is nothing to choose" in " ".join(result.stdout.split())


def test_only_the_choice_is_written(path: Path) -> None:
    result = call(path, "--no-measure", "--write")
    assert result.exit_code == 0, result.output
    train = recipe.load(path).train
    assert train.pool > 1
    assert train.tokens is not None
    assert path.read_text() == RECIPE.replace("pool: 1", f"pool: {train.pool}") + f"  tokens: {train.tokens}\n"
    assert f"wrote tokens: {train.tokens}, pool: {train.pool}" in result.stderr
    again = call(path, "--no-measure", "--write")
    assert "nothing to change" in again.stderr
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["cache", "small.yaml"]


def test_what_cannot_be_written_is_refused(path: Path) -> None:
    with_set = call(path, "--write", "--set", "train.batch=4")
    assert with_set.exit_code == 2
    assert "--set is not in the file" in with_set.stderr
    shipped = CliRunner().invoke(main, ["plan", "charlm", "--write"])
    assert shipped.exit_code == 2
    assert "is not a file" in shipped.stderr
    assert path.read_text() == RECIPE
