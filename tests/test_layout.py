"""The layout that a newcomer relies on: no import circles (imports inside functions count), no overlong function."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.helpers.scripts import load_script

ROOT = Path(__file__).parent.parent

LONGEST = 80
"""Lines of a function from its first statement after the docstring; signatures and docstrings do not count."""


make_map = load_script("make_map")
MODULES: dict[str, Path] = make_map.modules()


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of modules that reach each other (Tarjan 1972, doi:10.1137/0201010)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    result = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            position = stack.index(name)
            if len(stack) - position > 1:
                result.append(sorted(stack[position:]))
            del stack[position:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return result


def test_no_module_reaches_itself_through_its_imports() -> None:
    graph = {name: set(make_map.imports(path, MODULES)) - {name} for name, path in MODULES.items()}
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def lengths(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with the lines of its body, docstring left out."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_functions_are_short_enough_to_see_whole(path: Path) -> None:
    assert [(name, lines) for name, lines in lengths(path) if lines > LONGEST] == []
