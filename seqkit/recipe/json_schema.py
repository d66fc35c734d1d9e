"""The JSON Schema of a recipe, for editors that complete and check while one types.

It is made of the same models that check a recipe, so it cannot drift; it knows all plugins that load here. Checks that
join several parts (does the head serve the target?) are beyond it: `seqkit recipes check` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqkit._version import __version__
from seqkit.errors import PluginError
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.options import MISSING, Nested, about_of, schema_of
from seqkit.recipe.validator import (
    ENCODER_OPTIONS,
    HEAD_OPTIONS,
    TASK_OPTIONS,
    bounds_options,
    encoder_options,
    task_options,
    top_options,
)
from seqkit.recipe.writer import to_plain
from seqkit.settings import TrainSettings
from seqkit.types import JSON, SPLITS


def json_schema() -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of a recipe over the installed plugins. Imports all of them."""
    broken: list[str] = []
    top = _object(top_options)
    heads = _choice("heads", broken, HEAD_OPTIONS)
    for head in heads["anyOf"]:
        if "properties" in head:  # without `use`, the options are those of the task's own head
            head["required"] = [name for name in head["required"] if name != "use"]
    words = {**_object(task_options)["properties"], "head": {"$ref": "#/$defs/head"}}
    tasks = {name: _task(name, words, broken) for name in names_in("tasks")}
    by_use = [task for task in tasks.values() if task is not None]
    top["properties"] |= {
        "tasks": {
            "description": "what is learned; several tasks train jointly on one encoder",
            "type": "object",
            "minProperties": 1,
            "properties": {name: _named(name, task, by_use) for name, task in tasks.items() if task is not None},
            "additionalProperties": {"anyOf": [{"enum": list(tasks)}, *by_use]},
        },
        "encoder": _choice("encoders", broken, ENCODER_OPTIONS, _object(encoder_options)["properties"]),
        "train": {"anyOf": [_object(TrainSettings), {"type": "null"}]},
        "expect": {
            "description": "what scores are expected to be, by task/split/score",
            "type": ["object", "null"],
            "patternProperties": {f"^[^/]+/({'|'.join(SPLITS)})/[^/]+$": _object(bounds_options)},
            "additionalProperties": False,
        },
    }
    top["required"] = ["tasks", "encoder"]
    top["$defs"] = {"head": heads}
    start = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"A recipe of seqkit {__version__}"}
    if broken:
        start["$comment"] = "left out: " + "; ".join(broken)
    return {**start, **top}


def _task(name: str, words: Mapping[str, JSON], broken: list[str]) -> dict[str, JSON] | None:
    factory = _load("tasks", name, broken)
    if factory is None:
        return None
    own = _object(factory, TASK_OPTIONS)
    own["properties"] = {"use": {"const": name}, **words, **own["properties"]}
    own["required"] = ["use", *own.get("required", [])]
    return own


def _named(name: str, task: Mapping[str, JSON], others: list[dict[str, JSON]]) -> dict[str, JSON]:
    """A task under a key that is a factory's name needs no `use`, unless it means another factory."""
    bare = dict(task)
    bare["required"] = [each for each in task["required"] if each != "use"]
    kinds = [bare, *(other for other in others if other is not task), {"type": "string"}]
    return {"anyOf": kinds if bare["required"] else [*kinds, {"type": "null"}]}


def _choice(
    group: str, broken: list[str], reserved: tuple[str, ...] = ("use",), words: Mapping[str, JSON] | None = None
) -> dict[str, JSON]:
    names = names_in(group)
    options: list[dict[str, JSON]] = [{"enum": names}]
    for name in names:
        factory = _load(group, name, broken)
        if factory is not None:
            own = _object(factory, reserved)
            own["properties"] = {"use": {"const": name}, **(words or {}), **own["properties"]}
            own["required"] = ["use", *own.get("required", [])]
            options.append(own)
    return {"anyOf": options}


def _object(factory: Callable[..., Any], reserved: tuple[str, ...] = ()) -> dict[str, JSON]:
    """The schema of one factory's options."""
    schema = schema_of(factory, reserved)
    found = schema.model.model_json_schema(by_alias=True)
    properties = found.get("properties", {})
    for name, nested in schema.nested.items():
        properties[name] = _nested(nested)
    for each in properties.values():
        each.pop("title", None)
    required = [*found.get("required", []), *(n for n, each in schema.nested.items() if each.default is MISSING)]
    return {
        "description": about_of(factory),
        "type": "object",
        "properties": {name: properties[name] for name in schema.names},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _nested(nested: Nested) -> dict[str, JSON]:
    found = _choice(nested.group, [])
    # Without `use` the options are those of the default choice.
    default = nested.default
    for option in found["anyOf"]:
        named = default not in (None, MISSING) and option.get("properties", {}).get("use") == {"const": default.use}
        if named:
            option["required"] = [each for each in option["required"] if each != "use"]
    if nested.optional:
        found["anyOf"].append({"type": "null"})
    if nested.about:
        found["description"] = nested.about
    if default is not MISSING:
        found["default"] = to_plain(default)
    return found


def _load(group: str, name: str, broken: list[str]) -> Callable[..., Any] | None:
    try:
        factory = lookup(group, name)
        schema_of(factory)
    except PluginError as error:
        broken.append(str(error))
        return None
    return factory
