"""What an input of a model looks like in JSON: an example, and the JSON Schema of its kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from seqkit.types import JSON, Field

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
