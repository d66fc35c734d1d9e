"""`seqkit predict`: lines of text in, JSON lines out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from seqkit.cli.options import DEVICE, MODEL_FOLDER, TASK, choose_task


@click.command("predict")
@MODEL_FOLDER
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@TASK
@click.option("--text", "texts", multiple=True, help="An input; may be repeated.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True)
@DEVICE
@click.option(
    "--scores/--no-scores",
    default=True,
    help="Print the scores behind each prediction.",
)
def command(
    folder: Path, file: Path | None, task: str | None, texts: tuple[str, ...], batch: int, device: str, scores: bool
) -> None:
    """Predict with the model in FOLDER for each line of FILE, of --text, or of standard input.

    Prints one JSON object per line: id, input, prediction, confidence, scores.
    """
    from seqkit.errors import UsageError
    from seqkit.inference.predict import predict
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    if file is not None and texts:
        raise UsageError("give a file or --text, not both")
    model, _, tasks = load_model(folder, choose_device(device))
    name = choose_task(task, list(tasks))
    for example_id, line, prediction in predict(model, name, tasks[name], _lines(file, texts), batch=batch):
        row = {"id": example_id, "input": line, "prediction": prediction.value, "confidence": prediction.confidence}
        if scores and prediction.scores is not None:
            row["scores"] = prediction.scores
        click.echo(json.dumps(row, ensure_ascii=False))


def _lines(file: Path | None, texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(id, line) of each input. Standard input is read like a file."""
    from seqkit.readers import lines

    if texts:
        yield from ((f"--text {number}", text) for number, text in enumerate(texts, start=1))
        return
    for example in lines(file or Path("/dev/stdin")):
        yield example.id, example.input
