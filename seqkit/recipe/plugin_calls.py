"""Calls of what a plugin's task is made of: an exception of its own becomes one sentence for the user."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from seqkit.errors import PluginError, SeqkitError
from seqkit.registry.import_errors import describe_error
from seqkit.registry.registry import CORE, Plugin, describe, file_filter, lets_errors_through
from seqkit.types import Example, Task


def with_plain_errors(task: Task, plugin: Plugin) -> Task:
    """The same task, whose functions raise PluginError where they fail with an exception that is none of seqkit's.

    It says which function of which plugin failed, where, and after which example, so that a user need not read a
    traceback. ValueError of `parse` and `parse_target` stays: it says what is wrong with an input. Tasks of seqkit's
    own are left alone, and so is everything if SEQKIT_RAISE_PLUGIN_ERRORS is 1.
    """
    if plugin.distribution == CORE or lets_errors_through():
        return task
    changes: dict[str, Any] = {"read": _reading(plugin, "read", task.read)}
    if task.read_file is not None:
        changes["read_file"] = _reading(plugin, "read_file", task.read_file)
    for name in ("metric", "notes", "finish", "locate"):
        if (function := getattr(task, name)) is not None:
            changes[name] = _calling(plugin, name, function)
    for name in ("parse", "parse_target"):
        if (function := getattr(task, name)) is not None:
            changes[name] = _calling(plugin, name, function, ValueError)
    return replace(task, **changes)


def _reading(plugin: Plugin, name: str, function: Callable[..., Any]) -> Callable[..., Iterator[Example]]:
    """`read` or `read_file`, whose examples are made one after the other."""

    @wraps(function)
    def read(*arguments: Any, **options: Any) -> Iterator[Example]:
        progress = {"after": " before the first example"}
        with _plain_errors(plugin, name, progress):
            for example in function(*arguments, **options):
                yield example
                progress["after"] = f" after example {getattr(example, 'id', '')}"

    return read


def _calling(plugin: Plugin, name: str, function: Callable[..., Any], *expected: type[Exception]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        with _plain_errors(plugin, name, {}, expected):
            return function(*arguments, **options)

    return call


@contextmanager
def _plain_errors(
    plugin: Plugin, name: str, progress: dict[str, str], expected: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    let_through: tuple[type[Exception], ...] = (SeqkitError, MemoryError, *expected)
    try:
        yield
    except let_through:
        raise
    except Exception as error:
        raise PluginError(
            f"{describe(plugin)}: {name} failed{progress.get('after', '')}, at {_place(error, plugin)}: "
            f"{describe_error(error)}. If the data are wrong there, correct them; else tell the plugin's author. "
            "SEQKIT_RAISE_PLUGIN_ERRORS=1 shows the traceback"
        ) from error


def _place(error: Exception, plugin: Plugin) -> str:
    """`file.py:12`, the last line of the plugin's own code on the way to an exception, or the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    is_theirs = file_filter(plugin)
    last = next((frame for frame in reversed(frames) if is_theirs(frame.filename)), frames[-1])
    return f"{Path(last.filename).name}:{last.lineno}"
