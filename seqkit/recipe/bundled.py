"""The recipes that come with seqkit, found by name wherever it is installed."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable

from seqkit.errors import UsageError, suggest

PACKAGE = "seqkit_recipes"


def files() -> dict[str, Traversable]:
    """{name: file}, sorted by name."""
    try:
        folder = importlib.resources.files(PACKAGE)
    except ModuleNotFoundError:  # run from a source tree that was never installed
        return {}
    found = {each.name.removesuffix(".yaml"): each for each in folder.iterdir() if each.name.endswith(".yaml")}
    return dict(sorted(found.items()))


def names() -> list[str]:
    """The names that `seqkit run NAME` knows."""
    return list(files())


def about(text: str) -> list[str]:
    """What a recipe says of itself: its first comment lines, without the `#`."""
    lines = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines


def unknown(name: str) -> UsageError:
    """The error for a name that is neither a file nor a shipped recipe."""
    known = names()
    stem = name.rsplit("/", 1)[-1].removesuffix(".yaml").removesuffix(".yml")
    hint = suggest(stem, known)
    there = f"recipes that come with seqkit: {', '.join(known)}" if known else "seqkit's own recipes are not installed"
    return UsageError(f"no recipe file '{name}' is here; {hint + ' ' if hint else ''}{there}")
