"""Settings written into a recipe file, with everything else in it as it was."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

from seqkit import recipe as recipes
from seqkit.errors import UsageError
from seqkit.io import atomic
from seqkit.recipe import Recipe
from seqkit.settings import TrainSettings

WORDS = ("batch", "tokens", "pool", "shapes")
"""The settings that a choice is made of."""


def write(path: Path, recipe: Recipe, chosen: TrainSettings) -> dict[str, Any]:
    """Write the choice into the recipe's `train:`, with everything else in the file as it was.

    Returns:
        What was changed, by name.

    Raises:
        UsageError: the file cannot be changed without changing more than that.
    """
    from ruamel.yaml import YAML

    changed = {word: getattr(chosen, word) for word in WORDS if getattr(chosen, word) != getattr(recipe.train, word)}
    if not changed:
        return {}
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    text = path.read_text(encoding="utf-8")
    document = yaml.load(text)
    train = document.get("train")
    if train is None:
        document["train"] = train = {}
    for word, value in changed.items():
        train[word] = value
    if changed.get("tokens") is None and "tokens" in changed:
        train.pop("tokens", None)
    stream = io.StringIO()
    yaml.dump(document, stream)
    draft = path.with_name(f".{path.stem}-plan.yaml")  # in the same folder: paths in a recipe are relative to it
    try:
        draft.write_text(stream.getvalue(), encoding="utf-8")
        made = recipes.load(draft)
    finally:
        draft.unlink(missing_ok=True)
    if dataclasses.replace(made, train=recipe.train) != recipe or made.train != chosen:
        settings = ", ".join(f"{word}: {value}" for word, value in changed.items())
        raise UsageError(f"{path}: cannot be changed without changing more; write into train: {settings}")
    atomic.write(path, stream.getvalue())
    return changed
