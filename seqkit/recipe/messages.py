"""Sentences about mistakes in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seqkit.errors import suggest
from seqkit.recipe.parser import Node

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
    "is_instance_of": "a path",
    "path_type": "a path",
}


_RANGE = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def sentence(errors: Sequence[Mapping[str, Any]], node: Node) -> str:
    """One sentence for everything that was said of one value."""
    short = [error["loc"][-1] for error in errors if error["type"] == "missing"]
    if short:  # pydantic misses each value that a list of a fixed length has not
        return f"must have {max(short) + 1} in it, got {show(node)}"
    for error in errors:  # right in kind and wrong in size: what the other members of a union expect is no help
        if error["type"] in _RANGE:
            key, words = _RANGE[error["type"]]
            return f"must be {words} {error['ctx'][key]:g}, got {node.value}"
        if error["type"] in ("value_error", "assertion_error"):
            return str(error["ctx"]["error"])
        if error["type"] in ("too_short", "string_too_short"):
            return f"must have at least {error['ctx']['min_length']} in it, got {show(node)}"
        if error["type"] in ("too_long", "string_too_long"):
            return f"must have at most {error['ctx']['max_length']} in it, got {show(node)}"
    wanted = []
    for error in errors:
        if error["type"] in _EXPECTED:
            wanted.append(_EXPECTED[error["type"]])
        elif error["type"] == "literal_error":
            wanted.append(error["ctx"]["expected"])
    if len(wanted) < len(errors):
        return "; ".join(error["msg"][0].lower() + error["msg"][1:] for error in errors) + f", got {show(node)}"
    names = [error["ctx"]["expected"] for error in errors if error["type"] == "literal_error"]
    known = [name.strip("'") for each in names for name in each.replace(" or ", ", ").split(", ")]
    hint = suggest(node.value, known) if isinstance(node.value, str) else ""
    if "true or false" in wanted and str(node.value).lower() in ("yes", "no", "on", "off", "y", "n"):
        hint = "YAML 1.2 knows true and false only"
    return f"expected {' or '.join(dict.fromkeys(wanted))}, got {show(node)}" + (f"; {hint}" if hint else "")


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def show(node: Node) -> str:
    """A value in a sentence."""
    value = node.value
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value if len(value) <= 40 else value[:37] + '...'}'"
    return f"the number {value}"
