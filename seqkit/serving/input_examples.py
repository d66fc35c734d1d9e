"""What an input of a model looks like in JSON: an example, and the JSON Schema of its kind."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from seqkit.errors import SeqkitError
from seqkit.regular_files import open_regular
from seqkit.types import JSON, Field

CARD: Final = "README.md"

_MOST_BYTES: Final = 1 << 16
"""The front matter of a card is not longer."""

_WIDGET_TEXT: Final = re.compile(r"\s*-\s+text:\s*(.*?)\s*")

STEPS: Final = (12, *range(1, 65))
"""Steps that an example may have, as they are tried: a field may take certain numbers only, an image its rows."""


def examples_of(field: Field) -> list[JSON]:
    """Random inputs as they stand in JSON, of different lengths where the field takes any; none if it makes none.

    Args:
        field: the fitted input field, of numbers.
    """
    if field.sample_rate is not None:
        return []  # a recording: thousands of numbers show nobody anything
    examples: list[JSON] = []
    for steps in STEPS:
        example = _example(field, steps)
        if example is not None:
            examples.append(example)
        if len(examples) == 3:
            break
    return examples


def texts_of_card(folder: Path) -> list[str]:
    """The example inputs that the card of a model names, as model hubs read them; none if it names none.

    They are in the front matter of README.md, under `widget:`, a line `- text: "..."` each.

    Args:
        folder: a run folder or a model's.
    """
    path = next((path for path in (folder / "model" / CARD, folder / CARD) if path.is_file()), None)
    try:
        with open_regular(path or folder / CARD) as stream:
            lines = stream.read(_MOST_BYTES).decode("utf-8", "replace").splitlines()
    except (OSError, SeqkitError):
        return []
    texts: list[str] = []
    is_widget = False
    for line in lines[1:] if lines and lines[0].strip() == "---" else ():
        if line.strip() == "---":
            break
        if line[:1].strip() and not line.startswith("-"):
            is_widget = line.rstrip() == "widget:"
        elif is_widget and (match := _WIDGET_TEXT.fullmatch(line)) is not None:
            texts.append(_unquoted(match[1]))
    return [text for text in texts if text]


def _unquoted(text: str) -> str:
    """A scalar of YAML on one line: in double quotes as in JSON, in single ones, or plain."""
    try:
        return str(json.loads(text)) if text.startswith('"') else text[1:-1] if text.startswith("'") else text
    except ValueError:
        return ""


def _example(field: Field, steps: int) -> JSON:
    """A random input of so many steps that the field reads; None: it has no such inputs."""
    try:
        value = field.decode(field.sample(np.random.default_rng(steps), steps))
        example: JSON = _rounded(value.tolist() if isinstance(value, np.ndarray) else value)
        json.dumps(example, allow_nan=False)
        field.encode(example)
    except Exception:  # fields of plugins raise anything for what they cannot make
        return None
    return example


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def schema_of_examples(examples: Sequence[Any]) -> dict[str, Any]:
    """The JSON Schema of arrays of numbers like these. A list that is as long in all of them has to be so."""
    first = examples[0]
    if not isinstance(first, list):
        are_integers = all(isinstance(number, int) for number in examples)
        return {"type": "integer" if are_integers else "number"}
    lengths = {len(example) for example in examples}
    schema: dict[str, Any] = {
        "type": "array",
        "items": schema_of_examples([item for example in examples for item in example]),
    }
    return schema | ({"minItems": len(first), "maxItems": len(first)} if len(lengths) == 1 else {"minItems": 1})
