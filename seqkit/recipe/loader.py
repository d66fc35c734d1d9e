"""From a recipe file to a checked `Recipe`: all mistakes are found at once, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqkit.errors import Problem, RecipeError, UsageError
from seqkit.recipe import bundled, overrides, parser
from seqkit.recipe.option_checker import Checker
from seqkit.recipe.parser import Fatal, Location, Node, RecipeIssue
from seqkit.recipe.recipe import Recipe
from seqkit.recipe.validator import check
from seqkit.recipe.writer import emit
from seqkit.regular_files import open_regular


def load(path_or_name: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the one of this name that comes with seqkit, with `--set` flags applied.

    Args:
        path_or_name: `recipes/charlm.yaml` or `charlm`.
        sets: `--set` flags, `a.b=c` each; of two for one option the later one counts.

    Raises:
        RecipeError: with all mistakes, in reading order.
        UsageError: there is no such file, or it cannot be read.
    """
    data, source = read(path_or_name)
    return parse(data, source, sets)


def read(path_or_name: str | Path) -> tuple[bytes, str]:
    """The bytes of a recipe, and its source: what messages call it.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    source = str(path_or_name)
    if re.fullmatch("[A-Za-z0-9_-]+", source) and source in (recipes := bundled.find_files()):
        return recipes[source].read_bytes(), str(recipes[source])
    try:
        path = Path(source)
        if path.is_dir():
            raise UsageError(f"'{source}' is a folder; give a recipe file in it")
        if not path.exists():
            raise bundled.unknown_recipe(source)
        with open_regular(path) as file:
            return file.read(parser.MAX_BYTES + 1), source
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"'{source}' cannot be read: {reason.lower()}") from None


def parse(data: bytes, source: str, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in these bytes. `source` is their path, for messages; relative paths start from its folder.

    Raises:
        RecipeError: with all mistakes, in reading order.
    """
    folder = Path(source).absolute().parent

    def locate(line: int, column: int) -> Location:
        return Location((0, line + 1, column + 1), f"{source}:{line + 1}:{column + 1}", folder)

    try:
        root, issues = parser.compose(parser.decode(data, locate), locate)
    except Fatal as error:
        raise RecipeError(error.issue.problem) from None
    name = Path(source).name.removesuffix(".yaml").removesuffix(".yml")
    return _checked(root, issues, sets, name=name, text=data, source=source)


def read_sections(path: Path) -> dict[str, Any]:
    """The recipe in a file as a plain mapping, for tables: nothing in it is checked, and no plugin is imported.

    Raises:
        RecipeError: it is not a mapping in YAML.
        UsageError: it cannot be read.
    """
    data, source = read(path)

    def locate(line: int, column: int) -> Location:
        return Location((0, line, column), f"{source}:{line + 1}:{column + 1}", path.parent)

    try:
        root, _ = parser.compose(parser.decode(data, locate), locate)
    except Fatal as error:
        raise RecipeError(error.issue.problem) from None
    sections = parser.values_of(root)
    if not isinstance(sections, dict):
        raise RecipeError(Problem(source, "is not a mapping, as a recipe is"))
    return sections


def from_mapping(sections: Mapping[str, Any], sets: Sequence[str] = ()) -> Recipe:
    """The recipe in a mapping, as Python has it; relative paths start from the current folder.

    Its name is made of the names of its tasks.

    Raises:
        RecipeError: with all mistakes, in reading order.
    """
    try:
        root = parser.tree_of(sections, "recipe", Path.cwd())
    except Fatal as error:
        raise RecipeError(error.issue.problem) from None
    text = emit(parser.values_of(root)).encode("utf-8", "surrogatepass")
    tasks = root.entries["tasks"].node.entries if "tasks" in root.entries else {}
    return _checked(root, [], sets, name="-".join(tasks)[:60] or "recipe", text=text, source="recipe")


def _checked(
    root: Node, issues: list[RecipeIssue], sets: Sequence[str], *, name: str, text: bytes, source: str
) -> Recipe:
    """The recipe of a tree, with `--set` flags applied.

    Raises:
        RecipeError: with all mistakes, in reading order.
    """
    root, flags, flag_issues = overrides.apply(root, sets)
    issues += flag_issues
    checker = Checker(flags=flags)
    recipe = check(checker, root)
    # What the parser has refused is not reported a second time.
    refused = {issue.location for issue in issues}
    issues += [issue for issue in checker.issues if issue.location not in refused]
    if issues or recipe is None:
        ordered = sorted(dict.fromkeys(issues), key=lambda issue: issue.location.order)
        raise RecipeError([issue.problem for issue in ordered])
    return Recipe(**recipe, name=name, text=text, source=source)
