"""The schema of a factory's options in a recipe, read from its keyword-only arguments.

An option is declared nowhere else: its name, type, range and default are those of the signature, its description is
the line `name: text` under `Args:` in the docstring. Types are strict (`true` is not a number, `1.0` not a count), with
the three conversions that a text file needs: text to Path and list to tuple (see `strict_type`), and whole numbers
where a float is expected.
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

from seqkit.errors import PluginError, UsageError
from seqkit.option_conditions import Condition, conditions_of
from seqkit.remote_files import check_url, url_of
from seqkit.settings import FromGroup
from seqkit.types import Choice

if TYPE_CHECKING:
    from pydantic import BaseModel

MISSING = inspect.Parameter.empty


class RecipeText(str):
    """Text from a recipe that remembers the folder that a relative path in it starts from."""

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
        default: the choice if the recipe makes none; MISSING if it has to, None for no choice at all.
        optional: whether null is allowed.
        about: its description in the docstring.
    """

    group: str
    default: Any
    optional: bool
    about: str


@dataclass(frozen=True, slots=True)
class Schema:
    """The options that a recipe can give to one factory.

    Attributes:
        model: a strict pydantic model of all options except the nested choices.
        nested: the options that are choices themselves.
        names: all options, in the order of the signature.
        defaults: of the options that have one.
        conditions: which options have an effect only beside others.
    """

    model: type[BaseModel]
    nested: Mapping[str, Nested]
    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    conditions: tuple[Condition, ...]


@functools.lru_cache(maxsize=256)
def schema_of(factory: Callable[..., Any], reserved: tuple[str, ...] = ()) -> Schema:
    """The schema of a factory. `reserved` names belong to the recipe and may not be options.

    Raises:
        PluginError: the signature has something that a recipe cannot express; its author has to change that.
    """
    from pydantic import ConfigDict, Field, create_model

    docs = docs_of(factory)
    fields: dict[str, Any] = {}
    nested: dict[str, Nested] = {}
    names = []
    declared = options_of(factory)
    defaults = {name: default for name, _, default in declared if default is not MISSING}
    for name, annotation, default in declared:
        if name in reserved:
            raise PluginError(f"{name_of(factory)} has an option '{name}', a name that recipes reserve; rename it")
        names.append(name)
        about = docs.get(name, "")
        choice = _choice_of(annotation)
        if choice is not None:
            group, optional = choice
            nested[name] = Nested(group, default, optional, about)
            continue
        try:
            strict = strict_type(annotation)
        except TypeError as error:
            raise PluginError(f"the option '{name}' of {name_of(factory)} has {error}") from None
        # An alias, because pydantic refuses fields that start with an underscore or shadow one of its methods.
        info = Field(... if default is MISSING else default, alias=name, description=about or None)
        fields[f"option_{name}"] = (strict, info)
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, validate_default=True)
    try:
        model = create_model(name_of(factory), __config__=config, **fields)
    except Exception as error:  # pydantic has no base class for its errors about types
        raise PluginError(f"the options of {name_of(factory)} cannot be checked: {error}") from None
    return Schema(model, nested, tuple(names), defaults, _known_conditions(factory, names))


def _known_conditions(factory: Callable[..., Any], names: Sequence[str]) -> tuple[Condition, ...]:
    """What `only_with` says of the factory.

    Raises:
        PluginError: it names an option that the factory does not have.
    """
    conditions = conditions_of(factory)
    for condition in conditions:
        if unknown := {*condition.names, *condition.needs}.difference(names):
            raise PluginError(f"only_with of {name_of(factory)} names '{min(unknown)}', which is none of its options")
    return conditions


