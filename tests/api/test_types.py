"""A program that uses seqkit is checked by `mypy --strict` without a word of its own, and its mistakes are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
from pathlib import Path
import seqkit

def use(folder: Path) -> list[str]:
    model: seqkit.Model = seqkit.load(folder, device="cpu")
    for result in model.predict(["a", ["b"], {"text": "c"}], batch=2, on_error="record"):
        reveal_type(result)
        print(result.value, result.top(2), result.spans[0]["start_char"], result.probabilities["x"])
    scores: dict[str, float] = model.evaluate([("a", "b")])
    shapes = [row.shape for row in model.encode(["a"], pool="mean")]
    run: seqkit.Run = seqkit.run({"tasks": {}}, set={"a.b": 3}, out=folder, progress=lambda done, total, stage: None)
    reveal_type(run.history())
    problems: list[seqkit.Problem] = seqkit.check("x.yaml")
    reveal_type(model.stream().push("a", "b"))
    reveal_type(model.module)
    reveal_type(model.export("a.onnx"))
    print(scores, shapes, problems)
    model.predict(["a"], on_error="skip")
    return model.generate("a", count=3)
"""


@pytest.mark.slow
def test_a_program_is_checked(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "program.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    revealed = [line.partition('type is "')[2].rstrip('"') for line in result.stdout.splitlines() if "Revealed" in line]
    assert revealed == [
        "seqkit.api.results.Result",
        "list[dict[str, float]]",
        "seqkit.inference.stream.Answer",
        "torch.nn.modules.module.Module",
        "seqkit.export.export_model.ExportResult",
    ]
    errors = [line for line in result.stdout.splitlines() if line.startswith("program.py") and " error: " in line]
    assert len(errors) == 1, result.stdout
    assert 'Argument "on_error" to "predict"' in errors[0]
