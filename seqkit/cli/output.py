"""What a command prints: text that cannot move the cursor of a terminal, and JSON that every reader understands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seqkit.errors import printable

if TYPE_CHECKING:  # it brings NumPy, which `seqkit --help` does without
    from seqkit.types import JSON


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print text on stdout, or on stderr. Names and values in it may come from files of others; see `printable`."""
    click.echo(printable(text), err=err, nl=nl)


def echo_json(value: JSON, *, indent: int | None = 1) -> None:
    """Print a value as strict JSON; see `seqkit.io.atomic.json_safe` for numbers that JSON does not have."""
    import json

    from seqkit.io.atomic import json_safe

    echo(json.dumps(json_safe(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str))
