"""A factory's keyword-only arguments as the schema of what a recipe may say to it.

There is no second place to declare an option: its name, type, range and default are those of the signature, its
description is the line `name: text` under `Args:` in the docstring. Types are strict (`true` is no number, `1.0` no
count), with the three conversions that a text file needs, all declared in `_strict`: text to Path, list to tuple, and
whole numbers where a float is asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from seqkit.errors import PluginError
from seqkit.settings import FromGroup
from seqkit.types import Choice

if TYPE_CHECKING:
    from pydantic import BaseModel

MISSING = inspect.Parameter.empty


class RecipeText(str):
    """Text from a recipe that remembers what a relative path in it is relative to."""

    __slots__ = ("base",)
    base: Path

    def __new__(cls, text: str, base: Path) -> RecipeText:
        self = super().__new__(cls, text)
        self.base = base
        return self


@dataclass(frozen=True, slots=True)
class Nested:
    """An option that is itself a choice `{use: NAME, ...}`.

    Attributes:
        group: where the names come from.
        default: the choice if the recipe makes none; MISSING if it must, None if there may be none.
        optional: whether null is allowed.
        about: what the docstring says of it.
    """

    group: str
    default: Any
    optional: bool
    about: str


@dataclass(frozen=True, slots=True)
class Schema:
    """What a recipe may say to one factory.

    Attributes:
        model: a strict pydantic model of all options but the nested choices.
        nested: the options that are choices themselves.
        names: all options, in the order of the signature.
    """

    model: type[BaseModel]
    nested: Mapping[str, Nested]
    names: tuple[str, ...]


@functools.lru_cache(maxsize=256)
def schema_of(factory: Callable[..., Any], reserved: tuple[str, ...] = ()) -> Schema:
    """The schema of a factory. `reserved` names belong to the recipe and may not be options.

    Raises:
        PluginError: the signature has something that a recipe cannot say, which its author must change.
    """
    from pydantic import ConfigDict, Field, create_model

    docs = docs_of(factory)
    fields: dict[str, Any] = {}
    nested: dict[str, Nested] = {}
    names = []
    for name, annotation, default in options_of(factory):
        if name in reserved:
            raise PluginError(f"{name_of(factory)} has an option '{name}', which is the recipe's own word; rename it")
        names.append(name)
        about = docs.get(name, "")
        found = _nested(annotation)
        if found is not None:
            group, optional = found
            nested[name] = Nested(group, default, optional, about)
            continue
        try:
            strict = _strict(annotation)
        except TypeError as error:
            raise PluginError(f"the option '{name}' of {name_of(factory)} has {error}") from None
        # An alias, because pydantic takes no field that starts with an underscore or shadows a method of its own.
        here = Field(... if default is MISSING else default, alias=name, description=about or None)
        fields[f"option_{name}"] = (strict, here)
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)
    try:
        model = create_model(name_of(factory), __config__=config, **fields)
    except Exception as error:  # pydantic has no root of its own for types it cannot serve
        raise PluginError(f"the options of {name_of(factory)} cannot be checked: {error}") from None
    return Schema(model, nested, tuple(names))


def options_of(factory: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """(name, annotation, default or MISSING) of each keyword-only argument, annotations resolved.

    Only these annotations are looked at: what the house gives a factory (parameters, tensors) may be named by strings
    that mean nothing at run time.
    """
    call = _callable(factory)
    try:
        parameters = _signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{name_of(factory)} has no signature to read: {error}") from None
    ours = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    for parameter in ours:
        if parameter.annotation is MISSING:
            raise PluginError(f"the option '{parameter.name}' of {name_of(factory)} has no type; annotate it")

    def these() -> None: ...

    these.__annotations__ = {parameter.name: parameter.annotation for parameter in ours}
    try:
        hints = typing.get_type_hints(these, globalns=getattr(call, "__globals__", {}), include_extras=True)
    except Exception as error:
        raise PluginError(f"an option of {name_of(factory)} has a type that cannot be resolved: {error}") from None
    factories = _default_factories(factory)
    return [
        (
            parameter.name,
            hints[parameter.name],
            factories[parameter.name]() if parameter.name in factories else parameter.default,
        )
        for parameter in ours
    ]


def docs_of(factory: Callable[..., Any]) -> dict[str, str]:
    """`name: text` lines under `Args:` of the docstring (of the class, or else of its `__init__`)."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    text = inspect.getdoc(target) or ""
    if inspect.isclass(target) and "Args:" not in text:
        text = inspect.getdoc(target.__init__) or ""
    _, found, block = text.partition("Args:\n")
    docs: dict[str, str] = {}
    if not found:
        return docs
    indent, name = None, None
    for line in block.split("\n"):
        depth = len(line) - len(line.lstrip())
        if not line.strip():
            continue
        if depth == 0:
            break
        indent = depth if indent is None else indent
        match = re.match(r"\s+(\w+)(?: \([^)]*\))?: (.*)", line)
        if depth == indent and match:
            name = match[1]
            docs[name] = match[2].strip()
        elif name is not None:
            docs[name] += " " + line.strip()
    return docs


