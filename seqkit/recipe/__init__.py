"""Recipes: YAML files that say everything about a run, checked whole before anything happens.

`document` reads bytes to a tree with places, `overrides` puts `--set` flags in, `schema` makes models of factories'
signatures, `diagnose` checks parts and words the complaints, `load` puts it together, `emit` writes it out again.
"""

from __future__ import annotations

from seqkit.recipe.load import Recipe as Recipe
from seqkit.recipe.load import TaskEntry as TaskEntry
from seqkit.recipe.load import build_task as build_task
from seqkit.recipe.load import load as load
from seqkit.recipe.load import parse as parse
from seqkit.recipe.shipped import names as names
