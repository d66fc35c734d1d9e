"""Options that have an effect only beside another one: given alone they are refused, in any section of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from seqkit import GIVEN, only_with
from seqkit import recipe as recipes
from seqkit.errors import PluginError, RecipeError
from seqkit.option_conditions import condition_notes, conditions_of
from seqkit.recipe.options import options_of, schema_of
from seqkit.registry import registry

TASKS = "tasks: {charlm: {source: python-docs}}\nencoder: {use: lstm}\n"


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ("average_from: 3", "train.average: uniform"),
        ("average: 0.9, average_from: stall", "train.average: uniform"),
        ("average: uniform, average_wait: 2", "train.average_from: stall"),
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


def tasks_of_seqkit() -> dict[str, Callable[..., Any]]:
    plugins = [plugin for plugin in registry.installed("tasks") if plugin.distribution == registry.CORE]
    return {plugin.name: registry.load("tasks", plugin.name) for plugin in plugins}


def with_files_of_splits() -> list[tuple[str, str]]:
    """Each task that has data of its own unless the user names files, and the option that says where they are."""
    pairs = []
    for name, factory in tasks_of_seqkit().items():
        options = {option for option, _, _ in options_of(factory)}
        if "source" in options and {"train", "dev", "test"} <= options:
            pairs += [(name, place) for place in ("folder", "path") if place in options]
    return pairs


def parse(tasks: str) -> recipes.Recipe:
    return recipes.parse(f"tasks: {{{tasks}}}\nencoder: {{use: lstm}}\n".encode(), "r.yaml")


def test_most_tasks_have_files_of_splits() -> None:
    assert len(with_files_of_splits()) >= 12


@pytest.mark.parametrize(("task", "place"), with_files_of_splits())
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_files_are_never_ignored_in_favour_of_other_data(task: str, place: str, split: str) -> None:
    """Who names a file, and not where it is, would else train on a published data set or on generated examples."""
    with pytest.raises(RecipeError) as raised:
        parse(f"x: {{use: {task}, {split}: mine.csv}}")
    assert str(raised.value).startswith("r.yaml:1:")
    assert f"x.{split}: has no effect without tasks.x.{place}; set {place} as well" in str(raised.value)


def test_a_default_that_is_written_out_counts_as_given() -> None:
    with pytest.raises(RecipeError, match=r"without tasks.mood.folder; .*'.' is the folder of the recipe"):
        parse("mood: {use: sentiment, train: train.tsv}")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("sizes: [9, 9, 9], source: sst2", "sizes: has no effect without tasks.x.source: generated"),
        ("sizes: [9, 9, 9], folder: here", "sizes: has no effect beside tasks.x.folder; set folder to null"),
        ("held_out: 0.3, folder: here", "held_out: has no effect beside tasks.x.dev; set dev to null"),
        ("tune: false", "tune: has no effect without tasks.x.vectors"),
    ],
)
def test_the_sentence_says_what_decides(options: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as raised:
        parse(f"x: {{use: sentiment, {options}}}")
    assert sentence in str(raised.value)


def test_a_recipe_with_all_options_filled_in_is_right() -> None:
    for name in tasks_of_seqkit():
        encoder = "{use: lstm}"
        recipe = recipes.parse(f"tasks: {{x: {{use: {name}}}}}\nencoder: {encoder}\n".encode(), "r.yaml")
        assert recipes.parse(recipe.resolved().encode(), "r.yaml") == recipe


def factory(*, where: str | None = None, kind: str = "a", depth: int = 0, columns: tuple[str, ...] = ()) -> None: ...


def test_conditions_are_values_lists_of_values_nothing_or_anything() -> None:
    marked = only_with("depth", where=GIVEN, kind=("a", "b"))(only_with("columns", where=None)(factory))
    lists, depth = conditions_of(marked)
    assert depth.unmet({"where": None, "kind": "c"}) == {"where": GIVEN, "kind": ("a", "b")}
    assert depth.unmet({"where": "x", "kind": "b"}) == {}
    assert lists.unmet({"where": "x"}) == {"where": None}
    assert condition_notes(marked) == {
        "depth": "Only with where and with kind: a or b.",
        "columns": "Only without where.",
    }


def test_an_author_who_names_an_option_that_is_none_is_told() -> None:
    def wrong(*, depth: int = 0) -> None: ...

    with pytest.raises(PluginError, match="names 'wheer', which is none of its options"):
        schema_of(only_with("depth", wheer=GIVEN)(wrong))
