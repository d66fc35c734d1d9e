"""What a command prints: text that cannot move the cursor of a terminal, and JSON that every reader understands."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from seqkit.errors import printable

if TYPE_CHECKING:  # it brings NumPy, which `seqkit --help` does without
    from seqkit.types import JSON


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout, or on stderr. Names and values in it may come from files of others; see `printable`."""
    click.echo(printable(text), err=err, nl=nl)


def echo_wrapped(text: str, *, indent: int) -> None:
    """Print a line on stdout; on a terminal it is wrapped between words, and goes on below this many blanks.

    Elsewhere it stays one line, so that programs find it whole.
    """
    echo("\n".join(wrap(text, indent=indent)))


def wrap(text: str, *, indent: int) -> list[str]:
    """The lines of a text on the terminal that stdout is; one line if it is none."""
    if not sys.stdout.isatty():
        return [text]
    import shutil
    import textwrap

    columns = max(shutil.get_terminal_size().columns, indent + 20)
    blanks = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        text.lstrip(),
        columns,
        initial_indent=blanks,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    return lines or [text]


def echo_json(value: JSON, *, indent: int | None = 1) -> None:
    """Print a value as strict JSON; see `seqkit.io.atomic.dump_json` for numbers that JSON does not have."""

    from seqkit.io.atomic import dump_json

    echo(dump_json(value, indent=indent))
