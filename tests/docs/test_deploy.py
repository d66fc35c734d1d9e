"""The programs of docs/deploy.md run without seqkit and torch, and say what seqkit says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqkit.export import export_model
from seqkit.inference.inputs import InputReader
from seqkit.inference.predict import predict_inputs
from seqkit.model import load_model
from seqkit.types import Prediction
from tests.helpers.models import model_of
from tests.helpers.pages import PAGES, blocks
from tests.helpers.sound import needs_audio, tone, wav_bytes

pytest.importorskip("onnxruntime")

PROGRAMS = {
    block.partition("\n")[0].split(":")[0].removeprefix("# "): block
    for block in blocks(PAGES["docs/deploy.md"], "python")
}

TEXTS = ["The film was good .", "say nothing", "Ünseen words, but fine"]


def run(folder: Path, program: str, *arguments: str) -> list[str]:
    """The lines that a program prints; it cannot import seqkit or torch."""
    for name in ("seqkit", "torch"):
        (folder / "none" / f"{name}.py").parent.mkdir(exist_ok=True)
        (folder / "none" / f"{name}.py").write_text("raise ImportError('not here')\n")
    (folder / program).write_text(PROGRAMS[program], encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(folder / "none"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, program, "model.json", *arguments]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def exported(folder: Path, recipe: str) -> Path:
    """A folder with model.onnx, model.json and the model itself."""
    model, parsed, tasks = load_model(model_of(folder / "model", recipe))
    export_model(model, parsed, tasks, folder / "model.onnx")
    return folder


def predictions(folder: Path, inputs: list[str]) -> list[Prediction]:
    """What seqkit predicts."""
    model, _, tasks = load_model(folder / "model")
    ((name, fields),) = tasks.items()
    reader = InputReader(fields[0], fields[1])
    outcomes = list(predict_inputs(model, name, fields, reader.texts((text, text) for text in inputs)))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return [outcome.prediction for outcome in outcomes if outcome.prediction is not None]


def assert_same_answers(folder: Path, inputs: list[str], lines: list[str]) -> None:
    model, _, tasks = load_model(folder / "model")
    ((name, fields),) = tasks.items()
    outcomes = predict_inputs(
        model, name, fields, InputReader(fields[0], fields[1]).texts((text, text) for text in inputs)
    )
    records = [json.loads(line) for line in lines]
    for record, outcome in zip(records, outcomes, strict=True):
        assert outcome.prediction is not None, outcome.error
        assert record["prediction"] == outcome.prediction.value
        assert record["confidence"] == pytest.approx(outcome.prediction.confidence, abs=1e-5)


def test_the_classifier_is_about_thirty_lines() -> None:
    assert len([line for line in PROGRAMS["classify.py"].splitlines() if line.strip()]) <= 36


@pytest.mark.parametrize(
    "options", ["unit: words", pytest.param("unit: characters, lower: true", marks=pytest.mark.slow)]
)
def test_text_is_classified_without_seqkit(options: str, tmp_path: Path) -> None:
    task = f"{{source: generated, sizes: [60, 8, 8], {options}}}"
    folder = exported(tmp_path, f"tasks: {{sentiment: {task}}}\nencoder: {{use: lstm, dim: 8, hidden: 9}}\n")
    assert_same_answers(folder, TEXTS, run(folder, "classify.py", *TEXTS))


@needs_audio
def test_sound_is_classified_without_seqkit(tmp_path: Path) -> None:
    recipe = """
tasks: {speech: {source: synthesised, sizes: [24, 12, 12], stack: 2, deltas: 1}}
encoder: {use: gru, dim: 8, hidden: 9, bidirectional: true}
"""
    folder = exported(tmp_path, recipe)
    clips = [str(folder / f"{number}.wav") for number in range(3)]
    for number, clip in enumerate(clips):
        Path(clip).write_bytes(wav_bytes(tone(300 + 200 * number, 0.2 + 0.13 * number)))
    assert_same_answers(folder, clips, run(folder, "classify.py", *clips))


@pytest.mark.slow
def test_a_text_is_continued_without_seqkit(tmp_path: Path) -> None:
    from seqkit.inference.generate import generate

    recipe = "tasks: {charlm: {source: python-docs, window: 16}}\nencoder: {use: lstm, dim: 8, hidden: 32, layers: 2}\n"
    folder = exported(tmp_path, recipe)
    lines = run(folder, "continue.py", "class ")
    model, _, tasks = load_model(folder / "model")
    text = "".join(generate(model, "charlm", tasks["charlm"][1], prompt="class ", length=40, top_k=1))
    assert "\n".join(lines).strip() == f"class {text}".strip()


@pytest.mark.slow
def test_a_text_is_written_without_seqkit(tmp_path: Path) -> None:
    recipe = """
tasks:
  translation:
    source: generated
    sizes: [100, 10, 10]
    input_unit: characters
    target_unit: characters
    head: {use: attend, hidden: 8, embedding: 4, max_length: 12, search: greedy, unknown: false}
encoder: {use: lstm, dim: 8, hidden: 8, bidirectional: true}
"""
    folder = exported(tmp_path, recipe)
    texts = ["twenty-one", "seven"]
    model, _, tasks = load_model(folder / "model")
    ((name, fields),) = tasks.items()
    outcomes = predict_inputs(
        model, name, fields, InputReader(fields[0], fields[1]).texts((text, text) for text in texts)
    )
    expected = [outcome.prediction.value for outcome in outcomes if outcome.prediction is not None]
    assert run(folder, "write.py", *texts) == expected
