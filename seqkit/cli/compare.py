"""`seqkit compare`: which of several models is better, and whether that is more than chance."""

from __future__ import annotations

from pathlib import Path

import click

from seqkit.cli.options import JSON_OBJECT, QUIET, OutputFile, UserPath
from seqkit.cli.output import echo, echo_json


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, type=UserPath(exists=True, file_okay=False))
@click.option("--split", help="Which split.  [default: test]")
@click.option("--task", help="Which task of a joint model.")
@click.option("--score", help="Which score decides.  [default: the one that chooses the checkpoint]")
@click.option(
    "--unit",
    metavar="UNIT",
    help="What is resampled: example, the unit that the task names (speaker), or a regular expression with one group, "
    "whose text in the ids is the same for all examples of a unit.",
)
@JSON_OBJECT
@click.option("--html", type=OutputFile(".html"), help="Write the comparison to this file, a page in itself.")
@QUIET
def command(
    runs: tuple[Path, ...],
    split: str | None,
    task: str | None,
    score: str | None,
    unit: str | None,
    as_json: bool,
    html: Path | None,
    quiet: bool,
) -> None:
    """Compare RUNS, finished ones or folders with such, with the first: which is better, and is it more than chance?

    Runs that differ in nothing but the seed are one side. The models' predictions for the same examples are compared by
    the paired bootstrap (intervals) and by approximate randomisation (p); the means over seeds by Welch's t-test.
    """
    from seqkit.reports.comparison import compare
    from seqkit.runs.progress import Progress

    with Progress(quiet=quiet) as progress:
        comparison = compare(runs, task=task, split=split, score=score, unit=unit, progress=progress, tell=progress.say)
    if html is not None:
        from seqkit.reports.pages import comparison_page, write_page

        write_page(html, comparison_page(comparison))
        echo(f"{html}: written", err=True)
    if as_json:
        echo_json(comparison.facts())
        return
    for line in comparison.lines():
        echo(line)
