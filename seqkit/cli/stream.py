"""`seqkit stream`: a sequence comes on standard input, and each step is answered at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seqkit.cli.options import DEVICE, MODEL_FOLDER, TASK, choose_task
from seqkit.cli.output import echo

if TYPE_CHECKING:
    from seqkit.inference.stream import Answer, Stream
    from seqkit.inference.stream_input import Piece
    from seqkit.types import JSON


@click.command("stream")
@MODEL_FOLDER
@TASK
@click.option(
    "--format",
    "input_format",
    type=click.Choice(["lines", "jsonl", "pcm"]),
    help="How standard input is read: lines of text, letters or numbers; JSON lines; raw sound (16 bits, one channel, "
    "at the model's rate). By default pcm for a model of sound, else lines.",
)
@click.option(
    "--look-ahead",
    type=click.IntRange(min=0),
    metavar="STEPS",
    help="For a model of both directions: how many steps it waits before it is sure of one.",
)
@click.option("--sessions", type=click.IntRange(min=1), default=64, show_default=True, help="Most open sequences.")
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a sequence after so many seconds without input.",
)
@click.option("--state/--no-state", "shows_state", default=True, help="Print the recurrent state after each step.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Print the N most probable labels or texts only.")
@DEVICE
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    task: str | None,
    input_format: Any,
    look_ahead: int | None,
    sessions: int,
    idle: float | None,
    shows_state: bool,
    top: int | None,
    device: str,
) -> None:
    """Predict with the model in FOLDER for a sequence that is still coming, on standard input.

    Prints one JSON object for each step at once: what would be predicted if the sequence ended here, and the state. Of
    a model that predicts for each step, the prediction is for those from `first` on, of which the last `provisional`
    may still change. Lines are pieces of one sequence; an empty line ends it. A JSON line is
    {"id": ..., "input": ..., "end": true or false}.

    Input that cannot be used has `error` instead; then the exit code is 1.
    """
    from seqkit.inference.stream import Stream
    from seqkit.inference.stream_input import read_pieces
    from seqkit.model import load_model
    from seqkit.runtime.device import choose_device

    model, _, tasks = load_model(folder, choose_device(device))
    name = choose_task(task, list(tasks))
    stream = Stream(
        model, name, tasks[name], sessions=sessions, look_ahead=look_ahead, idle=idle, on_evict=_report_eviction
    )
    errors = 0
    for piece in read_pieces(sys.stdin.buffer, tasks[name][0], tasks[name][1], input_format):
        record = _answer(stream, piece, shows_state=shows_state, top=top)
        errors += "error" in record
        _print(record)
    if errors:
        echo(f"{errors:,} pieces cannot be used: see their `error`", err=True)
        ctx.exit(1)


def _answer(stream: Stream, piece: Piece, *, shows_state: bool, top: int | None) -> dict[str, JSON]:
    from seqkit.errors import SeqkitError

    if piece.error:
        return {"id": piece.id, "error": piece.error}
    try:
        answer = stream.push(piece.id, piece.value) if piece.value is not None or not piece.ends else None
        if piece.ends:
            answer = stream.close(piece.id)
        assert answer is not None
    except SeqkitError as error:
        return {"id": piece.id, "error": str(error)}
    return _record(answer, shows_state=shows_state, top=top)


def _record(answer: Answer, *, shows_state: bool, top: int | None) -> dict[str, JSON]:
    from seqkit.inference.predictions_file import prediction_record

    record: dict[str, JSON] = {"id": answer.id, "steps": answer.steps}
    if answer.prediction is not None:
        record |= {"first": answer.first, "provisional": answer.provisional}
        record |= prediction_record(answer.prediction, top=top)
    if shows_state:
        record["state"] = [[[float(f"{x:.6g}") for x in row] for row in kind.tolist()] for kind in answer.state]
    return record | ({"end": True} if answer.has_ended else {})


def _print(record: dict[str, JSON]) -> None:
    from seqkit.inference.predictions_file import json_lines

    (line,) = json_lines([record])
    echo(line)


def _report_eviction(id: str, state: bytes) -> None:
    echo(f"sequence {id!r} was ended: it had no input for too long", err=True)
