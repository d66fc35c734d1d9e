"""`seqkit export`: a trained model as a file that runs without seqkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from seqkit.cli.options import JSON_OBJECT, MODEL_FOLDER, TASK, OutputFile, choose_task
from seqkit.cli.output import echo, echo_json


@click.command("export")
@MODEL_FOLDER
@click.option("--to", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True, help="The format.")
@click.option("--out", type=OutputFile(".onnx", ".pt2"), required=True, help="The file: .onnx, or .pt2 for torch.")
@click.option("--int8", is_flag=True, help="Write a second file with weights of eight bits; needs the dev split.")
@TASK
@JSON_OBJECT
def command(folder: Path, to: Literal["onnx", "torch"], out: Path, int8: bool, task: str | None, as_json: bool) -> None:
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
    model, recipe, tasks = load_model(folder)
    task = choose_task(task, list(tasks))
    data = _dev_data(recipe, tasks, task) if int8 else None
    result = export_model(model, recipe, tasks, out, task=task, to=to, int8=data)
    if as_json:
        files = [str(path) for path in result.files]
        facts = {"files": files, "largest_difference": result.difference, "operators": dict(result.nodes)}
        echo_json(facts | ({} if result.int8 is None else {"int8": dict(result.int8)}))
        return
    for path in result.files:
        echo(f"{path}: {path.stat().st_size:,} bytes")
    echo(f"largest difference from seqkit: {result.difference:.1e}")
    if result.int8 is not None:
        for name, before in result.int8["scores_before"].items():
            after = result.int8["scores_after"][name]
            echo(f"dev/{name}: {before:.4f}, with weights of eight bits {after:.4f}")


def _dev_data(recipe: Any, tasks: Any, task: str) -> Any:
    """The dev split of a task.

    Raises:
        UsageError: it has none.
    """
    from seqkit.errors import UsageError
    from seqkit.experiments.prepare import prepare_data
    from seqkit.runs.progress import Progress

    if "dev" not in tasks[task][0].splits:
        raise UsageError(f"--int8: task {task} has no split 'dev' to score the smaller file on")
    with Progress(quiet=True) as progress:
        fitted = {task: tasks[task]}
        return prepare_data(recipe.alone(task), progress, lambda line: None, fitted=fitted, splits=("dev",))[task]
