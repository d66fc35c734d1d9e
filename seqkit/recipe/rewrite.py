"""Changes settings in a recipe file and leaves the rest of the file as it was."""

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

BATCH_SETTINGS = ("batch", "tokens", "pool", "shapes")
"""The settings of `train:` that decide how batches are made."""


def write(path: Path, recipe: Recipe, chosen: TrainSettings) -> dict[str, Any]:
    """Write the batch settings of `chosen` into the recipe's `train:`.

    Returns:
        The changed settings by name.

    Raises:
        UsageError: the recipe would change in some other way as well.
    """
    from ruamel.yaml import YAML

    changed = {
        name: getattr(chosen, name) for name in BATCH_SETTINGS if getattr(chosen, name) != getattr(recipe.train, name)
    }
    if not changed:
        return {}
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 4096
    text = recipes.read(path.absolute())[0].decode("utf-8")
    document = yaml.load(text)
    train = document.get("train")
    if train is None:
        document["train"] = train = {}
    for name, value in changed.items():
        train[name] = value
    if changed.get("tokens") is None and "tokens" in changed:
        train.pop("tokens", None)
    stream = io.StringIO()
    yaml.dump(document, stream)
    draft = path.with_name(f".{path.stem}-plan.yaml")  # in the same folder: paths in a recipe are relative to it
    try:
        draft.write_text(stream.getvalue(), encoding="utf-8")
        rewritten = recipes.load(draft)
    finally:
        draft.unlink(missing_ok=True)
    if dataclasses.replace(rewritten, train=recipe.train) != recipe or rewritten.train != chosen:
        settings = ", ".join(f"{name}: {value}" for name, value in changed.items())
        raise UsageError(
            f"{path}: the settings cannot be written without changing more of the recipe; put into train: {settings}"
        )
    atomic.write(path, stream.getvalue())
    return changed
