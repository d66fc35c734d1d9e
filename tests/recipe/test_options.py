"""Signatures as schemas: whatever shape the factory has, its keyword-only arguments are the options of a recipe."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Len

from seqkit.errors import PluginError
from seqkit.recipe.options import MISSING, RecipeText, about_of, docs_of, name_of, options_of, schema_of
from seqkit.settings import FromGroup, TrainSettings
from seqkit.types import Choice, Count, Share

if TYPE_CHECKING:
    from no_such_module import Nothing

Optimizer = Annotated[Choice, FromGroup("optimizers")]


def function(argument: Nothing, /, more: Nothing, *, k: Count = 3, folder: Path, **rest: Nothing) -> Nothing:
    """A factory.

    More words, and a colon: here.

    Args:
        argument: passed by seqkit.
        k: letters a symbol,
            at most: all.
        folder (Path): where.

    Returns:
        nothing: at all
    """


class Factory:
    """A class.

    Args:
        rate: of something.
    """

    def __init__(self, argument: Nothing, *, rate: Share = 0.5) -> None: ...


class Documented:
    def __init__(self, *, rate: Share = 0.5) -> None:
        """Made.

        Args:
            rate: of this.
        """


class Callables:
    def __call__(self, *, a: int = 1) -> None: ...

    def method(self, *, b: int = 2) -> None: ...


@dataclass(kw_only=True)
class Data:
    names: list[str] = field(default_factory=lambda: ["a"])
    count: int = 1


def wrap(inner: Any) -> Any:
    @functools.wraps(inner)
    def outer(*args: Any, **options: Any) -> Any:
        return inner(*args, **options)

    return outer


class TestOptions:
    @pytest.mark.parametrize(
        ("factory", "options"),
        [
            (function, [("k", Count, 3), ("folder", Path, MISSING)]),
            (wrap(function), [("k", Count, 3), ("folder", Path, MISSING)]),
            (functools.partial(function, 1, k=5), [("k", Count, 5), ("folder", Path, MISSING)]),
            (Factory, [("rate", Share, 0.5)]),
            (Callables(), [("a", int, 1)]),
            (Callables().method, [("b", int, 2)]),
            (Data, [("names", list[str], ["a"]), ("count", int, 1)]),
            (lambda: None, []),
        ],
    )
    def test_are_the_keyword_only_arguments(self, factory: Any, options: list[tuple[str, Any, Any]]) -> None:
        assert options_of(factory) == options

    def test_train_settings_are_all_there(self) -> None:
        schema = schema_of(TrainSettings)
        assert list(schema.nested) == ["optimizer", "schedule"]
        assert "precision" in schema.names
        assert set(docs_of(TrainSettings)) == set(schema.names)

    def test_docs(self) -> None:
        assert docs_of(function) == {
            "argument": "passed by seqkit.",
            "k": "letters a symbol, at most: all.",
            "folder": "where.",
        }
        assert docs_of(Factory) == {"rate": "of something."}
        assert docs_of(Documented) == {"rate": "of this."}
        assert docs_of(lambda: None) == {}
        assert about_of(function) == "A factory."

    def test_names(self) -> None:
        assert name_of(functools.partial(function)).endswith("test_options.function")


def untyped(*, a=1): ...  # type: ignore[no-untyped-def]


def unresolved(*, a: Nothing = 1) -> None: ...


def a_set(*, a: set[int] = frozenset()) -> None: ...  # type: ignore[assignment]


def inside(*, a: list[dict[str, Example]] = []) -> None: ...  # type: ignore[name-defined]  # noqa: B006, F821


def int_keys(*, a: dict[int, str] = {}) -> None: ...  # noqa: B006


def nonsense(*, a: Annotated[bool, Ge("x")] = True) -> None: ...


def reserved_name(*, head: str = "x") -> None: ...


class TestAuthorsMistakes:
    @pytest.mark.parametrize(
        ("factory", "message"),
        [
            (untyped, "the option 'a' of .*untyped has no type"),
            (unresolved, "a type that cannot be resolved"),
            (a_set, "which a recipe cannot express"),
            (inside, "cannot be resolved"),
            (int_keys, "keys of a recipe are text"),
            (reserved_name, "'head', a name that recipes reserve"),
            (3, "no signature"),
        ],
    )
    def test_are_named(self, factory: Any, message: str) -> None:
        with pytest.raises(PluginError, match=message):
            schema_of(factory, ("use", "head"))


def typed(
    *,
    number: float = 1,
    count: int = 1,
    flag: bool = False,
    text: str = "",
    path: Path = Path("x"),
    literal: Literal["a", "b", 3] = "a",
    maybe: Optional[Count] = None,  # noqa: UP045
    union: Union[int, Literal["all"], None] = 1,  # noqa: UP007
    either: Path | Literal["built-in"] = "built-in",
    pair: tuple[int, float] = (1, 2.0),
    many: tuple[str, ...] = (),
    listed: list[float] = [],  # noqa: B006
    seq: Sequence[int] = (),
    table: dict[str, list[int]] = {},  # noqa: B006
    mapped: Mapping[str, Path] = {},
    bare: dict = {},  # type: ignore[type-arg]  # noqa: B006
    anything: Any = None,
    full: Annotated[list[int], Len(1, 2)] = [1],  # noqa: B006
    model_config: int = 1,
    _hidden: int = 1,
) -> None: ...


def check(name: str, value: Any) -> Any:
    schema = schema_of(typed)
    model = schema.model.model_validate({name: value})
    return getattr(model, f"option_{name}")


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "value", "checked"),
        [
            ("number", 1, 1.0),
            ("count", 3, 3),
            ("flag", True, True),
            ("text", "no", "no"),
            ("path", "y", Path("/base/y")),
            ("path", "/y", Path("/y")),
            ("literal", 3, 3),
            ("maybe", None, None),
            ("maybe", 2, 2),
            ("union", "all", "all"),
            ("union", None, None),
            ("either", "built-in", "built-in"),
            ("either", "other", Path("/base/other")),
            ("pair", [1, 2], (1, 2.0)),
            ("many", ["a"], ("a",)),
            ("listed", [1, 2.5], [1.0, 2.5]),
            ("seq", [1], (1,)),
            ("table", {"a": [1]}, {"a": [1]}),
            ("mapped", {"a": "b"}, {"a": Path("/base/b")}),
            ("bare", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
            ("anything", [1, "x"], [1, "x"]),
            ("model_config", 2, 2),
            ("_hidden", 2, 2),
        ],
    )
    def test_accepted(self, name: str, value: Any, checked: Any) -> None:
        def as_in_recipe(item: Any) -> Any:
            if isinstance(item, dict):
                return {key: as_in_recipe(inner) for key, inner in item.items()}
            return RecipeText(item, Path("/base")) if isinstance(item, str) else item

        option = check(name, as_in_recipe(value))
        assert option == checked
        assert type(option) is type(checked) or isinstance(option, (RecipeText, Path))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("number", True),
            ("number", "1"),
            ("number", float("inf")),
            ("number", float("nan")),
            ("count", 1.0),
            ("count", True),
            ("flag", 1),
            ("flag", "true"),
            ("text", 1),
            ("path", 3),
            ("path", ""),
            ("path", "~nobody-of-this-name/x"),
            ("literal", "c"),
            ("maybe", 0),
            ("union", 1.5),
            ("pair", [1]),
            ("pair", "ab"),
            ("many", "a"),
            ("listed", [float("nan")]),
            ("table", {"a": 1}),
            ("full", []),
            ("other", 1),
        ],
    )
    def test_refused(self, name: str, value: Any) -> None:
        from pydantic import ValidationError

        with pytest.raises(ValidationError):
            check(name, value)


SGD = Choice("sgd")


def choices(*, a: Optimizer, b: Optimizer | None = None, c: Optional[Optimizer] = SGD) -> None: ...  # noqa: UP045


def test_choices_are_nested() -> None:
    schema = schema_of(choices)
    assert schema.names == ("a", "b", "c")
    assert [(nested.group, nested.default, nested.optional) for nested in schema.nested.values()] == [
        ("optimizers", MISSING, False),
        ("optimizers", None, True),
        ("optimizers", Choice("sgd"), True),
    ]
