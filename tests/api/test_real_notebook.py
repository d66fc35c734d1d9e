"""A notebook in a kernel of its own: progress in one output, tables, an interrupt that saves, and a run resumed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

CELLS = [
    """
import sys, seqkit
recipe = {
    "tasks": {"mood": {"use": "sentiment", "sizes": [40, 20, 20]}},
    "encoder": {"use": "lstm", "hidden": 16},
    "train": {"steps": 4},
}
run = seqkit.run(recipe, out="first")
""",
    "run",
    "run.model()",
    "next(run.model().predict(['a <b>bold</b> film']))",
    """
def interrupt(done, total, stage):
    if stage == "step":
        open("started", "w").close()

try:
    seqkit.run(recipe, set={"train.steps": 1_000_000}, out="second", progress=interrupt)
except seqkit.Interrupted as error:
    print("stopped:", error)
    step = int(str(error).split("step ")[1].split(";")[0].replace(",", ""))
""",
    """
print(seqkit.Run("second").state)
again = seqkit.run(resume="second", set={"train.steps": step + 3}, progress=False)
print(again.state)
""",
]


def outputs(cell: Any, kind: str) -> list[str]:
    """The texts of one MIME type that a cell shows."""
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient and ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})

    def interrupt() -> None:
        deadline = time.monotonic() + 250
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(client.km.provisioner.pid, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    client.execute()
    first, run, model, result, stopped, resumed = notebook.cells
    (bar,) = outputs(first, "text/html")
    assert "run folder: " in bar
    assert not [output for output in first.outputs if output.get("name") == "stdout"]
    assert "mood/test/accuracy" in outputs(run, "text/html")[0]
    assert "Classify" in outputs(model, "text/html")[0]
    assert "&lt;b&gt;bold&lt;/b&gt;" in outputs(result, "text/html")[0]
    assert "stopped: stopped after step" in "".join(output.get("text", "") for output in stopped.outputs)
    assert [line for output in resumed.outputs for line in output.get("text", "").split()] == [
        "interrupted",
        "finished",
    ]
