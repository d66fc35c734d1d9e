"""Plain values as YAML that reads back equal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqkit.recipe.parser import is_plain_word
from seqkit.remote_files import url_of
from seqkit.types import Choice

_UNREADABLE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]")
"""What JSON does not escape, but YAML does not read as it is, or whoever opens the file reads otherwise."""


def to_plain(value: Any) -> Any:
    """Choices as mappings, paths as text, tuples as lists."""
    if isinstance(value, Choice):
        return {"use": value.use, **to_plain(value.options)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return url_of(value) or str(value.absolute())
    return value


def emit(value: Mapping[str, Any], indent: int = 0) -> str:
    """A mapping as YAML in block style, one key per line; lists and what is in them are in flow style."""
    lines = []
    for key, item in value.items():
        start = " " * indent + _text(key) + ":"
        if isinstance(item, Mapping) and item:
            lines.append(f"{start}\n{emit(item, indent + 2)}")
        else:
            lines.append(f"{start} {flow(item)}\n")
    return "".join(lines)


def flow(value: Any) -> str:
    """A plain value as YAML in one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    raise TypeError(f"{type(value).__name__} cannot be written into a recipe")


def _text(text: str) -> str:
    """Without quotes where that reads back as the same text, otherwise quoted as in JSON, which YAML reads too."""
    if is_plain_word(text):
        return text
    return _UNREADABLE.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
