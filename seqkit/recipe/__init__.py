"""Recipes: YAML files that say everything about a run, checked whole before anything happens.

`document` reads bytes to a tree with places, `overrides` puts `--set` flags in, `schema` makes models of factories'
signatures, `diagnose` checks parts and words the complaints, `check` goes through the sections, `load` puts it
together into the `nouns`, `emit` writes it out again, `editor` makes the JSON Schema, `shipped` finds the recipes that
come with seqkit.
"""

from __future__ import annotations

from seqkit.recipe.editor import json_schema as json_schema
from seqkit.recipe.load import load as load
from seqkit.recipe.load import parse as parse
from seqkit.recipe.load import read as read
from seqkit.recipe.nouns import Recipe as Recipe
from seqkit.recipe.nouns import TaskEntry as TaskEntry
from seqkit.recipe.nouns import build_task as build_task
from seqkit.recipe.shipped import names as names
