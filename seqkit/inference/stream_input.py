"""What `seqkit stream` reads: lines, JSON lines or raw sound on standard input, as pieces of sequences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeAlias

from seqkit.errors import UsageError
from seqkit.readers.line_reader import numbered_stream
from seqkit.types import Field, Task

Format: TypeAlias = Literal["lines", "jsonl", "pcm"]

_STANDARD_INPUT: Final = Path("stdin")
_LETTERS: Final = ("characters", "bytes", "bases")
"""The units whose steps are letters of a text, one after the other."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a sequence.

    Attributes:
        id: of the sequence.
        value: what is pushed; None: nothing.
        ends: whether the sequence ends with it.
        error: why it cannot be used; empty if it can.
    """

    id: str
    value: Any = None
    ends: bool = False
    error: str = ""


def read_pieces(file: IO[bytes], task: Task, field: Field, format: Format | None = None) -> Iterator[Piece]:
    """The pieces on standard input, each as soon as it has come, of one step where steps can be told apart.

    Lines are pieces of one sequence. An empty line ends it, and the next one begins another, unless line ends are
    symbols of the text itself (a language model of characters). JSON lines name the sequence that they belong to.

    Args:
        file: standard input.
        task: the task.
        field: its fitted input field.
        format: None: raw sound for a model of sound, else lines.

    Raises:
        UsageError: the model does not read the format.
    """
    frame_bytes: int | None = getattr(field, "frame_bytes", None)
    if format is None:
        format = "lines" if frame_bytes is None else "pcm"
    if format == "jsonl":
        return _from_json_lines(file)
    if format == "pcm":
        if frame_bytes is None:
            raise UsageError(f"--format pcm: the model reads {field.unit}, not sound")
        return _from_sound(file, frame_bytes)
    if frame_bytes is not None:
        raise UsageError("--format lines: the model reads sound; use pcm, or jsonl with samples")
    return _from_lines(file, task, field)


def _from_sound(file: IO[bytes], frame_bytes: int) -> Iterator[Piece]:
    is_first = True
    while block := file.read(frame_bytes):
        if is_first and block[:4] == b"RIFF" and block[8:12] == b"WAVE":
            raise UsageError("--format pcm: standard input is a WAV file, not raw sound; use seqkit predict for files")
        is_first, samples = False, block[: len(block) // 2 * 2]
        if samples:
            yield Piece("1", samples)
        if len(samples) < len(block):
            yield Piece("1", error="stdin: ends within a sample, which should have 16 bits; the last byte is left out")
    yield Piece("1", ends=True)


def _from_lines(file: IO[bytes], task: Task, field: Field) -> Iterator[Piece]:
    number, is_open = 1, False
    is_text_of_lines = task.target.derived and field.unit in _LETTERS
    for line in numbered_stream(file, _STANDARD_INPUT, flaws=True):
        where = f"stdin:{line.number}: "
        if line.flaw:
            yield Piece(str(number), error=where + line.flaw)
            continue
        if not line.text.strip() and not is_text_of_lines:
            if is_open:
                yield Piece(str(number), ends=True)
                number, is_open = number + 1, False
            continue
        try:
            steps = list(line.text + "\n" * line.ended) if is_text_of_lines else _steps_of(line.text, task, field)
        except ValueError as error:
            yield Piece(str(number), error=f"{where}{error}")
            continue
        is_open = is_open or bool(steps)
        yield from (Piece(str(number), step) for step in steps)
    if is_open:
        yield Piece(str(number), ends=True)


def _steps_of(text: str, task: Task, field: Field) -> list[Any]:
    """The steps of a line, each as a piece.

    Raises:
        ValueError: the line cannot be read.
    """
    if field.unit in _LETTERS:
        return list(text.strip() if field.unit == "bases" else text)
    if field.unit == "steps":
        return [[row] for row in _rows_of(text)]
    value = (task.parse or field.parse)(text)
    return [[word] for word in (value.split() if isinstance(value, str) else value)]


def _rows_of(text: str) -> list[list[float]]:
    """The rows of numbers of a line: a JSON list of numbers or of such lists, or numbers with blanks or commas."""
    if text.lstrip().startswith("["):
        value = json.loads(text)
        return value if value and isinstance(value[0], list) else [value]
    try:
        return [[float(number) for number in re.split(r"[\s,;]+", text.strip()) if number]]
    except ValueError:
        raise ValueError("should be numbers, separated by blanks or commas, or a JSON list of numbers") from None


def _from_json_lines(file: IO[bytes]) -> Iterator[Piece]:
    open_ids: dict[str, None] = {}
    for line in numbered_stream(file, _STANDARD_INPUT, flaws=True):
        where = f"stdin:{line.number}: "
        piece = Piece("1", error=line.flaw) if line.flaw else _from_json(line.text)
        if piece.error:
            yield Piece(piece.id, error=where + piece.error)
            continue
        open_ids[piece.id] = None
        if piece.ends:
            del open_ids[piece.id]
        yield piece
    yield from (Piece(id, ends=True) for id in open_ids)


def _from_json(text: str) -> Piece:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Piece("1", error=f"is not JSON: {error}")
    if not isinstance(record, dict) or not set(record) <= {"id", "input", "end"}:
        return Piece("1", error='should be an object with "input", and perhaps "id" and "end"')
    id, ends = record.get("id", "1"), record.get("end", False)
    if not isinstance(id, str | int) or not isinstance(ends, bool):
        return Piece("1", error='"id" should be text and "end" true or false')
    return Piece(str(id), record.get("input"), ends)
