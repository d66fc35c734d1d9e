"""`seqkit export`: a trained model as a file that runs without seqkit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from seqkit.cli.options import JSON_OBJECT, MODEL_FOLDER, TASK, UserPath, choose_task
from seqkit.cli.output import echo, echo_json


@click.command("export")
@MODEL_FOLDER
@click.option("--to", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True, help="The format.")
@click.option("--out", type=UserPath(dir_okay=False), required=True, help="The file: .onnx, or .pt2 for torch.")
@TASK
@JSON_OBJECT
def command(folder: Path, to: Literal["onnx", "torch"], out: Path, task: str | None, as_json: bool) -> None:
    """Write the model in FOLDER (a run folder, or its model/) to a file that runs without seqkit.

    A description goes along, with the ending .json: what turns inputs into numbers and numbers into answers. The file
    is compared with seqkit over random inputs, lengths and batch sizes first, and written only if both agree within
    1e-5.
    """
    from seqkit.errors import UsageError
    from seqkit.export import export_model
    from seqkit.export.export_model import SUFFIXES
    from seqkit.model import load_model

    if out.suffix != SUFFIXES[to]:
        raise UsageError(f"--out: '{out.name}' should end in {SUFFIXES[to]}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.absolute().parent}")
    model, recipe, tasks = load_model(folder)
    result = export_model(model, recipe, tasks, out, task=choose_task(task, list(tasks)), to=to)
    if as_json:
        files = [str(path) for path in result.files]
        echo_json({"files": files, "largest_difference": result.difference, "operators": dict(result.nodes)})
        return
    for path in result.files:
        echo(f"{path}: {path.stat().st_size:,} bytes")
    echo(f"largest difference from seqkit: {result.difference:.1e}")
