"""Columns and numbers of tables: what is wrong with them, and where."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from seqkit.errors import DataError
from seqkit.readers import cell_number, column_index

OR = ", or write the file as those that the model was trained on"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["shop;date;sales"],
            "no column 'sales'; a semicolon seems to separate its columns: set `separator: semicolon`" + OR,
        ),
        (["shop\tsales"], "a tab seems to separate its columns: set `separator: tab`" + OR),
        (["shop|sales"], "a vertical bar seems to separate its columns: set `separator: bar`" + OR),
        (["shop,sales"], "a comma seems to separate its columns: set `separator: comma`" + OR),
        (["shop", "sale"], "no column 'sales'; did you mean 'sale'?"),
        (["a;b", "c"], "no column 'sales'; the columns are: a;b, c"),
        (["sales", "sales"], "the header has the column 'sales' twice"),
    ],
)
def test_a_column_that_is_not_there_says_what_may_be_wrong(names: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        column_index(Path("a/b.csv"), 3, names, "sales")
    assert str(caught.value).startswith("a/b.csv:3: ")
    assert message in str(caught.value)


def test_a_column_is_found_by_its_name() -> None:
    assert column_index(Path("a.csv"), 1, ["x", "y"], "y") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "value 3 is empty; fill it in"),
        (" ", "value 3 is empty; fill it in"),
        ("NaN", "value 3 has 'NaN', so a number is missing; fill it in"),
        ("-nan", "value 3 has '-nan', so a number is missing; fill it in"),
        ("?", "value 3 has '?', so a number is missing; fill it in"),
        ("inf", "value 3 has 'inf', which is not a finite number"),
        ("-1e999", "value 3 has '-1e999', which is not a finite number"),
        ("many", "value 3 has 'many', which is not a number; look again"),
        ("3,5", "value 3 has '3,5', which is not a number; numbers are written with a point, 3.5, and without commas"),
        ("1.234,5", "numbers are written with a point, 3.5, and without commas"),
        ("1;2", "a semicolon seems to separate its columns: set `separator: semicolon`" + OR),
    ],
)
def test_what_is_no_number_is_said(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        cell_number(Path("a/b.csv"), 7, "value 3", text, missing_hint="fill it in", hint="look again")
    assert str(caught.value).startswith("a/b.csv:7: ")
    assert str(caught.value).endswith(message)


def test_numbers_are_read_and_may_be_missing() -> None:
    assert cell_number(Path("a.csv"), 1, "x", " -1.5e3 ") == -1500.0
    assert all(math.isnan(cell_number(Path("a.csv"), 1, "x", text, missing=True)) for text in ("", "NA", "nan", "?"))
    with pytest.raises(DataError, match="not a finite number"):
        cell_number(Path("a.csv"), 1, "x", "inf", missing=True)
