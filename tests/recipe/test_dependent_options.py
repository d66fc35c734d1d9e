"""Options of `train` that mean something only beside another one."""

from __future__ import annotations

import pytest

from seqkit import recipe as recipes
from seqkit.errors import RecipeError

TASKS = "tasks: {charlm: {source: python-docs}}\nencoder: {use: lstm}\n"


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ("average_from: 3", "train.average: uniform"),
        ("average: 0.9, average_from: stall", "train.average: uniform"),
        ("average: uniform, average_wait: 2", "train.average: uniform and train.average_from: stall"),
        ("teacher_weight: 0.9", "train.teacher"),
        ("teacher_temperature: 1.0", "train.teacher"),
    ],
)
def test_an_option_without_effect_is_refused(options: str, needed: str) -> None:
    with pytest.raises(RecipeError) as raised:
        recipes.parse(f"{TASKS}train: {{{options}}}\n".encode(), "r.yaml")
    assert f"has no effect without {needed}" in str(raised.value)
    assert str(raised.value).startswith("r.yaml:3:")


@pytest.mark.parametrize(
    "options",
    ["average: uniform, average_from: stall, average_wait: 2", "teacher: runs/x, teacher_weight: 0.9", "average: 0.9"],
)
def test_with_it_the_recipe_is_right_and_so_is_what_is_written_of_it(options: str) -> None:
    recipe = recipes.parse(f"{TASKS}train: {{{options}}}\n".encode(), "r.yaml")
    assert recipes.parse(recipe.resolved().encode(), "r.yaml") == recipe
