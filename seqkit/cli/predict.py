"""`seqkit predict`: lines of text or files in, JSON lines or a table out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seqkit.cli.options import DEVICE, MODEL_FOLDER, TASK, choose_task
from seqkit.cli.output import echo
from seqkit.errors import UsageError

if TYPE_CHECKING:
    from seqkit.inference.predict import Outcome
    from seqkit.types import JSON


@click.command("predict")
@MODEL_FOLDER
@click.argument("files", nargs=-1)
@TASK
@click.option("--text", "texts", multiple=True, help="An input; may be repeated.")
@click.option(
    "--format", "file_format", metavar="NAME", help="Read files as text, or as if their names ended in .NAME."
)
@click.option(
    "--split-words",
    type=click.Choice(["yes", "no"]),
    default="yes",
    show_default=True,
    help="no: lines are split into words already, by blanks or as JSON lists.",
)
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True)
@DEVICE
@click.option("--input/--no-input", "shows_input", default=True, help="Print the input with each prediction.")
@click.option("--scores/--no-scores", default=True, help="Print the scores behind each prediction.")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Print the N likeliest labels, texts or items only."
)
@click.option("--horizon", type=click.IntRange(min=1), metavar="N", help="Forecasts: the first N steps ahead only.")
@click.option(
    "--interval",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    metavar="SHARE",
    help="Numbers: the quantiles between which this share of what happens should be (0.9).",
)
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print a table with commas instead of JSON lines; of forecasts, a row for each step.",
)
@click.option(
    "--on-error",
    type=click.Choice(["go-on", "stop"]),
    default="go-on",
    show_default=True,
    help="What an input that cannot be used does: a record says so, or nothing more is predicted.",
)
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    files: tuple[str, ...],
    task: str | None,
    texts: tuple[str, ...],
    file_format: str | None,
    split_words: str,
    batch: int,
    device: str,
    shows_input: bool,
    scores: bool,
    top: int | None,
    horizon: int | None,
    interval: float | None,
    as_csv: bool,
    on_error: str,
) -> None:
    """Predict with the model in FOLDER for each input in FILES, in --text, or in standard input (-).

    A file is text with one input a line, or of a kind that the task trains from (its name says so, or --format).

    Prints one JSON object for each input, in their order: id, input, prediction, confidence, scores. One that cannot be
    used has `error` instead; then the exit code is 1.
    """
    if files and texts:
        raise UsageError("give files or --text, not both")
    if file_format is not None and texts:
        raise UsageError("--format: says how files are read; leave it out with --text")

    from seqkit.data.card_table import describe_left_out
    from seqkit.fields import NextValues
    from seqkit.inference.forecast import cut_horizon, set_interval, step_rows
    from seqkit.inference.inputs import InputReader, read_all
    from seqkit.inference.predict import predict_inputs
    from seqkit.inference.predictions_file import csv_lines, json_lines
    from seqkit.model import load_model
    from seqkit.reading import collect_reports
    from seqkit.runtime.device import choose_device

    model, _, tasks = load_model(folder, choose_device(device))
    name = choose_task(task, list(tasks))
    reader = InputReader(tasks[name][0], tasks[name][1], split_words == "yes", file_format)
    if texts:
        inputs = reader.texts((f"--text {number}", text) for number, text in enumerate(texts, start=1))
    else:
        inputs = read_all(reader, files or ("-",), sys.stdin.buffer)
    counts = {"inputs": 0, "errors": 0}
    if interval is not None:
        set_interval(model.head(name), interval)
    predicted = predict_inputs(model, name, tasks[name], inputs, batch=batch)
    if horizon is not None:
        predicted = cut_horizon(predicted, tasks[name][2], horizon)
    outcomes = _count(predicted, counts, stops=on_error == "stop")
    records: Iterator[dict[str, JSON]] = (_record(outcome, shows_input, scores, top) for outcome in outcomes)
    columns = ["id", *(["input"] if shows_input else []), "prediction", "confidence"]
    columns += [*(["scores"] if scores else []), "error"]
    with collect_reports() as reading:
        target = tasks[name][2]
        if as_csv and isinstance(target, NextValues):
            columns, records = step_rows(records, target, is_interval=interval is not None)
        for line in csv_lines(records, columns) if as_csv else json_lines(records):
            echo(line)
    for line in (*reading.remarks, *describe_left_out(reading)):
        echo(line, err=True)
    if counts["errors"]:
        echo(f"{counts['errors']:,} of {counts['inputs']:,} inputs cannot be used: see their `error`", err=True)
        ctx.exit(1)


def _count(outcomes: Iterator[Outcome], counts: dict[str, int], *, stops: bool) -> Iterator[Outcome]:
    """The same outcomes, counted.

    Raises:
        DataError: an input cannot be used, and that `stops`.
    """
    from seqkit.errors import DataError, Problem

    for outcome in outcomes:
        counts["inputs"] += 1
        if outcome.error:
            counts["errors"] += 1
            if stops:
                raise DataError(Problem(outcome.input.id, outcome.error))
        yield outcome


def _record(outcome: Outcome, shows_input: bool, scores: bool, top: int | None) -> dict[str, JSON]:
    from seqkit.inference.predictions_file import prediction_record

    record: dict[str, JSON] = {"id": outcome.input.id}
    if shows_input and outcome.input.shown is not None:
        record["input"] = outcome.input.shown
    if outcome.prediction is None:
        return record | {"error": outcome.error}
    if outcome.input.times is not None:
        record["times"] = list(outcome.input.times)[: len(outcome.prediction.value)]
    return record | prediction_record(outcome.prediction, scores=scores, top=top)
