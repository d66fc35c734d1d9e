"""Types of options in words."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

_PLAIN: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    type(None): "null",
}


_BOUNDS: Final = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def type_in_words(annotation: Any) -> str:
    """A type in words: `a whole number, at least 1, or null`."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is Literal:
        return _listed([str(member) for member in members])
    if origin is typing.Annotated:
        bounds = [
            f"{word} {getattr(mark, key):g}" for mark in members[1:] for key, word in _BOUNDS if hasattr(mark, key)
        ]
        return ", ".join([type_in_words(members[0]), *bounds])
    if origin in (typing.Union, types.UnionType):
        inner = [type_in_words(member) for member in members]
        return ", or ".join(inner) if any("," in words for words in inner) else " or ".join(inner)
    if origin in (tuple, list, Sequence):
        items = dict.fromkeys(type_in_words(member) for member in members if member is not Ellipsis)
        return f"a list ({'; '.join(items)})"
    if origin in (dict, Mapping):
        return f"a mapping ({type_in_words(members[1])})"
    return inspect.formatannotation(annotation).replace("typing.", "")


def _listed(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
