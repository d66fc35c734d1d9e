"""Recipes: YAML files that say everything about a run, checked whole before anything happens.

`document` reads bytes to a tree with places, `overrides` puts `--set` flags in, `schema` makes models of factories'
signatures, `diagnose` checks parts and words the complaints, `check` goes through the sections, `load` puts it
together into the `nouns`, `emit` writes it out again, `editor` makes the JSON Schema, `shipped` finds the recipes that
come with seqkit.
"""

from __future__ import annotations

from seqkit.recipe.bundled import names as names
from seqkit.recipe.json_schema import json_schema as json_schema
from seqkit.recipe.loader import load as load
from seqkit.recipe.loader import parse as parse
from seqkit.recipe.loader import read as read
from seqkit.recipe.recipe import Recipe as Recipe
from seqkit.recipe.recipe import TaskEntry as TaskEntry
from seqkit.recipe.recipe import build_task as build_task
