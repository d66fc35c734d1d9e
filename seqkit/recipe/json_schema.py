"""The JSON Schema of a recipe, for editors that complete and check while one types.

It is made from the same models that check a recipe, so the two always agree; it covers all installed plugins that load.
Checks across several parts (does the head serve the target?) are not in it: `seqkit recipes check` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seqkit._version import __version__
from seqkit.errors import PluginError
from seqkit.recipe.choices import lookup, names_in
from seqkit.recipe.options import MISSING, Nested, about_of, schema_of
from seqkit.recipe.own_options import (
    ENCODER_OPTIONS,
    HEAD_OPTIONS,
    TASK_OPTIONS,
    bounds_options,
    encoder_options,
    task_options,
    top_options,
)
from seqkit.recipe.writer import to_plain
from seqkit.settings import InitSettings, TrainSettings
from seqkit.types import JSON, SPLITS


def json_schema() -> dict[str, JSON]:
    """The JSON Schema (draft 2020-12) of a recipe, for the installed plugins, all of which are imported."""
    broken: list[str] = []
    top = _object(top_options)
    heads = _choice("heads", broken, HEAD_OPTIONS)
    for head in heads["anyOf"]:
        if "properties" in head:  # without `use`, the options are those of the task's default head
            head.update(_without_use(head))
    common = {**_object(task_options)["properties"], "head": {"$ref": "#/$defs/head"}}
    tasks = {name: _task(name, common, broken) for name in names_in("tasks")}
    by_use = [task for task in tasks.values() if task is not None]
    top["properties"] |= {
        "tasks": {
            "description": "what is learned; several tasks train jointly on one encoder",
            "type": "object",
            "minProperties": 1,
            "properties": {name: _keyed_task(task, by_use) for name, task in tasks.items() if task is not None},
            "additionalProperties": {"anyOf": [{"enum": list(tasks)}, *by_use]},
        },
        "encoder": _choice("encoders", broken, ENCODER_OPTIONS, _object(encoder_options)["properties"]),
        "init": {"anyOf": [_object(InitSettings), {"type": "null"}]},
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


def _task(name: str, common: Mapping[str, JSON], broken: list[str]) -> dict[str, JSON] | None:
    """The schema of a task with `use: name`; None, with a sentence in `broken`, if its factory does not load.

    Args:
        name: the factory's name.
        common: the properties that all tasks have.
        broken: takes the sentence.
    """
    factory = _load("tasks", name, broken)
    if factory is None:
        return None
    return _with_use(_object(factory, TASK_OPTIONS), name, common)


def _with_use(schema: dict[str, JSON], name: str, common: Mapping[str, JSON]) -> dict[str, JSON]:
    """The schema of a factory's options, with `use: name`, which is required, and common properties in front."""
    schema["properties"] = {"use": {"const": name}, **common, **schema["properties"]}
    schema["required"] = ["use", *schema.get("required", [])]
    return schema


def _without_use(schema: Mapping[str, JSON]) -> dict[str, JSON]:
    """The schema with `use` no longer required."""
    return {**schema, "required": [name for name in schema["required"] if name != "use"]}


def _keyed_task(task: Mapping[str, JSON], tasks: list[dict[str, JSON]]) -> dict[str, JSON]:
    """The schema of a task under the name of its factory: it needs no `use`, unless it is another of the `tasks`."""
    bare = _without_use(task)
    forms = [bare, *(other for other in tasks if other is not task), {"type": "string"}]
    return {"anyOf": forms if bare["required"] else [*forms, {"type": "null"}]}


def _choice(
    group: str, broken: list[str], reserved: tuple[str, ...] = ("use",), common: Mapping[str, JSON] | None = None
) -> dict[str, JSON]:
    """The schema of a choice among a group's factories: a name alone, or `use` with the options of that factory."""
    names = names_in(group)
    forms: list[dict[str, JSON]] = [{"enum": names}]
    for name in names:
        factory = _load(group, name, broken)
        if factory is not None:
            forms.append(_with_use(_object(factory, reserved), name, common or {}))
    return {"anyOf": forms}


def _object(factory: Callable[..., Any], reserved: tuple[str, ...] = ()) -> dict[str, JSON]:
    """The schema of one factory's options."""
    schema = schema_of(factory, reserved)
    model = schema.model.model_json_schema(by_alias=True)
    properties = model.get("properties", {})
    for name, nested in schema.nested.items():
        properties[name] = _nested(nested)
    for property_schema in properties.values():
        property_schema.pop("title", None)
    required_choices = [name for name, nested in schema.nested.items() if nested.default is MISSING]
    required = [*model.get("required", []), *required_choices]
    return {
        "description": about_of(factory),
        "type": "object",
        "properties": {name: properties[name] for name in schema.names},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _nested(nested: Nested) -> dict[str, JSON]:
    """The schema of an option that is itself a choice."""
    schema = _choice(nested.group, [])
    default = nested.default
    if default not in (None, MISSING):  # without `use`, the options are those of the default choice
        for form in schema["anyOf"]:
            if form.get("properties", {}).get("use") == {"const": default.use}:
                form.update(_without_use(form))
    if nested.optional:
        schema["anyOf"].append({"type": "null"})
    if nested.about:
        schema["description"] = nested.about
    if default is not MISSING:
        schema["default"] = to_plain(default)
    return schema


def _load(group: str, name: str, broken: list[str]) -> Callable[..., Any] | None:
    """A factory whose options can be read; None, with a sentence in `broken`, if it does not load."""
    try:
        factory = lookup(group, name)
        schema_of(factory)
    except PluginError as error:
        broken.append(str(error))
        return None
    return factory
