"""The JSON file that goes along with an exported model: its tensors, and how values become numbers and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from seqkit._version import __version__
from seqkit.export.program import Recording, carries_state, initial_state
from seqkit.heads.linear_chain_crf import LinearChainCRF
from seqkit.model import Model
from seqkit.recipe import Recipe
from seqkit.types import END, JSON, PAD, START, UNKNOWN, Field, Task

FORMAT_VERSION: Final = 1


def describe(model: Model, recipe: Recipe, name: str, task_and_fields: tuple[Task, Field, Field]) -> dict[str, JSON]:
    """All that a program without seqkit needs beside the files; docs/deploy.md explains the keys."""
    task, input_field, target_field = task_and_fields
    head, entry = model.head(name), recipe.tasks[name]
    description: dict[str, JSON] = {
        "format_version": FORMAT_VERSION,
        "seqkit": __version__,
        "task": {"name": name, "use": entry.use, "options": _plain(entry.options)},
        "head": {"use": entry.head.use, "options": _plain(entry.head.options)},
        "input": describe_field(input_field) | {"limit": _plain(task.limit), "prepared_by": _name(task.parse)},
        "target": describe_field(target_field) | {"finished_by": _name(task.finish)},
        "symbols": {"pad": PAD, "unknown": UNKNOWN, "start": START, "end": END},
    }
    if model.member_count > 1:
        description["members"] = model.member_count
    if carries_state(head):
        description["initial_state"] = [tensor[0].tolist() for tensor in initial_state(model, 1)]
        description["reads_start"] = task.window is None
    if isinstance(head, LinearChainCRF):
        description["crf"] = _transitions(head)
    return description


def describe_field(field: Field) -> dict[str, JSON]:
    """The options of a field, what it learned, and what else it tells."""
    options: dict[str, JSON] = {}
    if dataclasses.is_dataclass(field):
        state = field.state()
        learned = set(state) if isinstance(state, Mapping) else set()
        for member in dataclasses.fields(field):
            value = getattr(field, member.name)
            if member.repr and member.name not in learned and not callable(value):
                options[member.name] = _plain(value)
    described: dict[str, JSON] = {"field": type(field).__name__, "unit": field.unit, "options": options}
    labels = getattr(field, "labels", None)
    if labels is not None:
        described["labels"] = list(labels)
    symbols = _symbols(field)
    if symbols is not None:
        described["symbols"] = symbols
    return described | {"state": field.state()} | dict(field.describe())


def describe_tensors(recording: Recording, arrays: Mapping[str, np.dtype[Any]]) -> dict[str, JSON]:
    """The inputs and outputs of a file, with their axes and types."""
    return {
        "inputs": {name: {"axes": list(axes), "type": str(arrays[name])} for name, axes in recording.inputs.items()},
        "outputs": {name: {"axes": list(axes)} for name, axes in recording.outputs.items()},
    }


def _symbols(field: Field) -> list[str] | None:
    """What the ids of a field of tokens stand for, in their order, the special symbols first."""
    vocabulary = getattr(getattr(field, "source", field), "vocabulary", None)
    if vocabulary is None or (not hasattr(field, "tokenizer") and not hasattr(field, "source")):
        return None
    return [vocabulary[number] for number in range(len(vocabulary))]


def _transitions(head: LinearChainCRF) -> JSON:
    """The scores of a chain; None for what the scheme forbids."""
    tables: dict[str, JSON] = {}
    for name in ("start", "transitions", "end"):
        scores = getattr(head, name).detach().double().numpy()
        forbidden = getattr(head, f"forbidden_{name}").numpy()
        tables[name] = np.asarray(np.where(forbidden, None, scores)).tolist()
    return tables


def _name(function: Any) -> JSON:
    """Where a function of a task is defined: its own code prepares or finishes values, and does not go along."""
    if function is None:
        return None
    function = getattr(function, "func", function)
    if not hasattr(function, "__qualname__"):
        function = type(function)  # an object that can be called
    # A method of a built-in type, such as `str.split`, has no module of its own.
    module = getattr(function, "__module__", None) or getattr(function, "__objclass__", type(function)).__module__
    return f"{module}.{function.__qualname__}"


def _plain(value: Any) -> JSON:
    """A value of an option as JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {member.name: _plain(getattr(value, member.name)) for member in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.name
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
