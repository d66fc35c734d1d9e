"""A recipe's options as a flat table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from seqkit.recipe import Recipe
from seqkit.types import Choice


def flatten(recipe: Recipe) -> dict[str, str | float | bool]:
    """The recipe's options with dotted keys, for TensorBoard's table of hyperparameters."""
    flat: dict[str, str | float | bool] = {"seed": recipe.seed, "encoder.dim": recipe.dim}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Choice):
            walk(f"{prefix}.use", value.use)
            walk(prefix, value.options)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(f"{prefix}.{key}", item)
        else:
            flat[prefix] = value if isinstance(value, bool | int | float | str) else str(value)

    walk("encoder", recipe.encoder)
    for name, entry in recipe.tasks.items():
        walk(name, {"use": entry.use, "weight": entry.weight, **entry.options, "head": entry.head})
    for setting in dataclasses.fields(recipe.train):
        walk(f"train.{setting.name}", getattr(recipe.train, setting.name))
    return flat
