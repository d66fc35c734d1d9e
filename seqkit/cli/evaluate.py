"""`seqkit evaluate`: the scores of a trained model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqkit.cli.options import DEVICE, JSON_OBJECT, MODEL_FOLDER, QUIET, TASK, OutputFile, UserPath, choose_task
from seqkit.cli.output import echo, echo_json
from seqkit.errors import UsageError

if TYPE_CHECKING:
    from seqkit.inference.evaluate import EvaluationResult


@click.command("evaluate")
@MODEL_FOLDER
@click.option("--split", type=click.Choice(["train", "dev", "test"]), help="Which split.  [default: test]")
@click.option(
    "--data",
    "other",
    type=UserPath(),
    help="Score this labelled file or folder instead, in any format that the task trains from.",
)
@TASK
@click.option("--batch", type=click.IntRange(min=1), help="Examples per batch. The scores do not depend on it.")
@click.option(
    "--predictions",
    type=OutputFile(".jsonl", ".csv"),
    help="Write id, target, prediction, confidence and scores of each example to this file: .jsonl or .csv.",
)
@click.option("--top", type=click.IntRange(min=1), help="Write the N most probable labels only.", metavar="N")
@click.option("--report", is_flag=True, help="Print precision, recall and F1 of each class, and the confusion matrix.")
@DEVICE
@JSON_OBJECT
@QUIET
def command(
    folder: Path,
    split: str | None,
    other: Path | None,
    task: str | None,
    batch: int | None,
    predictions: Path | None,
    top: int | None,
    report: bool,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score the model in FOLDER (a run folder, or its model/) on a split of its data, or on other data.

    Of a folder given with --data, the file of --split is scored if the task has a file for each split; else all of it
    (with --split, that split of it).
    """
    if top is not None and predictions is None:
        raise UsageError("--top: chooses what --predictions writes; give that too")
    # A name with {} or | stands for two files.
    if other is not None and not other.exists() and not any(sign in other.name for sign in ("{}", "|")):
        raise UsageError(f"--data {other}: there is no such file or folder")

    from seqkit.inference.evaluate import evaluate
    from seqkit.inference.reports import class_report
    from seqkit.model import load_model
    from seqkit.runs.progress import Progress
    from seqkit.runtime.device import choose_device
    from seqkit.score_names import with_baselines

    model, recipe, tasks = load_model(folder, choose_device(device))
    scores: dict[str, float] = {}
    reports: dict[str, Any] = {}
    results: dict[str, EvaluationResult] = {}
    keep = predictions is not None or report
    with Progress(quiet=quiet) as progress, ExitStack() as stack:
        for name, stored, label, data in _open_data(stack, recipe, tasks, split, other, task, progress):
            result = evaluate(model, data, stored, batch=batch, keep_predictions=keep)
            scores |= {f"{name}/{label}/{key}": value for key, value in result.scores.items()}
            results[name] = result
            if report:
                reports[name] = class_report(name, result, data.target)
    if predictions is not None:
        _write_predictions(predictions, results, top)
    if as_json:
        plain = {name: class_report.facts() for name, class_report in reports.items()}
        echo_json(scores | ({"report": plain} if report else {}))
        return
    for key, value, beside in with_baselines(scores):
        echo(f"{key:<40} {value:.4f}{beside}")
    for made in reports.values():
        echo("")
        for line in made.lines():
            echo(line)


def _open_data(
    stack: ExitStack, recipe: Any, tasks: Any, split: str | None, other: Path | None, task: str | None, progress: Any
) -> Any:
    """(task, stored split, what its scores are called by, data) of all that is scored."""

    from seqkit.errors import DataError, MissingFile, Problem
    from seqkit.experiments.other_data import OTHER, open_other_data
    from seqkit.experiments.prepare import prepare_data

    if other is not None:
        name = choose_task(task, list(tasks))
        data = stack.enter_context(open_other_data(name, tasks[name], other, split, progress))
        return [(name, OTHER, other.name, data)]
    split = split or "test"
    if task is not None:
        name = choose_task(task, list(tasks))
        tasks = {name: tasks[name]}
        recipe = recipe.alone(name)
    for name, (built, *_) in tasks.items():
        if split not in built.splits:
            raise UsageError(f"task {name} has no split '{split}'; it has: {', '.join(built.splits)}")
    try:
        prepared = prepare_data(recipe, progress, lambda line: None, fitted=tasks, splits=(split,))
    except MissingFile as error:
        elsewhere = "if the files are elsewhere now, or to score other ones, give the file or folder with --data"
        raise DataError([*error.problems, Problem("", elsewhere)]) from error
    return [(name, split, split, data) for name, data in prepared.items()]


def _write_predictions(path: Path, results: dict[str, EvaluationResult], top: int | None) -> None:
    """The predictions of all tasks; of several tasks, each record says which it is of."""
    from seqkit.inference.predictions_file import csv_lines, evaluation_records, json_lines
    from seqkit.io import atomic

    records = [
        ({"task": name} if len(results) > 1 else {}) | record
        for name, result in results.items()
        for record in evaluation_records(result, top=top)
    ]
    columns = dict.fromkeys(column for record in records for column in record)
    lines = csv_lines(records, columns) if path.suffix == ".csv" else json_lines(records)
    try:
        atomic.write(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise atomic.write_error(error, path.absolute().parent) from error
    echo(f"{path}: {len(records):,} predictions", err=True)
