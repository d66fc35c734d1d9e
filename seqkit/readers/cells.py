"""Columns and numbers of a table, for readers of formats of one's own: where they are, and what is wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seqkit.errors import suggest
from seqkit.readers.line_reader import fail, list_names

_MISSING: Final = frozenset({"", "?", "na", "nan", "null", "none"})
"""How tables write a number that is missing, in lower case."""

_SEPARATORS: Final = {
    "\t": ("a tab", "tab"),
    ";": ("a semicolon", "semicolon"),
    "|": ("a vertical bar", "bar"),
    ",": ("a comma", "comma"),
}


def column_index(path: Path, line: int, names: Sequence[str], name: str) -> int:
    """The place of a column, from 0, by its name in the header.

    Args:
        path: the table.
        line: of the header.
        names: all names.
        name: that of the column.

    Raises:
        DataError: it is not there, or twice. If another separator seems to stand between the columns, it says which.
    """
    if names.count(name) > 1:
        fail(path, line, None, f"the header has the column '{name}' twice")
    if name not in names:
        hint = separator_hint(names) or suggest(name, names) or list_names("columns", names)
        fail(path, line, None, f"no column '{name}'", hint)
    return list(names).index(name)


def separator_hint(fields: Sequence[str]) -> str:
    """Which separator a table seems to have, by a row that is one field; empty if nothing speaks for any."""
    if len(fields) == 1:
        for sign, (words, option) in _SEPARATORS.items():
            if sign in fields[0]:
                fix = f"set `separator: {option}`, or write the file as those that the model was trained on"
                return f"{words} seems to separate its columns: {fix}"
    return ""


def cell_number(
    path: Path, line: int, place: str, text: str, *, missing: bool = False, missing_hint: str = "", hint: str = ""
) -> float:
    """The number in a cell.

    Args:
        path: the table.
        line: of the row.
        place: what messages call the cell: `column 'x'`, `value 3`.
        text: what the cell has.
        missing: a number may be missing (the cell is empty, or has ?, NA, nan, null or none), and is then NaN.
        missing_hint: what to do about one that is missing.
        hint: what to do about a text that is no number.

    Raises:
        DataError: it is missing, is no number, or not a finite one.
    """
    cell = text.strip()
    try:
        number = math.nan if cell.lower() in _MISSING else float(cell)
    except ValueError:
        hint = _number_hint(cell) or hint
        fail(path, line, None, f"{place} has {cell!r}, which is not a number", hint)
    if math.isnan(number) and not missing:
        message = f"{place} has {cell!r}, so a number is missing" if cell else f"{place} is empty"
        fail(path, line, None, message, missing_hint)
    if math.isinf(number):
        fail(path, line, None, f"{place} has {cell!r}, which is not a finite number")
    return number


def _number_hint(cell: str) -> str:
    if re.fullmatch(r"[+-]?\d[\d.]*,\d+", cell):
        return "numbers are written with a point, 3.5, and without commas"
    return "" if "," in cell else separator_hint([cell])