def options_of(factory: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """(name, annotation, default or MISSING) of each keyword-only argument, annotations resolved.

    Only these annotations are resolved: those of positional arguments, which seqkit passes itself, may be strings
    that cannot be resolved at run time.
    """
    call = _callable(factory)
    try:
        parameters = _signature(factory).parameters.values()
    except (TypeError, ValueError) as error:
        raise PluginError(f"{name_of(factory)} has no signature to read: {error}") from None
    options = [parameter for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    for parameter in options:
        if parameter.annotation is MISSING:
            raise PluginError(f"the option '{parameter.name}' of {name_of(factory)} has no type; annotate it")

    def annotated() -> None: ...

    annotated.__annotations__ = {parameter.name: parameter.annotation for parameter in options}
    try:
        hints = typing.get_type_hints(annotated, globalns=getattr(call, "__globals__", {}), include_extras=True)
    except Exception as error:
        raise PluginError(f"an option of {name_of(factory)} has a type that cannot be resolved: {error}") from None
    factories = _default_factories(factory)
    return [
        (
            parameter.name,
            hints[parameter.name],
            factories[parameter.name]() if parameter.name in factories else parameter.default,
        )
        for parameter in options
    ]


def docs_of(factory: Callable[..., Any]) -> dict[str, str]:
    """{name: text} of the lines under `Args:` in the docstring (of the class, or else of its `__init__`)."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    text = inspect.getdoc(target) or ""
    if inspect.isclass(target) and "Args:" not in text:
        text = inspect.getdoc(target.__init__) or ""
    _, heading, block = text.partition("Args:\n")
    docs: dict[str, str] = {}
    if not heading:
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
        # Positional annotations may be names that only a type checker imports; they are never resolved.
        import annotationlib

        return inspect.signature(factory, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(factory)


def _default_factories(factory: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    if not (inspect.isclass(factory) and dataclasses.is_dataclass(factory)):
        return {}
    fields = dataclasses.fields(factory)
    return {
        option.name: option.default_factory for option in fields if option.default_factory is not dataclasses.MISSING
    }


def _choice_of(annotation: Any) -> tuple[str, bool] | None:
    """(group, may be null) if this is `Annotated[Choice, FromGroup(...)]`, alone or `| None`; else None."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        inner, *marks = typing.get_args(annotation)
        groups = [mark.group for mark in marks if isinstance(mark, FromGroup)]
        if not groups:
            return _choice_of(inner)
        if inner is Choice:
            return groups[0], False
        if _is_union(inner) and set(typing.get_args(inner)) == {Choice, types.NoneType}:
            return groups[0], True
        return None
    if _is_union(annotation):
        members = typing.get_args(annotation)
        choices = [_choice_of(member) for member in members if member is not types.NoneType]
        if len(choices) == 1 and choices[0] is not None:
            group, optional = choices[0]
            return group, len(members) > 1 or optional
    return None


def strict_type(annotation: Any) -> Any:
    """The annotation of an option as pydantic is to check it: with the conversions of a text file put in.

    Raises:
        TypeError: a recipe cannot express this type; the message completes "the option has ...".
    """
    if hasattr(annotation, "__value__"):  # type Name = ...
        return strict_type(annotation.__value__)
    if annotation is Any or annotation is None or annotation in _PLAIN:
        return annotation
    origin = annotation if annotation in _BARE else typing.get_origin(annotation)
    if origin not in _STRICT:
        raise TypeError(f"the type {annotation}, which a recipe cannot express")
    return _STRICT[origin](annotation)


def _strict_path(annotation: Any) -> Any:
    from pydantic import BeforeValidator, WithJsonSchema

    return Annotated[annotation, BeforeValidator(_to_path), WithJsonSchema({"type": "string", "format": "path"})]


def _strict_literal(annotation: Any) -> Any:
    return annotation


def _strict_annotated(annotation: Any) -> Any:
    inner, *marks = typing.get_args(annotation)
    return Annotated[(strict_type(inner), *marks)]


def _strict_union(annotation: Any) -> Any:
    """Members are tried from left to right, a path last, because any text is a path."""
    from pydantic import Field

    members = typing.get_args(annotation)
    union = functools.reduce(operator.or_, sorted((strict_type(member) for member in members), key=_is_path))
    is_choice = sum(member is not types.NoneType for member in members) > 1
    return Annotated[union, Field(union_mode="left_to_right")] if is_choice else union


def _strict_sequence(annotation: Any) -> Any:
    items = typing.get_args(annotation)
    if not items:
        raise TypeError(f"the type {annotation}, whose items have no type")
    return strict_type(tuple[items[0], ...])  # type: ignore[valid-type]


def _strict_tuple(annotation: Any) -> Any:
    from pydantic import BeforeValidator

    items = tuple(item if item is Ellipsis else strict_type(item) for item in typing.get_args(annotation))
    strict = tuple[items] if items else tuple[Any, ...]  # type: ignore[valid-type]
    return Annotated[strict, BeforeValidator(_to_tuple)]


def _strict_list(annotation: Any) -> Any:
    items = typing.get_args(annotation)
    return list[strict_type(items[0])] if items else list[Any]  # type: ignore[misc]


def _strict_dict(annotation: Any) -> Any:
    members = typing.get_args(annotation)
    if members and members[0] is not str:
        raise TypeError(f"the type {annotation}: keys of a recipe are text")
    return dict[str, strict_type(members[1])] if members else dict[str, Any]  # type: ignore[misc]


_PLAIN = (bool, int, float, str, types.NoneType)
"""Types that are checked as they are."""

_BARE = (Path, tuple, list, dict)
"""Types that may stand without arguments."""

_STRICT: Mapping[Any, Callable[[Any], Any]] = {
    Path: _strict_path,
    Literal: _strict_literal,
    Annotated: _strict_annotated,
    Union: _strict_union,
    types.UnionType: _strict_union,
    Sequence: _strict_sequence,
    Iterable: _strict_sequence,
    tuple: _strict_tuple,
    list: _strict_list,
    dict: _strict_dict,
    Mapping: _strict_dict,
}
"""How an annotation is made strict, by its origin."""


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _is_path(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Annotated and typing.get_args(annotation)[0] is Path


def _to_path(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("expected a path, got empty text")
    if (url := url_of(value)) is not None and "://" in value:
        try:
            check_url(url)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return Path(value.replace("://", ":/", 1))
    base = value.base if isinstance(value, RecipeText) else Path.cwd()
    try:
        return base.absolute() / Path(value).expanduser()
    except RuntimeError:
        raise ValueError(f"'{value}' names a user who does not exist") from None


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
