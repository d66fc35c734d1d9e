"""Recipes from Python: as files, names or mappings, with options set; `seqkit.check`. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from seqkit.errors import Problem, ProblemsError, RecipeError, SeqkitError, UsageError

if TYPE_CHECKING:
    from seqkit.recipe import Recipe

RecipeLike: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"
"""A recipe's file, the name of one that comes with seqkit, or the recipe itself as a mapping."""

Settings: TypeAlias = "Mapping[str, Any] | Iterable[str]"
"""Options to set: `{"train.epochs": 3}`, or as on the command line: `["train.epochs=3"]`."""


def check(recipe: RecipeLike, *, set: Settings | None = None) -> list[Problem]:
    """Everything that is wrong with a recipe, in reading order; an empty list if nothing is. Reads no data.

    Args:
        recipe: a file, the name of a recipe that comes with seqkit, or a mapping.
        set: options to set: `{"train.epochs": 3}`.
    """
    try:
        load_recipe(recipe, set)
    except ProblemsError as error:
        return list(error.problems)
    except SeqkitError as error:
        return [Problem("", str(error))]
    return []


def load_recipe(recipe: RecipeLike, set: Settings | None = None) -> Recipe:
    """The checked recipe.

    Raises:
        RecipeError: with all mistakes.
        UsageError: there is no such file, or it cannot be read.
    """
    from seqkit.recipe import from_mapping, load

    flags = flags_of(set)
    if isinstance(recipe, Mapping):
        return from_mapping(recipe, flags)
    if not isinstance(recipe, str | os.PathLike):
        raise UsageError(f"a recipe is a file, a name or a mapping, not a {type(recipe).__name__}")
    return load(os.path.expanduser(os.fspath(recipe)), flags)


def flags_of(set: Settings | None) -> tuple[str, ...]:
    """The settings as `--set` flags.

    Raises:
        RecipeError: a value cannot be written in a recipe.
        UsageError: this is one text, or a list of something else.
    """
    from pathlib import Path

    from seqkit.recipe.parser import Fatal, tree_of, values_of
    from seqkit.recipe.writer import flow

    if set is None:
        return ()
    if isinstance(set, str) or not isinstance(set, Iterable):
        raise UsageError(f"set: expected a mapping such as {{'train.epochs': 3}}, got {set!r}")
    if not isinstance(set, Mapping):
        flags = tuple(set)
        if not all(isinstance(flag, str) for flag in flags):
            raise UsageError("set: expected texts such as 'train.epochs=3'")
        return flags
    try:
        return tuple(f"{name}={flow(values_of(tree_of(set[name], f'set[{name!r}]', Path.cwd())))}" for name in set)
    except Fatal as error:
        raise RecipeError(error.issue.problem) from None
