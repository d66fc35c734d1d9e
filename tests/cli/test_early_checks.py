"""What is wrong with a command itself is told before torch is imported: devices, folders, files to write."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = "tasks: {charlm: {file: x.txt}}\nencoder: {use: lstm}\nexpect: {charlm/test/nats: {at_most: 9, seeds: 1}}\n"

CASES = {
    "run r.yaml --out full": "--out full: the folder is not empty, and a run never overwrites; choose a new folder",
    "run r.yaml --out r.yaml": "--out r.yaml: not a folder",
    "run r.yaml --out r.yaml/below": "--out r.yaml/below: {here}/r.yaml is not a folder",
    "run r.yaml --set device=gpu": "device: expected auto, cpu, cuda or cuda:N, got the text 'gpu'; the first GPU is",
    "run --resume full": "full is not a run folder: it lacks status.json or resolved.yaml",
    "run --resume busy": "{here}/busy is still running (process 1 on elsewhere, last heartbeat",
    "reproduce r.yaml --out r.yaml/below": "--out r.yaml/below: {here}/r.yaml is not a folder",
    "reproduce r.yaml --json nowhere/x.json": "--json: there is no folder {here}/nowhere",
    "verify-resume r.yaml --out full": "--out full: not empty; name a new folder",
    "evaluate full": "full: no model here; give a finished run's folder or its model/ folder",
    "evaluate busy --device foo": "--device: expected auto, cpu, cuda or cuda:N, got 'foo'",
    "evaluate busy --data nowhere": "--data nowhere: there is no such file or folder",
    "evaluate busy --predictions x.txt": "--predictions: 'x.txt' should end in .jsonl or .csv",
    "evaluate busy --predictions nowhere/x.csv": "--predictions: there is no folder {here}/nowhere",
    "evaluate busy --top 3": "--top: chooses what --predictions writes; give that too",
    "predict full": "full: no model here",
    "predict busy --device gpu": "--device: expected auto, cpu, cuda or cuda:N, got 'gpu'; the first GPU is cuda",
    "predict busy --device cuda:": "--device: expected auto, cpu, cuda or cuda:N, got 'cuda:'",
    "predict busy x --text y": "give files or --text, not both",
    "generate full": "full: no model here",
    "stream full": "full: no model here",
    "stream busy --device 0": "--device: expected auto, cpu, cuda or cuda:N, got '0'; the first GPU is cuda",
    "export full --out x.onnx": "full: no model here",
    "export busy --out nowhere/x.onnx": "--out: there is no folder {here}/nowhere",
    "export busy --out x.bin": "--out: 'x.bin' should end in .onnx or .pt2",
    "generate busy --device cuda:x": "--device: expected auto, cpu, cuda or cuda:N, got 'cuda:x'",
    "prove full": "full: no model here",
    "prove busy --set seed=2": "--set: changes a recipe; a trained model is checked as it is",
    "prove nothing.yaml": "there is no recipe file 'nothing.yaml'",
    "plan nothing.yaml": "there is no recipe file 'nothing.yaml'",
    "data nothing.yaml": "there is no recipe file 'nothing.yaml'",
}

SCRIPT = """
import json, sys
from click.testing import CliRunner
from seqkit.cli import main
sys.modules["torch"] = None  # whoever imports it gets an ImportError
results = [CliRunner().invoke(main, line.split()) for line in json.load(sys.stdin)]
json.dump([[result.exit_code, result.output + repr(result.exception)] for result in results], sys.stdout)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Path]]:
    """{command: exit code, output, folder}, of all cases in one process, in which torch cannot be imported."""
    folder = tmp_path_factory.mktemp("early")
    for name in ("full", "busy"):
        (folder / name).mkdir()
    (folder / "r.yaml").write_text(RECIPE)
    (folder / "full/letter.txt").write_text("Dear diary")
    busy = {"state": "running", "pid": 1, "host": "elsewhere", "heartbeat": "2100-01-01T00:00:00Z"}
    (folder / "busy/status.json").write_text(json.dumps(busy))
    (folder / "busy/resolved.yaml").write_text(RECIPE)
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(list(CASES)), cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    return {case: (code, output, folder) for case, (code, output) in zip(CASES, outcomes, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_told_without_torch(results: dict[str, tuple[int, str, Path]], case: str) -> None:
    code, output, folder = results[case]
    assert CASES[case].format(here=folder) in output
    assert code == 2
