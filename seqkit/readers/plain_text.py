"""Files of plain text: a line or a piece of the text is an example."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from seqkit.errors import DataError, Problem, UsageError
from seqkit.readers.line_reader import kept_lines, numbered
from seqkit.readers.shards import over_shards
from seqkit.types import Example


@over_shards
def lines(path: Path | str, *, skip_blank: bool = False) -> Iterator[Example]:
    """One example a line, without a target.

    Args:
        path: the file.
        skip_blank: leave out lines of nothing but white space. Otherwise they are examples like the others.
    """
    path = Path(path)
    for line in kept_lines(path, skip_blank=skip_blank):
        yield Example(line.text, None, f"{path.name}:{line.number}")


def parallel(inputs: Path | str, targets: Path | str) -> Iterator[Example]:
    """Line n of one file is the input, line n of the other its target.

    Raises:
        DataError: the files have different numbers of lines.
    """
    inputs, targets = Path(inputs), Path(targets)
    for input, target in itertools.zip_longest(numbered(inputs), numbered(targets)):
        if input is None or target is None:
            shorter, longer = (inputs, targets) if input is None else (targets, inputs)
            count = (input or target).number - 1
            longer_count = sum(1 for _ in numbered(longer))
            message = f"has {count:,} lines, but {longer} has {longer_count:,}"
            raise DataError(Problem(str(shorter), message, "line n of one belongs to line n of the other"))
        yield Example(input.text, target.text, f"{inputs.name}:{input.number}")


def text(path: Path | str, *, piece: int | None = None) -> Iterator[Example]:
    """A whole file as one text, or cut into pieces. Line ends are part of it, as LF.

    Args:
        path: the file.
        piece: characters of a piece (the last one may be shorter); None: the whole file is one example. With it memory
            does not grow with the file.
    """
    if piece is not None and piece < 1:
        raise UsageError(f"text: a piece has at least 1 character, not {piece}")
    name = Path(path).name
    buffer: list[str] = []
    size, first_line = 0, 1
    for line in numbered(path):
        buffer.append(line.text + "\n" if line.ended else line.text)
        size += len(buffer[-1])
        if piece is None or size < piece:
            continue
        joined = "".join(buffer)
        for start in range(0, size - piece + 1, piece):
            yield Example(joined[start : start + piece], None, f"{name}:{line.number if start else first_line}")
        buffer, size = [joined[size - size % piece :]], size % piece
        first_line = line.number if size else line.number + 1
    if size:
        yield Example("".join(buffer), None, f"{name}:{first_line}")
