"""From a recipe file to a checked `Recipe`: everything that is wrong is found at once, before any data is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from seqkit.errors import RecipeError, UsageError
from seqkit.recipe import bundled, overrides, parser
from seqkit.recipe.checker import Checker
from seqkit.recipe.parser import Fatal, Place
from seqkit.recipe.recipe import Recipe
from seqkit.recipe.validator import check


def load(path_or_name: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, or the shipped one of this name, with `--set` flags applied.

    Args:
        path_or_name: `recipes/charlm.yaml` or `charlm`.
        sets: `a.b=c` each, later ones win.

    Raises:
        RecipeError: with everything that is wrong, in reading order.
        UsageError: there is no such file, or it cannot be read.
    """
    data, source = read(path_or_name)
    return parse(data, source, sets)


def read(path_or_name: str | Path) -> tuple[bytes, str]:
    """The bytes of a recipe and what to call it in messages.

    Raises:
        UsageError: there is no such file, or it cannot be read.
    """
    given = str(path_or_name)
    if re.fullmatch("[A-Za-z0-9_-]+", given) and given in (known := bundled.files()):
        return known[given].read_bytes(), str(known[given])
    try:
        path = Path(given)
        if path.is_dir():
            raise UsageError(f"'{given}' is a folder; give a recipe file in it")
        if not path.exists():
            raise bundled.unknown(given)
        with path.open("rb") as file:
            return file.read(parser.MOST_BYTES + 1), given
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"'{given}' cannot be read: {reason.lower()}") from None


def parse(data: bytes, source: str, sets: Sequence[str] = ()) -> Recipe:
    """The recipe in these bytes. `source` is what messages call them, and where relative paths start.

    Raises:
        RecipeError: with everything that is wrong, in reading order.
    """
    folder = Path(source).absolute().parent

    def places(line: int, column: int) -> Place:
        return Place((0, line + 1, column + 1), f"{source}:{line + 1}:{column + 1}", folder)

    try:
        root, findings = parser.compose(parser.decode(data, places), places)
    except Fatal as error:
        raise RecipeError(error.finding.problem) from None
    root, flags, wrong = overrides.apply(root, sets)
    findings += wrong
    checker = Checker(flags=flags)
    recipe = check(checker, root)
    # One complaint a place: what was refused while reading needs no second opinion.
    refused = {finding.place for finding in findings}
    findings += [finding for finding in checker.findings if finding.place not in refused]
    if findings or recipe is None:
        ordered = sorted(dict.fromkeys(findings), key=lambda finding: finding.place.order)
        raise RecipeError([finding.problem for finding in ordered])
    name = Path(source).name.removesuffix(".yaml").removesuffix(".yml")
    return Recipe(**recipe, name=name, text=data, source=source)
