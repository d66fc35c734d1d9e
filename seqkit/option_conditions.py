"""Options that have an effect only beside others: `only_with` says so, and a recipe with one alone is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Given:
    def __repr__(self) -> str:
        return "GIVEN"


GIVEN: Final = _Given()
"""For `only_with`: any value but null, false, 0 and an empty list."""

_ATTRIBUTE: Final = "_seqkit_option_conditions"


@dataclass(frozen=True, slots=True)
class Condition:
    """What some options need to have an effect.

    Attributes:
        names: the options.
        needs: by the name of another option: `GIVEN`, a value, or a tuple of values, one of which it must have.
    """

    names: tuple[str, ...]
    needs: Mapping[str, Any]

    def unmet(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The part of `needs` that these options do not meet."""
        return {name: need for name, need in self.needs.items() if not _is_met(need, values[name])}


def only_with(*names: str, **needs: Any) -> Callable[[F], F]:
    """Says of a factory that some of its options have no effect unless others have certain values.

        @only_with("train", "dev", "test", folder=GIVEN)
        @only_with("sizes", source="generated", folder=None)
        def mood(*, source: Literal["generated", "imdb"] = "generated", sizes: ..., folder: Path | None = None, ...)

    A recipe that gives such an option where it has no effect is refused, with the line. The default value is accepted
    where the recipe names the deciding options as well, as `resolved.yaml` does.

    Args:
        names: the options that depend on others.
        needs: by option, what it must be: `GIVEN` (not null, false, 0 or an empty list), a value, or a tuple of values.
    """

    def mark(factory: F) -> F:
        conditions = (*getattr(factory, _ATTRIBUTE, ()), Condition(names, needs))
        setattr(factory, _ATTRIBUTE, conditions)
        return factory

    return mark


def conditions_of(factory: Callable[..., Any]) -> tuple[Condition, ...]:
    """What `only_with` says of this factory."""
    target = factory.func if isinstance(factory, functools.partial) else factory
    conditions: tuple[Condition, ...] = getattr(target, _ATTRIBUTE, ())
    return conditions


def condition_notes(factory: Callable[..., Any]) -> dict[str, str]:
    """By option, a sentence on when it has an effect: `Only with source: generated and without folder.`"""
    notes: dict[str, list[str]] = {}
    for condition in conditions_of(factory):
        parts = [
            f"without {other}" if is_absence(need) else "with " + ": ".join([other, *filter(None, [_joined(need)])])
            for other, need in condition.needs.items()
        ]
        for name in condition.names:
            notes.setdefault(name, []).extend(part for part in parts if part not in notes[name])
    return {name: f"Only {' and '.join(parts)}." for name, parts in notes.items()}


def _joined(need: Any) -> str:
    return " or ".join(words_of(need))


def words_of(need: Any) -> Iterator[str]:
    """The values that meet a need, as a recipe would have them; nothing for `GIVEN` and null."""
    if need is None or need is GIVEN:
        return
    for value in need if isinstance(need, tuple) else (need,):
        yield str(value).lower() if isinstance(value, bool) else str(value)


def is_absence(need: Any) -> bool:
    """Whether another option must be null or false."""
    return need is None or need is False


def _is_met(need: Any, value: Any) -> bool:
    if need is GIVEN:
        return bool(value)
    return bool(value in need if isinstance(need, tuple) else value == need)
