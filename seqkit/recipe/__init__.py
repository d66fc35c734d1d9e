"""Recipes: YAML files that describe a run completely, and are checked in full before any data is read.

`parser` turns bytes into a tree with locations, `overrides` applies `--set` flags to it. `options` turns the signatures
of factories into schemas, `checker` checks parts of the tree against them, and `messages` has the sentences.
`validator` and `task_section` go through the sections; `own_options` has the options of the recipe itself. `loader`
runs all of these and returns a `recipe.Recipe`, which `writer` writes out again. `json_schema` is for editors,
`bundled` finds the recipes that come with seqkit, and `rewrite` changes settings in a file.
"""

from __future__ import annotations

from seqkit.recipe.bundled import names as names
from seqkit.recipe.loader import from_mapping as from_mapping
from seqkit.recipe.loader import load as load
from seqkit.recipe.loader import parse as parse
from seqkit.recipe.loader import read as read
from seqkit.recipe.loader import read_sections as read_sections
from seqkit.recipe.recipe import Recipe as Recipe
from seqkit.recipe.recipe import TaskEntry as TaskEntry
from seqkit.recipe.recipe import build_task as build_task
from seqkit.recipe.recipe import build_tasks as build_tasks
