"""The recipes that come with seqkit, wherever it is installed."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable

from seqkit.errors import UsageError, name_hint

PACKAGE = "seqkit_recipes"


def find_files() -> dict[str, Traversable]:
    """{name: file}, sorted by name."""
    try:
        folder = importlib.resources.files(PACKAGE)
    except ModuleNotFoundError:  # run from a source tree that was never installed
        return {}
    recipes = {file.name.removesuffix(".yaml"): file for file in folder.iterdir() if file.name.endswith(".yaml")}
    return dict(sorted(recipes.items()))


def names() -> list[str]:
    """The names that `seqkit run NAME` accepts, sorted."""
    return list(find_files())


def description_of(text: str) -> list[str]:
    """The lines of a recipe's leading comment, without the `#`."""
    lines = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines


def unknown_recipe(name: str) -> UsageError:
    """The error for a name that is neither a file nor a recipe of seqkit's."""
    known = names()
    stem = name.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
    hint = name_hint(
        stem, known, label="recipes that come with seqkit", if_none="the recipes of seqkit are not installed"
    )
    return UsageError(f"there is no recipe file '{name}'; {hint}")
