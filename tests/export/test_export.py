"""`seqkit export`: what it writes, what it refuses, and that it writes nothing then."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from seqkit import encoders
from seqkit.cli import main
from seqkit.errors import UsageError
from seqkit.export import description, exported_model, onnx_file, parity
from seqkit.export.program import record_model
from seqkit.heads.classification import Classify
from seqkit.interfaces import Encoded, Encoder, State
from seqkit.model import Model, load_model
from tests.export.test_options import LABEL, TOKENS
from tests.helpers.models import model_of

pytest.importorskip("onnxruntime")

JOINT = """
tasks:
  sentiment: {source: generated, sizes: [60, 8, 8]}
  second: {use: sentiment, source: generated, sizes: [60, 8, 8]}
encoder: {use: lstm, dim: 8, hidden: 9}
"""


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_of(tmp_path_factory.mktemp("joint"), JOINT)


def export(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_files_and_scores(joint: Path, tmp_path: Path) -> None:
    result = export(joint, "--out", tmp_path / "m.onnx", "--task", "second", "--int8", "--json")
    assert result.exit_code == 0, result.output
    facts, described = json.loads(result.stdout), json.loads((tmp_path / "m.json").read_text("utf-8"))
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.int8.onnx", "m.json"}
    assert {Path(file) for file in facts["files"]} == set(tmp_path.iterdir())
    assert facts["largest_difference"] == described["largest_difference"] <= 1e-5
    assert facts["operators"]["LSTM"] == 1
    assert described["int8"] == facts["int8"]
    assert facts["int8"]["operators"]["model"]["LSTM"] == 1
    assert set(facts["int8"]["scores_before"]) == {"accuracy", "macro_f1"}
    assert described["files"] == {"model": "m.onnx", "model.int8": "m.int8.onnx"}
    assert described["model"]["inputs"]["x"] == {"axes": ["batch", "steps"], "type": "int64"}
    assert described["target"]["labels"] == ["negative", "positive"]


def test_an_export_scores_as_its_model_does(joint: Path) -> None:
    from seqkit import recipe as recipes
    from seqkit.experiments.prepare import prepare_data
    from seqkit.inference.evaluate import evaluate
    from seqkit.runs.progress import Progress

    model, recipe, tasks = load_model(joint)
    with Progress(quiet=True) as progress:
        data = prepare_data(recipe, progress, lambda line: None, fitted=tasks, splits=("dev",))["sentiment"]

    def run(arrays: Any) -> Any:
        x, lengths = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["lengths"])
        return {name: tensor.numpy() for name, tensor in model(x, lengths, task="sentiment").items()}

    scores = evaluate(model, data, "dev").scores
    assert isinstance(recipe, recipes.Recipe)
    assert exported_model.score_export(model, "sentiment", data, run) == {
        name: scores[name] for name in ("accuracy", "macro_f1")
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "m.onnx"], "choose one with --task"),
        (["--out", "m.onnx", "--task", "first"], "no task 'first'"),
        (["--out", "m.pt2", "--task", "second"], "should end in .onnx"),
        (["--out", "m.onnx", "--to", "torch", "--task", "second"], "should end in .pt2"),
        (["--out", "none/m.onnx", "--task", "second"], "no folder"),
        (["--out", "m.pt2", "--to", "torch", "--task", "second", "--int8"], "--int8: is for ONNX only"),
    ],
)
def test_wrong_options(
    joint: Path, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(joint, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [2e-5, float("nan"), float("inf")])
def test_a_difference_stops_the_export(
    joint: Path, value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "compare_model", lambda *arguments: value)
    result = export(joint, "--to", "torch", "--out", tmp_path / "m.pt2", "--task", "second")
    assert result.exit_code == 1
    assert "which is more than 1e-05; nothing was written" in result.output
    assert not list(tmp_path.iterdir())


def test_missing_libraries_are_named(joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = export(joint, "--out", tmp_path / "m.onnx", "--task", "second")
    assert result.exit_code == 2
    assert 'pip install "seqkit[export]"' in result.output


class Average(Encoder):
    """Plain torch, as a plugin has it: a convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.out_dim, self.causal = 6, False
        self.convolution = torch.nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        outside = (torch.arange(x.shape[1]) >= lengths[:, None])[..., None]
        steps = self.convolution(x.masked_fill(outside, 0.0).transpose(1, 2)).transpose(1, 2).masked_fill(outside, 0.0)
        return Encoded(steps, lengths, steps[:, 0], tuple)


class Peeking(Average):
    """Looks at a value."""

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> Encoded:
        if float(x.sum()) > 0:
            x = x + 1.0
        return super().forward(x, lengths, state)


class Silent(Classify):
    """A head that says nothing of its outputs."""

    def __init__(self) -> None:
        super().__init__(6, LABEL, pool="last", dropout=0.0, label_smoothing=0.0, balanced=0.0, every_step=False)
        self.output_axes = {}


def model_with(encoder: Encoder, head: Classify | None = None) -> Model:
    from seqkit.heads import classify

    layer = TOKENS.layer(6)
    return Model({"task": layer}, encoder, {"task": head or classify(6, LABEL, layer, pool="mean")}).eval()


def test_an_encoder_of_plain_torch_is_exported() -> None:
    import numpy as np

    model = model_with(Average())
    recording = record_model(model, "task", *parity.draw_batch(TOKENS, 3, 11, np.random.default_rng(0)))
    run = onnx_file.Session(onnx_file.to_onnx(recording).SerializeToString()).run
    assert parity.compare_model(model, "task", TOKENS, recording, run) <= parity.TOLERANCE


def test_what_looks_at_values_is_refused() -> None:
    import numpy as np

    with pytest.raises(UsageError, match=r"cannot be exported: .*\n.*values of a batch"):
        record_model(model_with(Peeking()), "task", *parity.draw_batch(TOKENS, 3, 11, np.random.default_rng(0)))


def test_a_head_without_outputs_is_named(tmp_path: Path) -> None:
    from seqkit.export import export_model

    model: Any = model_with(encoders.none(6), Silent())
    fields: Any = {"task": (None, TOKENS, LABEL)}
    with pytest.raises(UsageError, match="task task: its head, Silent, has no `outputs`"):
        export_model(model, None, fields, tmp_path / "m.onnx")  # type: ignore[arg-type]


def test_torch_export_of_the_module_itself(joint: Path) -> None:
    model, _, _ = load_model(joint)
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps")
    x, lengths = torch.randint(4, 20, (3, 9)), torch.tensor([9, 2, 5])
    program = torch.export.export(
        model,
        (x, lengths),
        {"task": "second"},
        dynamic_shapes={"x": {0: batch, 1: steps}, "lengths": {0: batch}, "task": None},
    )
    for rows, longest in ((1, 1), (5, 30)):
        x, lengths = torch.randint(4, 20, (rows, longest)), torch.full((rows,), longest)
        with torch.no_grad():
            result, expected = (run(x, lengths, task="second")["probabilities"] for run in (program.module(), model))
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (None, None),
        (export, "tests.export.test_export.export"),
        (functools.partial(export, "DIR"), "tests.export.test_export.export"),
        (str.split, "builtins.str.split"),
        (len, "builtins.len"),
        (CliRunner(), "click.testing.CliRunner"),
    ],
    ids=["nothing", "function", "partial", "method of a built-in type", "built-in", "object"],
)
def test_whatever_can_prepare_values_is_named(function: Any, name: str | None) -> None:
    assert description._name(function) == name
