"""`seqkit evaluate`: scores of a trained model."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("evaluate", short_help="Score a trained model on a split of its data.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "dev", "test"]))
@click.option("--batch", type=click.IntRange(min=1), help="Examples a batch. The scores do not depend on it.")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
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
            for name, part in data.items()
            for key, value in evaluate(model, part, split, batch=batch).scores.items()
        }
    if as_json:
        click.echo(json.dumps(scores, indent=1))
        return
    for key, value in scores.items():
        click.echo(f"{key:<40} {value:.4f}")
