"""`seqkit evaluate`: the scores of a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from seqkit.cli.options import DEVICE, JSON_OBJECT, MODEL_FOLDER, QUIET


@click.command("evaluate")
@MODEL_FOLDER
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "dev", "test"]))
@click.option("--batch", type=click.IntRange(min=1), help="Examples per batch. The scores do not depend on it.")
@DEVICE
@JSON_OBJECT
@QUIET
def command(folder: Path, split: str, batch: int | None, device: str, as_json: bool, quiet: bool) -> None:
    """Score the model in FOLDER (a run folder, or its model/) on a split of the data it was trained with."""
    from seqkit.errors import UsageError
    from seqkit.experiments.prepare import prepare_data
    from seqkit.inference.evaluate import evaluate
    from seqkit.model import load_model
    from seqkit.runs.progress import Progress
    from seqkit.runtime.device import choose_device

    model, recipe, tasks = load_model(folder, choose_device(device))
    for name, (task, *_) in tasks.items():
        if split not in task.splits:
            raise UsageError(f"task {name} has no split '{split}'; it has: {', '.join(task.splits)}")
    with Progress(quiet=quiet) as progress:
        data = prepare_data(recipe, progress, lambda line: None, fitted=tasks, splits=(split,))
        scores = {
            f"{name}/{split}/{key}": value
            for name, task_data in data.items()
            for key, value in evaluate(model, task_data, split, batch=batch).scores.items()
        }
    if as_json:
        click.echo(json.dumps(scores, indent=1))
        return
    for key, value in scores.items():
        click.echo(f"{key:<40} {value:.4f}")