def about_of(factory: Callable[..., Any]) -> str:
    """The first line of a factory's docstring."""
    return (inspect.getdoc(factory) or "").partition("\n")[0]


def name_of(factory: Callable[..., Any]) -> str:
    """`module.name` of a factory, for messages."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    return f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', type(target).__name__)}"


def _callable(factory: Callable[..., Any]) -> Any:
    """The function whose globals resolve the annotations."""
    if isinstance(factory, functools.partial):
        return _callable(factory.func)
    if inspect.isclass(factory):
        return inspect.unwrap(factory.__init__)
    factory = inspect.unwrap(factory)
    if inspect.isfunction(factory):
        return factory
    if inspect.ismethod(factory):
        return factory.__func__
    return type(factory).__call__


def _signature(factory: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        # Positional annotations may name what only a type checker imports; they are not looked at, so let them be.
        import annotationlib

        return inspect.signature(factory, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(factory)


def _default_factories(factory: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    if not (inspect.isclass(factory) and dataclasses.is_dataclass(factory)):
        return {}
    fields = dataclasses.fields(factory)
    return {each.name: each.default_factory for each in fields if each.default_factory is not dataclasses.MISSING}


def _nested(annotation: Any) -> tuple[str, bool] | None:
    """(group, may be null) if this is `Annotated[Choice, FromGroup(...)]`, alone or `| None`."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *marks = typing.get_args(annotation)
        groups = [mark.group for mark in marks if isinstance(mark, FromGroup)]
        if not groups:
            return _nested(inner)
        if inner is Choice:
            return groups[0], False
        if _is_union(inner) and set(typing.get_args(inner)) == {Choice, types.NoneType}:
            return groups[0], True
        return None
    if _is_union(annotation):
        members = typing.get_args(annotation)
        found = [_nested(member) for member in members if member is not types.NoneType]
        if len(found) == 1 and found[0] is not None:
            return found[0][0], len(members) > 1 or found[0][1]
    return None


_PLAIN = (bool, int, float, str, types.NoneType)


def _strict(annotation: Any) -> Any:
    """An annotation with the declared conversions put in; TypeError for a type that a recipe cannot say."""
    from pydantic import BeforeValidator, Field, WithJsonSchema

    if hasattr(annotation, "__value__"):  # type Name = ...
        return _strict(annotation.__value__)
    if annotation is Path:
        return Annotated[Path, BeforeValidator(_to_path), WithJsonSchema({"type": "string", "format": "path"})]
    if annotation is Any or annotation is None or annotation in _PLAIN:
        return annotation
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(_strict(members[0]), *members[1:])]
    if _is_union(annotation):
        # Left to right, with Path last, because a path takes any text.
        ordered = sorted((_strict(member) for member in members), key=_is_path)
        union = functools.reduce(operator.or_, ordered)
        real = [member for member in members if member is not types.NoneType]
        return Annotated[union, Field(union_mode="left_to_right")] if len(real) > 1 else union
    if origin in (Sequence, Iterable):
        return _strict(tuple[members[0], ...])  # type: ignore[valid-type]
    if origin is tuple or annotation is tuple:
        parts = tuple(part if part is Ellipsis else _strict(part) for part in members)
        inner = tuple[parts] if parts else tuple[Any, ...]  # type: ignore[valid-type]
        return Annotated[inner, BeforeValidator(_to_tuple)]
    if origin is list or annotation is list:
        return list[_strict(members[0])] if members else list[Any]  # type: ignore[misc]
    if origin in (dict, Mapping) or annotation is dict:
        if members and members[0] is not str:
            raise TypeError(f"the type {annotation}: keys of a recipe are text")
        return dict[str, _strict(members[1])] if members else dict[str, Any]  # type: ignore[misc]
    raise TypeError(f"the type {annotation}, which a recipe cannot say")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _is_path(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Annotated and typing.get_args(annotation)[0] is Path


def _to_path(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("expected a path, got an empty text")
    base = value.base if isinstance(value, RecipeText) else Path.cwd()
    try:
        return base.absolute() / Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"'{value}' names a user who is not there") from None


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
