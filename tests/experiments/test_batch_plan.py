"""`seqkit plan`: what is counted is what training will do, and only the choice is written."""

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
    found = tmp_path / "small.yaml"
    found.write_text(RECIPE)
    return found


def call(path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["plan", str(path), "--quiet", *words])


def test_what_is_counted_is_what_training_does(path: Path) -> None:
    checked = recipe.load(path)
    with Progress(quiet=True) as progress:
        [found] = batch_plan.plan_batches(checked, progress, measure=False)
        data = prepare.prepare_data(checked, progress, progress.say)
    assert len(found.lengths) == 300
    for choice in found.choices:
        epoch = EpochPlan(data, choice.settings, seed=checked.seed, epoch=0)
        batches = [batch for turn in epoch.turns for batch in epoch.batches(turn)]
        assert choice.examples.tolist() == [batch.size for batch in batches]
        assert choice.padded.tolist() == [batch.x.shape[1] for batch in batches]
        tokens = sum(batch.tokens for batch in batches)
        assert choice.valid == pytest.approx(tokens / sum(batch.size * batch.x.shape[1] for batch in batches))
        assert choice.seconds is None
    by_chance, best = found.choices[0], found.choices[found.best]
    assert best.valid > by_chance.valid + 0.05
    assert min(choice.shapes for choice in found.choices) <= batch_plan.SHAPES


def counted(lengths: Index, settings: TrainSettings) -> list[batch_cost.BatchingChoice]:
    candidates = batch_plan.candidates(lengths, settings)
    return [batch_plan.count_batches(name, changed, lengths, seed=1) for name, changed in candidates]


def test_the_choices_are_alike_but_for_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 2000)
    choices = counted(lengths, TrainSettings(batch=16))
    assert len({each.name for each in choices}) == len(choices) >= 6
    for each in choices:
        assert int(each.examples.sum()) == 2000
        assert len(each.examples) == pytest.approx(125, rel=0.1)
    few = [each for each in choices if each.settings.shapes]
    assert all(each.shapes <= batch_plan.SHAPES for each in few)


def test_the_recipe_is_left_alone_if_nothing_is_better() -> None:
    lengths = np.full(100, 7)
    choices = counted(lengths, TrainSettings(batch=10))
    assert batch_plan.choose_best(choices) == 0
    assert all(each.valid == 1.0 for each in choices)


def test_a_line_through_costs() -> None:
    assert batch_cost._fit_lines([1, 2, 3], [5.0, 7.0, 9.0]) == [pytest.approx((3.0, 2.0))]
    assert batch_cost._fit_lines([10, 20], [4.0, 3.0]) == [pytest.approx((3.5, 0.0))], (
        "noise makes no batch cost less than none"
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
    done = call(path, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["task"] == "mood"
    assert all(way["seconds"] > 0 and way["memory"] > 1000 for way in found["ways"])
    bigger = json.loads(call(path, "--json", "--set", "train.batch=60").stdout)
    assert bigger["ways"][0]["memory"] > 2 * found["ways"][0]["memory"]


def test_lengths_are_shown(path: Path) -> None:
    done = call(path, "--no-measure")
    assert done.exit_code == 0, done.output
    counts = [
        int(row.split()[-2 if row.endswith("#") else -1]) for row in done.stdout.split("\n\n")[0].splitlines()[1:]
    ]
    assert sum(counts) == 300
    assert done.stdout.count("->") == 1
    assert re.search(r"12 examples, pools of 64 +25 ", done.stdout)


def test_a_stream_has_no_padding(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("she sells sea shells. " * 60)
    path.write_text(
        "tasks: {charlm: {file: text.txt, window: 16, piece: 100}}\nencoder: {use: gru, dim: 8, hidden: 8}\n"
        "train: {batch: 4}\n"
    )
    done = call(path)
    assert done.exit_code == 0, done.output
    assert "a stream in lanes" in done.stdout


def test_only_the_choice_is_written(path: Path) -> None:
    done = call(path, "--no-measure", "--write")
    assert done.exit_code == 0, done.output
    made = recipe.load(path).train
    assert made.pool > 1
    assert made.tokens is not None
    assert path.read_text() == RECIPE.replace("pool: 1", f"pool: {made.pool}") + f"  tokens: {made.tokens}\n"
    assert f"wrote tokens: {made.tokens}, pool: {made.pool}" in done.stderr
    again = call(path, "--no-measure", "--write")
    assert "nothing to change" in again.stderr
    assert sorted(each.name for each in path.parent.iterdir()) == ["cache", "small.yaml"]


def test_what_cannot_be_written_is_refused(path: Path) -> None:
    with_set = call(path, "--write", "--set", "train.batch=4")
    assert with_set.exit_code == 2
    assert "--set is not in the file" in with_set.stderr
    shipped = CliRunner().invoke(main, ["plan", "charlm", "--write"])
    assert shipped.exit_code == 2
    assert "is not a file" in shipped.stderr
    assert path.read_text() == RECIPE
