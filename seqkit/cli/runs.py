"""`seqkit runs`: the table of the runs in a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from seqkit.cli.options import JSON_LIST, UserPath
from seqkit.cli.output import echo, echo_json

FOLDER = click.argument("folder", required=False, type=UserPath(exists=True, file_okay=False))


class _TableByDefault(click.Group):
    """A group that shows the table if no command of it is named: `seqkit runs`, `seqkit runs FOLDER`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; for a folder, the table."""
        return super().get_command(ctx, cmd_name) or self.commands["list"]


@click.group("runs", cls=_TableByDefault)
def command() -> None:
    """Show the runs in a folder, or remove the failed ones.

    \b
    seqkit runs                    the runs in runs/
    seqkit runs FOLDER             those in another folder
    seqkit runs --sort test        the best one first
    seqkit runs rm --failed        remove the failed ones, after a question
    """


@command.command("list")
@FOLDER
@click.option(
    "--sort",
    type=click.Choice(["name", "state", "dev", "test", "minutes", "started"]),
    default="name",
    show_default=True,
    help="By what the table is sorted; by a score, the best run is first.",
)
@click.option("--reverse", is_flag=True, help="Sort the other way round.")
@JSON_LIST
def list_(folder: Path | None, sort: str, reverse: bool, as_json: bool) -> None:
    """Show the runs in FOLDER and below it (default: runs), with what differs between those of the same tasks.

    `dev` and `test` are the score that chooses the checkpoint, of the best one so far; on test, once the run has
    finished.
    """
    from seqkit.reports.run_table import make_table

    table = make_table(_folder(folder), sort=sort, reverse=reverse)
    if as_json:
        echo_json(table.facts())
        return
    if not table.runs:
        echo(f"no runs in {table.folder}", err=True)
        return
    for line in table.lines(_terminal_width()):
        echo(line)


@command.command("rm")
@FOLDER
@click.option("--failed", is_flag=True, help="Those that have failed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(folder: Path | None, failed: bool, yes: bool) -> None:
    """Remove runs in FOLDER and below it (default: runs), after a question.

    A run that a process works on is never removed, nor one that can be resumed.
    """
    from seqkit.errors import RunError, UsageError
    from seqkit.reports.run_table import first_line, make_table, remove_run

    if not failed:
        raise UsageError("say which runs to remove: --failed")
    table = make_table(_folder(folder))
    chosen = [run for run in table.runs if run.state == "failed"]
    if not chosen:
        echo(f"no run in {table.folder} has failed", err=True)
        return
    for run in chosen:
        echo(f"{run.folder}  ({first_line(run.reason)})", err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to ask: give --yes to remove them")
        click.confirm(f"Remove {len(chosen)} run{'s' if len(chosen) > 1 else ''}?", abort=True, err=True)
    problems = []
    removed = 0
    for run in chosen:
        try:
            removed += remove_run(run.folder, ["failed"], tell=lambda line: echo(line, err=True))
        except RunError as error:
            problems.append(str(error))
    echo(f"{removed} removed", err=True)
    if problems:
        raise RunError("\n".join(problems))


def _folder(folder: Path | None) -> Path:
    """The folder, or that of new runs.

    Raises:
        UsageError: no folder was given, and there is none of new runs.
    """
    from seqkit.errors import UsageError
    from seqkit.runs.run_folder import NEW_RUNS

    if folder is None and not NEW_RUNS.is_dir():
        raise UsageError(f"there is no folder {NEW_RUNS} here; name the folder with the runs")
    return folder or NEW_RUNS


def _terminal_width() -> int | None:
    """Columns of the terminal that stdout is; None if it is none, so that programs find lines whole."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return max(40, shutil.get_terminal_size().columns)
