"""`Model.stream` and `Model.export`: those of `seqkit.inference.stream` and `seqkit.export`, from a loaded model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import seqkit


def test_a_stream_ends_where_predict_does(trained: Callable[[str], Path]) -> None:
    model = seqkit.load(trained("charlm"))
    text = "that is the question"
    stream = model.stream(sessions=2)
    answers = [stream.push("a", piece) for piece in ("that", " is the", " question")]
    state = stream.state("a")
    other = seqkit.load(trained("charlm")).stream()
    other.restore("b", state)
    assert other.push("b", "!").steps == stream.push("a", "!").steps
    whole = stream.join([*answers])
    assert whole is not None
    expected = next(model.predict([text]))
    assert list(whole.value) == expected.value[: len(whole.value)]
    np.testing.assert_allclose(whole.confidence, expected.confidence[: len(whole.confidence)], rtol=1e-4)


def test_a_model_that_needs_the_whole_sequence_is_refused(trained: Callable[[str], Path]) -> None:
    with pytest.raises(seqkit.UsageError, match="reads in both directions"):
        seqkit.load(trained("genome")).stream()


@pytest.mark.parametrize(("name", "message"), [("m.pt", "should end in .onnx or .pt2"), ("no/m.onnx", "no folder")])
def test_a_file_that_cannot_be_exported_to_is_refused(
    trained: Callable[[str], Path], tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(seqkit.UsageError, match=message):
        seqkit.load(trained("sentiment")).export(tmp_path / name)


@pytest.mark.slow
def test_a_model_is_exported(trained: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    result = seqkit.load(trained("sentiment")).export(tmp_path / "m.onnx")
    assert [path.name for path in result.files] == ["m.onnx", "m.json"]
    assert result.difference < 1e-5
    assert runtime.InferenceSession(str(tmp_path / "m.onnx")).get_inputs()
    assert json.loads((tmp_path / "m.json").read_text())["format"] == "onnx"
