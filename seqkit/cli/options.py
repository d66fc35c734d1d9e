"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem


class UserPath(click.Path):
    """A path as `Path`; a leading `~` is the home folder, also where the shell did not expand it (`--out=~/runs`)."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises BadParameter for one that is not as it must be."""
        return super().convert(os.path.expanduser(value), param, ctx)


class OutputFile(UserPath):
    """A file that a verb writes at its end: that it can be written is known before anything is computed."""

    def __init__(self, *suffixes: str) -> None:
        super().__init__(dir_okay=False)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises UsageError for one that cannot be written, or whose name has none of the endings."""
        from seqkit.errors import UsageError
        from seqkit.runs.claim import check_writable

        path: Path = super().convert(value, param, ctx)
        option = param.opts[0] if param is not None else "the file"
        if self.suffixes and path.suffix not in self.suffixes:
            raise UsageError(f"{option}: '{path.name}' should end in {' or '.join(self.suffixes)}")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{option}: there is no folder {path.absolute().parent}")
        check_writable(path.absolute().parent, option)
        return path


class NewRunFolder(UserPath):
    """The folder of a new run: that it is free and can be written is known before anything is imported or read."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises UsageError for one that a run cannot have; the verb has to ask again under torchrun."""
        from seqkit.runs.claim import check_claimable
        from seqkit.runtime.rendezvous import is_kept_by_torchrun

        path: Path = super().convert(value, param, ctx)
        if not is_kept_by_torchrun():  # which starts a verb again with the folder that it has made
            check_claimable(path)
        return path


class OutputFolder(UserPath):
    """A folder that a verb writes in; `is_new`: it must be empty, or not exist yet."""

    def __init__(self, *, is_new: bool = False) -> None:
        super().__init__(file_okay=False)
        self.is_new = is_new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises UsageError for one that cannot be written, or is not new."""
        from seqkit.errors import UsageError
        from seqkit.runs.claim import check_writable

        path: Path = super().convert(value, param, ctx)
        option = param.opts[0] if param is not None else "the folder"
        check_writable(path, option)
        if self.is_new and path.is_dir() and any(path.iterdir()):
            raise UsageError(f"{option} {path}: not empty; name a new folder")
        return path


class ModelFolder(UserPath):
    """The folder of a trained model, or of a run."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises DataError for a folder that has no model, before torch is imported to open it."""
        from seqkit.runs.run_folder import check_model_folder

        path: Path = super().convert(value, param, ctx)
        check_model_folder(path)
        return path


class Device(click.types.StringParamType):
    """The name of a device. Whether this machine has it is known when torch is imported."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name. Raises UsageError for one that no device has."""
        from seqkit.errors import UsageError
        from seqkit.runtime.device import DEVICE_NAMES, device_hint, is_device_name

        if not is_device_name(value):
            hint = device_hint(value)
            raise UsageError(f"--device: expected {DEVICE_NAMES}, got '{value}'" + (f"; {hint}" if hint else ""))
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Devices that begin so."""
        return [CompletionItem(name) for name in ("auto", "cpu", "cuda") if name.startswith(incomplete)]


class RecipeName(click.types.StringParamType):
    """A recipe's file, or the name of a recipe that comes with seqkit."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Files, and names that begin so. In bash, what is first is shown only if nothing else is there."""
        from seqkit.recipe import bundled

        names = [CompletionItem(name) for name in bundled.names() if name.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file"), *names]


RECIPE = click.argument("recipe", type=RecipeName())
SET = click.option(
    "--set", "sets", multiple=True, metavar="A.B=C", help="Override an option of the recipe; may be repeated."
)
QUIET = click.option("--quiet", is_flag=True, help="No progress on stderr.")
STRICT = click.option(
    "--strict", is_flag=True, help="Warnings are errors, and so is a score that a recipe expects and a run misses."
)
DEVICE = click.option("--device", type=Device(), default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
TASK = click.option("--task", help="Which task of a joint model.")
JSON_OBJECT = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
JSON_LIST = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
MODEL_FOLDER = click.argument("folder", type=ModelFolder())


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
