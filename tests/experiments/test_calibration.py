"""Temperatures: against a fit of the collected scores, what they leave as it is, and what cannot be scaled."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from seqkit.cli import main
from seqkit.experiments.calibration import TOLERANCE, calibrate_model, least
from seqkit.experiments.prepare import prepare_data
from seqkit.inference.evaluate import evaluate
from seqkit.interfaces import Head
from seqkit.model import load_model
from seqkit.runs.interrupts import Interrupts
from seqkit.runs.progress import Progress
from tests.helpers.models import model_of

ENCODER = "encoder: {use: lstm, dim: 10, hidden: 6}\n"
RECIPES = {
    "label": "tasks: {sentiment: {sizes: [60, 30, 10]}}\n",
    "tags": "tasks: {ner: {sizes: [40, 20, 8], char_hidden: 4, head: {use: tag}}}\n",
    "chain": "tasks: {ner: {sizes: [40, 20, 8], char_hidden: 4}}\n",
    "symbols": "tasks: {names: {head: {use: generate, hidden: 5, tied: false}}}\n",
}


def folder_of(name: str, folder: Path) -> Path:
    return model_of(folder, RECIPES[name] + ENCODER)


def blow_up(head: Head, factor: float) -> None:
    """Make a head as sure as an overfitted one."""
    head.scale_scores(factor)


@pytest.mark.parametrize("name", ["label", "tags", "chain"])
@pytest.mark.parametrize("factor", [0.2, 9.0])
def test_the_temperature_is_that_of_the_collected_scores(name: str, factor: float, tmp_path: Path) -> None:
    """scipy's minimiser over one number, with the loss of scores that are divided outside of the head."""
    model, recipe, _ = load_model(folder_of(name, tmp_path))
    with Progress(quiet=True) as progress:
        data = prepare_data(recipe, progress, lambda line: None)
    ((task, task_data),) = data.items()
    head: Any = model.head(task)
    blow_up(head, factor)
    weights = {key: tensor.clone() for key, tensor in head.state_dict().items()}

    def slow_loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        head.load_state_dict({key: tensor * scale for key, tensor in weights.items()})
        return evaluate(model, task_data, "dev", loss_only=True).loss

    expected = minimize_scalar(slow_loss, bounds=(math.log(1 / 20), math.log(20)), method="bounded")
    head.load_state_dict(weights)
    before = evaluate(model, task_data, "dev", keep_predictions=True)
    with Interrupts() as stop:
        (fit,) = calibrate_model(model, data, stop)
    assert math.log(fit.temperature) == pytest.approx(expected.x, abs=0.02)
    after = evaluate(model, task_data, "dev", keep_predictions=True)
    assert after.loss == fit.loss[1] < fit.loss[0] == before.loss
    assert [p.value for p in after.predictions] == [p.value for p in before.predictions]
    assert after.scores.keys() == before.scores.keys()
    assert fit.error is not None
    assert fit.sentence.startswith(f"calibration of {task}: temperature {fit.temperature:.3f}; on dev: loss ")


def test_what_is_calibrated_already_stays(tmp_path: Path) -> None:
    model, recipe, _ = load_model(folder_of("label", tmp_path))
    with Progress(quiet=True) as progress:
        data = prepare_data(recipe, progress, lambda line: None)
    with Interrupts() as stop:
        list(calibrate_model(model, data, stop))
        (again,) = calibrate_model(model, data, stop)
    assert again.temperature == pytest.approx(1.0, abs=5 * TOLERANCE)


@given(st.floats(0.06, 18.0))
@settings(max_examples=40, deadline=None)
def test_the_search_finds_the_minimum(best: float) -> None:
    assert math.log(least(lambda t: (math.log(t) - math.log(best)) ** 2)) == pytest.approx(
        math.log(best), abs=TOLERANCE
    )


def call(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_run_keeps_its_temperature_in_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        RECIPES["label"] + ENCODER + "train: {epochs: 4, optimizer: {use: adam, lr: 0.05}, memory: null}\n"
    )
    plain, calibrated = tmp_path / "plain", tmp_path / "calibrated"
    assert call("run", recipe, "--out", plain, "--quiet").exit_code == 0
    done = call("run", recipe, "--out", calibrated, "--set", "train.calibrate=true")
    assert done.exit_code == 0, done.output
    line = re.search(
        r"calibration of sentiment: temperature ([\d.]+); on dev: loss .* expected calibration", done.output
    )
    assert line is not None
    temperature = float(line[1])
    assert temperature != 1.0
    assert line[0] in (calibrated / "run.log").read_text()
    one, other = (load_model(folder)[0].state_dict() for folder in (plain, calibrated))
    for name in one:
        scale = 1 / temperature if name.startswith("heads.") else 1.0
        torch.testing.assert_close(one[name] * scale, other[name], rtol=2e-3, atol=1e-6)
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (plain, calibrated)]
    assert scores[0]["sentiment/test/accuracy"] == scores[1]["sentiment/test/accuracy"]
    assert scores[1]["sentiment/dev/loss"] <= scores[0]["sentiment/dev/loss"]
    predicted = [json.loads(call("predict", folder, "--text", "a good film").stdout) for folder in (plain, calibrated)]
    assert predicted[0]["prediction"] == predicted[1]["prediction"]
    assert predicted[0]["confidence"] != predicted[1]["confidence"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: {series: {}}\n", "train.calibrate: task series: numbers have no probabilities of classes"),
        (
            "tasks: {charlm: {source: python-docs, head: {use: language, softmax: adaptive}}}\n",
            "train.calibrate: task charlm: an adaptive softmax is one over clusters",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_training(text: str, message: str, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text + ENCODER + "train: {steps: 1, calibrate: true}\n")
    done = call("run", recipe, "--out", tmp_path / "run", "--quiet")
    assert done.exit_code == 2
    assert message in done.output
    assert not list((tmp_path / "run").glob("checkpoints/step*"))


def test_written_texts_are_scaled_too(tmp_path: Path) -> None:
    model, _, tasks = load_model(folder_of("symbols", tmp_path))
    (name,) = tasks
    head: Any = model.head(name)
    readout = torch.from_numpy(np.random.default_rng(0).normal(size=(3, head.decoder.readout_width))).float()
    before = head.decoder.logits(readout)
    head.scale_scores(0.5)
    torch.testing.assert_close(head.decoder.logits(readout), before * 0.5)
