"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class UserPath(click.Path):
    """A path as `Path`; a leading `~` is the home folder, also where the shell did not expand it (`--out=~/runs`)."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises BadParameter for one that is not as it must be."""
        return super().convert(os.path.expanduser(value), param, ctx)


SET = click.option(
    "--set", "sets", multiple=True, metavar="A.B=C", help="Override an option of the recipe; may be repeated."
)
QUIET = click.option("--quiet", is_flag=True, help="No progress on stderr.")
STRICT = click.option(
    "--strict", is_flag=True, help="Warnings are errors, and so is a score that a recipe expects and a run misses."
)
DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
TASK = click.option("--task", help="Which task of a joint model.")
JSON_OBJECT = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
JSON_LIST = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
MODEL_FOLDER = click.argument("folder", type=UserPath(exists=True, file_okay=False))


def choose_task(task: str | None, known: list[str]) -> str:
    """The task of this name, or the only one.

    Raises:
        UsageError: there is no such task, or several and no name.
    """
    from seqkit.errors import UsageError, name_hint

    if task is None and len(known) == 1:
        return known[0]
    if task is None:
        raise UsageError(f"this model has several tasks; choose one with --task: {', '.join(known)}")
    if task not in known:
        raise UsageError(f"this model has no task '{task}'; {name_hint(task, known, label='its tasks')}")
    return task
