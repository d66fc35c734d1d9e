"""The format `.ts` of the archives at timeseriesclassification.com: a case a line, channels joined by colons.

Header lines begin with `@`, comments with `#`. After `@data`, a line has the channels of a case, each a series of
numbers with commas between them, and the label at its end, all separated by `:`. Cases may differ in length, the
channels of a case may not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, final

import numpy as np

from seqkit import DataError, Example, Flaw, Problem
from seqkit.readers import Line, numbered
from seqkit.reading import report_left_out

_REFUSED = {
    "timestamps": "series with a time at each value are not read; write values at equal intervals",
    "targetlabel": "its targets are numbers, and this task predicts labels",
}
_MISSING = "?"


@final
@dataclass(frozen=True)
class Header:
    """What the lines before the data say.

    Attributes:
        labelled: whether cases have a label at their end.
        labels: the labels that there may be; empty: the header does not list them.
        dimensions: how many channels a case has; None: the header does not say.
    """

    labelled: bool = True
    labels: tuple[str, ...] = ()
    dimensions: int | None = None


def ts_cases(path: Path, *, labelled: bool = True) -> Iterator[Example]:
    """The cases of a `.ts` file: inputs (T, C) float64, targets labels.

    Args:
        path: the file, which may be compressed.
        labelled: False: labels are not needed, and a case that cannot be read is a `Flaw`.

    Raises:
        DataError: a line that is not as the format has it.
    """
    lines = numbered(path)
    header = _read_header(path, lines)
    if labelled and not header.labelled:
        _fail(path, None, None, "has no labels: its header says @classLabel false")
    for line in lines:
        if not line.text.strip():
            report_left_out("blank line", f"{path.name}:{line.number}")
            continue
        id = f"{path.name}:{line.number}"
        try:
            values, label = _case(path, line, header)
        except DataError as error:
            if labelled:
                raise
            yield Example(Flaw(error.problems[0].what), None, id)
            continue
        yield Example(values, label if labelled else None, id)


def _read_header(path: Path, lines: Iterator[Line]) -> Header:
    """The header, after which the lines are those of the data. Raises DataError if it does not end."""
    labelled, dimensions = True, None
    labels: tuple[str, ...] = ()
    for line in lines:
        words = line.text.split()
        if not words or words[0].startswith("#"):
            continue
        if not words[0].startswith("@"):
            _fail(path, line.number, 1, "begins with no @, and there was no line @data before it")
        key, values = words[0].lower().removeprefix("@"), words[1:]
        if key == "data":
            return Header(labelled, labels, dimensions)
        if key in _REFUSED and values and values[0].lower() == "true":
            _fail(path, line.number, None, _REFUSED[key])
        if key == "classlabel":
            labelled, labels = bool(values) and values[0].lower() == "true", tuple(values[1:])
        elif key in ("dimensions", "dimension"):
            if len(values) != 1 or not values[0].isdecimal():
                _fail(path, line.number, None, f"{words[0]} should have one whole number")
            dimensions = int(values[0])
    raise DataError(Problem(str(path), "has no line @data"))


def _case(path: Path, line: Line, header: Header) -> tuple[np.ndarray, str | None]:
    """The values (T, C) and the label of a case."""
    fields = line.text.split(":")
    label = fields.pop().strip() if header.labelled else None
    if header.labels and label not in header.labels:
        known = ", ".join(header.labels)
        _fail(path, line.number, len(line.text) - len(label or "") + 1, f"the label {label!r} is none of {known}")
    if not fields or (header.dimensions is not None and len(fields) != header.dimensions):
        expected = header.dimensions or "one or more"
        _fail(path, line.number, None, f"has {len(fields)} channels before the label, and there should be {expected}")
    channels: list[list[float]] = []
    column = 1
    for field in fields:
        channels.append(_channel(path, line.number, column, field))
        if len(channels[-1]) != len(channels[0]):
            message = f"channel {len(channels)} has {len(channels[-1])} values, and channel 1 has {len(channels[0])}"
            _fail(path, line.number, column, message)
        column += len(field) + 1
    return np.array(channels).T, label


def _channel(path: Path, number: int, column: int, text: str) -> list[float]:
    """The values of a channel, which begins at this column of its line."""
    try:
        values = [float(value) for value in text.split(",")]
        if all(map(math.isfinite, values)):
            return values
    except ValueError:
        pass
    for value in text.split(","):
        if value.strip() == _MISSING:
            _fail(path, number, column, "a value is missing", "fill the gaps in, or leave the case out")
        try:
            is_finite = math.isfinite(float(value))
        except ValueError:
            _fail(path, number, column, f"{value!r} is not a number")
        if not is_finite:
            _fail(path, number, column, f"{value!r} is not a finite number", "fill the gaps in, or leave the case out")
        column += len(value) + 1
    raise AssertionError("one of the values is not a finite number")


def _fail(path: Path, number: int | None, column: int | None, message: str, hint: str = "") -> NoReturn:
    where = ":".join(str(item) for item in (path, number, column) if item is not None)
    raise DataError(Problem(where, message, hint))
