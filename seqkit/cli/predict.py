"""`seqkit predict`: lines in, JSON lines out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click


@click.command("predict", short_help="Lines or a file in, JSON lines out.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--task", help="Which task of a joint model.")
@click.option("--text", "texts", multiple=True, help="An input, given here; may be repeated.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--scores/--no-scores", default=True, help="What stands behind each prediction (every class, say).")
def command(
    folder: Path, file: Path | None, task: str | None, texts: tuple[str, ...], batch: int, device: str, scores: bool
) -> None:
    """Predict with the model in FOLDER for each line of FILE, of --text, or of standard input.

    Prints one JSON object a line: id, input, prediction, confidence, scores.
    """
    from seqkit.errors import UsageError
    from seqkit.inference.predict import predict
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    if file is not None and texts:
        raise UsageError("give a file or --text, not both")
    model, _, tasks = load_model(folder, choose_device(device))
    name = pick(task, list(tasks))
    for where, line, prediction in predict(model, name, tasks[name], _lines(file, texts), batch=batch):
        row = {"id": where, "input": line, "prediction": prediction.value, "confidence": prediction.confidence}
        if scores and prediction.scores is not None:
            row["scores"] = prediction.scores
        click.echo(json.dumps(row, ensure_ascii=False))


def pick(task: str | None, known: list[str]) -> str:
    """The task that is meant: named, or the only one."""
    from seqkit.errors import UsageError, suggest

    if task is None and len(known) == 1:
        return known[0]
    if task is None:
        raise UsageError(f"this model has several tasks; choose one with --task: {', '.join(known)}")
    if task not in known:
        raise UsageError(f"no task '{task}' in this model; it has: {', '.join(known)} {suggest(task, known)}".rstrip())
    return task


def _lines(file: Path | None, texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(id, line) pairs. Standard input is read like every file."""
    from seqkit.readers import lines

    if texts:
        yield from ((f"--text {number}", text) for number, text in enumerate(texts, start=1))
        return
    for example in lines(file or Path("/dev/stdin")):
        yield example.id, example.input
