"""`seqkit report`: what is known of runs, as one page of HTML."""

from __future__ import annotations

from pathlib import Path

import click

from seqkit.cli.options import QUIET, OutputFile, UserPath
from seqkit.cli.output import echo


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=UserPath(exists=True, file_okay=False))
@click.option("--out", type=OutputFile(".html"), help="The page.  [default: report.html in the first of RUNS]")
@QUIET
def command(runs: tuple[Path, ...], out: Path | None, quiet: bool) -> None:
    """Write all that is known of RUNS (run folders, or folders with such) into one page of HTML.

    Scores with their intervals, promises met or not, curves, confusions, calibration, scores by length and class, the
    examples to look at, memory through time, data, speed, recipe and environment; of several runs that can be compared,
    their comparison. The page loads nothing, so it can be sent as it is.
    """
    from seqkit.reports.pages import report_page, write_page
    from seqkit.runs.claim import check_writable
    from seqkit.runs.progress import Progress

    path = out or runs[0] / "report.html"
    check_writable(path.absolute().parent)
    with Progress(quiet=quiet) as progress:
        page = report_page(runs, progress=progress, tell=progress.say)
    write_page(path, page)
    echo(str(path))
