"""Weights of a trained model as the beginning of another: what is taken, what is refused, and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from seqkit import recipe
from seqkit.cli import main
from seqkit.encoders import lstm, none
from seqkit.errors import RecipeError
from seqkit.experiments.run_recipe import run_recipe
from seqkit.model import Model, load_model
from seqkit.runs.progress import Progress
from seqkit.runs.run_folder import Run
from seqkit.settings import InitSettings
from seqkit.training.transferred import TransferredWeights

FIRST = "the quick brown fox jumps over the lazy dog. " * 40
SECOND = "Über the lazy fox, zum quick Öl? " * 40
RECIPE = """
tasks:
  {task}: {{use: charlm, file: {file}, window: 16, piece: 200}}
encoder: {{use: {cell}, dim: 8, hidden: {hidden}}}
{init}
train: {{steps: {steps}, epochs: 50, batch: 4, evaluate_every: 4, save_every: 2, memory: null}}
"""

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained language model of the first text."""
    folder = tmp_path_factory.mktemp("trained")
    path = write_recipe(folder, text=FIRST)
    done = call("run", path, "--quiet", "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run"


def write_recipe(folder: Path, *, text: str = SECOND, init: str = "", task: str = "lm", **changes: object) -> Path:
    (folder / "text.txt").write_text(text, encoding="utf-8")
    options = {"cell": "lstm", "hidden": 12, "steps": 6, "file": folder / "text.txt"} | changes
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(task=task, init=f"init: {init}" if init else "", **options), encoding="utf-8")
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def test_vectors_go_to_the_same_symbols_and_the_encoder_is_taken_whole(trained: Path, tmp_path: Path) -> None:
    """With everything that was taken frozen to the end, the new model still has it."""
    path = write_recipe(tmp_path, task="other", init=f"{{model: {trained}, freeze: 50}}")
    done = call("run", path, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    old, new = weights(trained), weights(tmp_path / "run")
    for name in (name for name in old if name.startswith("encoder.")):
        assert torch.equal(old[name], new[name]), name
    (symbols, known) = (
        next(iter(load_model(folder)[2].values()))[1].vocabulary for folder in (tmp_path / "run", trained)
    )
    shared = [symbol for symbol in symbols.symbols if symbol in known]
    assert 10 < len(shared) < len(symbols.symbols)
    for symbol in shared:
        one, other = new["layers.other.weight"][symbols.index(symbol)], old["layers.lm.weight"][known.index(symbol)]
        assert torch.equal(one, other), symbol
    assert torch.equal(new["layers.other.weight"][:4], old["layers.lm.weight"][:4])
    assert f"the vectors of {len(shared)} of {len(symbols.symbols)} symbols of {trained}" in done.output
    assert "init: encoder: all weights of" in (tmp_path / "run" / "run.log").read_text()


@pytest.mark.slow
def test_what_was_taken_is_trained_after_the_frozen_epochs(trained: Path, tmp_path: Path) -> None:
    """And a run that is stopped in them goes on as if it had not been."""
    init = f"{{model: {trained}, freeze: 1, lr: 0.1}}"
    path = write_recipe(tmp_path, init=init, steps=40)
    whole = call("run", path, "--quiet", "--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    name = "encoder.cells.0.weight_hh_l0"
    assert not torch.equal(weights(tmp_path / "whole")[name], weights(trained)[name])
    done = call("verify-resume", path, "--kills", "2", "--out", tmp_path / "verified")
    assert done.exit_code == 0, done.output


def test_without_init_the_written_recipe_has_none(tmp_path: Path) -> None:
    assert "\ninit:" not in recipe.load(str(write_recipe(tmp_path))).resolved()
    loaded = recipe.load(str(write_recipe(tmp_path, init="{model: somewhere, parts: [encoder]}")))
    assert loaded.init is not None
    assert loaded.init.model == tmp_path / "somewhere"
    (tmp_path / "again.yaml").write_text(loaded.resolved(), encoding="utf-8")
    assert recipe.load(str(tmp_path / "again.yaml")) == loaded


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("{parts: [encoder]}", "init.model: missing"),
        ("{model: x, parts: [heads]}", "init.parts"),
        ("{model: x, frezee: 2}", "did you mean 'freeze'"),
        ("{model: x, lr: 0}", "init.lr"),
    ],
)
def test_mistakes_in_the_section(init: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.load(str(write_recipe(tmp_path, init=init)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 16}, "cells.0.weight_ih_l0 is 48 x 8 there, 64 x 8 here; make the encoder the same"),
        ({"cell": "gru"}, "the encoder does not fit"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(
    changes: dict[str, object], message: str, trained: Path, tmp_path: Path
) -> None:
    done = call("run", write_recipe(tmp_path, init=f"{{model: {trained}}}", **changes), "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert message in done.output


def test_an_input_layer_of_another_kind_is_refused(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.yaml"
    path.write_text(
        "tasks: {speech: {source: synthesised}}\n"
        f"encoder: {{use: lstm, dim: 8, hidden: 12}}\ninit: {{model: {trained}}}\ntrain: {{steps: 2}}\n"
    )
    done = call("run", path, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "the input layer does not fit" in done.output
    assert "init.parts: [encoder]" in done.output


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    done = call("run", write_recipe(tmp_path, init="{model: nowhere}"), "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "no model here" in done.output


def test_rates_are_those_of_the_optimiser_times_the_factor() -> None:
    weights = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(4)]
    groups = [{"params": weights[:2]}, {"params": weights[2:], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.5)
    TransferredWeights([weights[1:]], freeze=0, lr=0.1).scale_rates(optimizer)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = [(0.5, 0.01), (0.05, 0.01), (0.05, 0.0), (0.05, 0.0)]
    assert [rates[id(weight)] for weight in weights] == [pytest.approx(pair) for pair in expected]


def test_a_run_taken_again_after_a_stop_before_the_first_step(trained: Path, tmp_path: Path) -> None:
    """No checkpoint was saved: the weights are taken once more."""
    path = write_recipe(tmp_path, init=f"{{model: {trained}, freeze: 50}}")
    checked = recipe.load(str(path))
    begun = Run.create(checked.name, text=checked.text, resolved=checked.resolved(), out=tmp_path / "run")
    begun.set_status("interrupted")
    run_recipe(checked, Run.resume(tmp_path / "run"), Progress(quiet=True), resume=True)
    assert torch.equal(
        weights(tmp_path / "run")["encoder.cells.0.bias_hh_l0"], weights(trained)["encoder.cells.0.bias_hh_l0"]
    )


def test_layers_further_down_are_slower_and_thaw_later() -> None:
    """The rates of Howard and Ruder (2018), and their gradual unfreezing."""
    torch.manual_seed(1)
    model = Model({"a": torch.nn.Embedding(5, 4)}, lstm(4, hidden=3, layers=2, layer_norm=True), {})
    init = InitSettings(model=Path("x"), freeze=1, lr=0.5, layer_decay=0.1, thaw=True)
    weights = TransferredWeights.of(model, init)
    depth_of = {id(p): depth for depth, layer in enumerate(weights.layers) for p in layer}
    names = {name: depth_of[id(parameter)] for name, parameter in model.named_parameters()}
    assert {
        name: depth for name, depth in names.items() if "weight_hh" in name or "norms" in name or "layers" in name
    } == {
        "layers.a.weight": 2,
        "encoder.cells.0.weight_hh_l0": 1,
        "encoder.cells.1.weight_hh_l0": 0,
        "encoder.norms.0.weight": 1,
        "encoder.norms.0.bias": 1,
        "encoder.norms.1.weight": 0,
        "encoder.norms.1.bias": 0,
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
    weights.scale_rates(optimizer)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(2.0 * 0.5 * 0.1 ** names[name])
    for epoch in range(5):
        weights.begin_epoch(epoch)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == (epoch >= 1 + names[name])


def test_an_encoder_that_is_no_stack_is_one_layer() -> None:
    model = Model({"a": torch.nn.Embedding(5, 4)}, none(4), {})
    init = InitSettings(model=Path("x"), parts=("encoder", "input"), layer_decay=0.5)
    assert [len(layer) for layer in TransferredWeights.of(model, init).layers] == [1]
