"""`seqkit serve`: models behind HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from seqkit.cli.options import DEVICE, ModelFolder
from seqkit.cli.output import echo
from seqkit.errors import UsageError


@click.command("serve")
@click.argument("folders", nargs=-1, required=True, type=ModelFolder())
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option(
    "--allow-host", multiple=True, help="A name under which clients reach this server; may be repeated. *: any."
)
@click.option("--body", type=click.IntRange(min=1), default=8, show_default=True, help="Most MiB of a request.")
@click.option("--items", type=click.IntRange(min=1), default=1000, show_default=True, help="Most inputs of a request.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=30, show_default=True, help="For a request."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Inputs computed together; 1: each alone.",
)
@click.option(
    "--batch-wait",
    type=click.FloatRange(min=0),
    default=2,
    show_default=True,
    help="Milliseconds that a request waits for others.",
)
@DEVICE
def command(
    folders: tuple[Path, ...],
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    body: int,
    items: int,
    seconds: float,
    batch: int,
    batch_wait: float,
    device: str,
) -> None:
    """Serve the models in FOLDERS (run folders, or their model/) over HTTP, with a page to try them by hand.

    Requests of several clients are computed together. SIGTERM or Ctrl-C answers what has come in, and ends. There is no
    encryption and there are no accounts: whoever can reach the address can use the models.
    """
    from seqkit.serving.limits import Limits

    try:
        from seqkit.serving.run_server import run_server
    except ImportError as error:
        raise UsageError(f"seqkit serve needs the extra 'serve': pip install 'seqkit[serve]' ({error})") from error
    limits = Limits(body=body << 20, items=items, seconds=seconds, batch_items=batch, batch_wait=batch_wait / 1000)
    run_server(
        names_of(folders), host=host, port=port, allowed_hosts=allow_host, limits=limits, device=device, say=_say
    )


def _say(line: str) -> None:
    echo(line, err=True)


def names_of(folders: Sequence[Path]) -> dict[str, Path]:
    """A name for each folder: its own, or that of the run that it is in; with a number where two are alike."""
    names: dict[str, Path] = {}
    for folder in folders:
        path = Path(os.path.abspath(folder))  # a link keeps its name
        stem = path.parent.name if path.name == "model" and path.parent.name else path.name
        name, number = stem, 2
        while name in names:
            name, number = f"{stem}-{number}", number + 1
        names[name] = folder
    return names
