"""Inputs as they stand in JSON, as values that a model reads."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import to_json

from seqkit.errors import UsageError
from seqkit.inference.inputs import InputReader
from seqkit.types import Flaw


def size_of(value: Any) -> int:
    """Characters, words or numbers of an input from JSON."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(size_of(item) for item in value.values())
    if isinstance(value, list):
        return sum(size_of(item) if isinstance(item, list) else 1 for item in value)
    return 1


def json_bytes(value: Any) -> bytes:
    """A value as JSON: arrays as lists; "NaN", "Infinity" and "-Infinity" for the numbers that JSON does not have."""
    return to_json(value, inf_nan_mode="strings", fallback=_plain)


def _plain(value: Any) -> Any:
    """A value of a kind that JSON does not know, as one that it does."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)


def is_file(value: Any) -> bool:
    """Whether this is an uploaded file, not a row of a table."""
    return isinstance(value, Mapping) and set(value) == {"file", "content"}


def read_value(value: Any, reader: InputReader, new_folder: Callable[[], Path], *, reads_text: bool) -> Any:
    """An input from JSON as what `seqkit.load(...).predict` takes; a `Flaw` if it cannot be used.

    An uploaded file is `{"file": "a.wav", "content": "<base64>"}`. The end of its name says how it is read; the name is
    used for nothing else.

    Args:
        value: as it stands in JSON.
        reader: of the task.
        new_folder: makes a folder for an uploaded file, which is read when it is predicted.
        reads_text: whether a text is an input. Where it would be the name of a file on this machine, it is refused.
    """
    if is_file(value):
        try:
            return _read_file(value["file"], value["content"], reader, new_folder)
        except UsageError as error:
            return Flaw(str(error))
    if isinstance(value, str) and not reads_text:
        other = "[word, feature, ...] for each word" if reader.field.unit == "words" else "numbers"
        return Flaw(
            f'is text, and the model does not read text: send {{"file": a name, "content": base64}}, or {other}'
        )
    if value is None or isinstance(value, bool | int | float):
        return Flaw(f"is {json.dumps(value)}, and not an input")
    return value


def _read_file(name: Any, content: Any, reader: InputReader, new_folder: Callable[[], Path]) -> Any:
    """The only input in a file.

    Raises:
        UsageError: it is not a file, or not one that the task reads.
    """
    endings = sorted((suffix for suffix in reader.task.suffixes if suffix and suffix != ".zip"), key=len, reverse=True)
    ending = next((ending for ending in endings if isinstance(name, str) and name.lower().endswith(ending)), None)
    if ending is None:
        raise UsageError(f"the name of the file should end in one of: {', '.join(sorted(endings)) or '(none is read)'}")
    try:
        data = base64.b64decode(content, validate=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the content of the file should be base64: {error}") from None
    path = new_folder() / f"file{ending}"
    path.write_bytes(data)
    inputs = [item.value for item in reader.file(path)]
    if len(inputs) != 1:
        raise UsageError(f"the file has {len(inputs):,} inputs, and one is expected: send each as an input of its own")
    return inputs[0]
