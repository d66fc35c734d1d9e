"""Schemes for spans as one tag a step: which sequences are legal, and how one scheme becomes another.

    scheme   a span of two steps, one of one step, and two of a type that touch
    iob1     I-x I-x  O  I-x  O  I-x B-x     B only where a span of the same type ends just before it
    iob2     B-x I-x  O  B-x  O  B-x B-x     every span begins with B; also called BIO
    bioes    B-x E-x  O  S-x  O  S-x S-x     the end is marked as well, one step alone is S; also called IOBES
    plain    x x      O  x    O  x x         the type alone: spans of a type that touch cannot be told apart

A type is any text, dashes included. What a sequence of tags means as spans is said by `seqkit.metrics.spans`, the rules
of conlleval, which read broken sequences too; conversion keeps exactly those spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seqkit import public_api
from seqkit.metrics import spans

__all__ = ["OUTSIDE", "Scheme", "convert", "fault", "legal", "mend", "parted", "spans_of", "tags_of", "type_of"]

Scheme: TypeAlias = Literal["iob1", "iob2", "bioes", "plain"]
"""How tags mark spans."""

OUTSIDE: Final = "O"
"""The tag of a step that is in no span."""

_LETTERS: Final[dict[Scheme, str]] = {"iob1": "IB", "iob2": "BI", "bioes": "BIES"}

# (letter before, letter after) of tags of one type that may follow each other. The edges of a sequence are as O is.
_SAME_TYPE: Final[dict[Scheme, frozenset[str]]] = {
    "iob1": frozenset({"II", "IB", "BI", "BB"}),
    "iob2": frozenset({"BI", "II", "BB", "IB"}),
    "bioes": frozenset({"BI", "BE", "II", "IE", "EB", "ES", "SB", "SS"}),
}
# Letters that may stand where no span of their type is going on, and letters after which none is.
_BEGINNING: Final[dict[Scheme, str]] = {"iob1": "I", "iob2": "B", "bioes": "BS"}
_ENDING: Final[dict[Scheme, str]] = {"iob1": "IB", "iob2": "BI", "bioes": "ES"}


@lru_cache(maxsize=4096)
def parted(tag: str, scheme: Scheme) -> tuple[str, str]:
    """(letter, type) of a tag: `B-PER` -> ("B", "PER"), `O` -> ("O", ""). A plain tag has the letter I.

    Raises:
        ValueError: it is no tag of this scheme.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme == "plain":
        return "I", tag
    letter, dash, kind = tag.partition("-")
    if letter not in _LETTERS[scheme] or len(letter) != 1 or not dash or not kind:
        forms = ", ".join(f"{each}-<type>" for each in _LETTERS[scheme])
        raise ValueError(f"tag {tag!r} is none of {scheme}: O, {forms}")
    return letter, kind


def type_of(tag: str, scheme: Scheme) -> str | None:
    """The type of a tag, None of `O`. Raises ValueError for a tag that is none of this scheme."""
    return parted(tag, scheme)[1] or None


def tags_of(types: Iterable[str], scheme: Scheme) -> list[str]:
    """Every tag that spans of these types can have, sorted: `O` and each letter of the scheme with each type."""
    if scheme == "plain":
        return sorted({OUTSIDE, *types})
    return sorted({OUTSIDE, *(f"{letter}-{kind}" for kind in types for letter in _LETTERS[scheme])})


def fault(tags: Sequence[str], scheme: Scheme) -> tuple[int, str] | None:
    """The first thing that is wrong with a sequence of tags: (step from 0, sentence); None if it is legal."""
    parts: list[tuple[str, str]] = []
    for step, tag in enumerate(tags):
        try:
            parts.append(parted(tag, scheme))
        except ValueError as error:
            return step, str(error)
    if scheme == "plain":
        return None
    edge = (OUTSIDE, "")
    for step, (before, after) in enumerate(pairwise([edge, *parts, edge])):
        if _follows(before, after, scheme):
            continue
        previous = tags[step - 1] if step else None
        if step == len(tags):
            return step - 1, f"tag {previous!r} begins a span that the sequence does not end"
        where = "at the start" if previous is None else f"after {previous!r}"
        return step, f"tag {tags[step]!r} cannot stand {where} in {scheme}"
    return None


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """The spans (type, first step, step after the last) that tags of any scheme mean."""
    return _runs(tags) if scheme == "plain" else spans(tags)


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """The same spans in another scheme. Broken sequences are read as conlleval reads them, and mended so.

    A first tag that goes on with a span (I or E, which only a part of a longer sequence can have) still goes on with
    it in iob2 and bioes, so that the parts of a sequence, converted each alone, can be joined again.

    Raises:
        ValueError: a tag is none of the source scheme.
    """
    made = [OUTSIDE] * len(tags)
    if tags.count(OUTSIDE) == len(tags):  # most sentences
        return made
    for tag in dict.fromkeys(tags):
        parted(tag, source)
    goes_on = bool(tags) and source in ("iob2", "bioes") and tags[0][0] in "IE"
    ended: dict[str, int] = {}
    for kind, first, after in spans_of(tags, source):
        steps = after - first
        if target == "plain":
            letters = ""
        elif target == "iob1":
            letters = ("B" if ended.get(kind) == first else "I") + "I" * (steps - 1)
        elif target == "iob2":
            letters = "B" + "I" * (steps - 1)
        else:
            letters = "S" if steps == 1 else "B" + "I" * (steps - 2) + "E"
        if goes_on and first == 0 and target in ("iob2", "bioes"):
            letters = ("E" if letters[0] == "S" else "I") + letters[1:]
        made[first:after] = [f"{letter}-{kind}" for letter in letters] or [kind] * steps
        ended = {kind: after}
    return made


def mend(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The nearest legal sequence: the one of the spans that conlleval reads in this one."""
    found = convert(tags, scheme, scheme)
    return found if fault(found, scheme) is None else convert(["O", *found], scheme, scheme)[1:]


def legal(labels: Sequence[str], scheme: Scheme) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """What may follow what: ((C,) may start, (C, C) row may be followed by column, (C,) may end)."""
    size = len(labels)
    if scheme == "plain":
        return np.ones(size, dtype=bool), np.ones((size, size), dtype=bool), np.ones(size, dtype=bool)
    parts = [parted(label, scheme) for label in labels]
    edge = (OUTSIDE, "")
    start = np.array([_follows(edge, part, scheme) for part in parts], dtype=bool)
    end = np.array([_follows(part, edge, scheme) for part in parts], dtype=bool)
    pairs = np.array([[_follows(one, other, scheme) for other in parts] for one in parts], dtype=bool)
    return start, pairs.reshape(size, size), end


def _follows(before: tuple[str, str], after: tuple[str, str], scheme: Scheme) -> bool:
    """Whether (letter, type) may be followed by (letter, type) in a scheme with letters."""
    (first, one), (second, other) = before, after
    if one == other and one:
        return first + second in _SAME_TYPE[scheme]
    return (first == OUTSIDE or first in _ENDING[scheme]) and (second == OUTSIDE or second in _BEGINNING[scheme])


def _runs(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    found, first = [], 0
    for kind, run in groupby(tags):
        after = first + sum(1 for _ in run)
        if kind != OUTSIDE:
            found.append((kind, first, after))
        first = after
    return found


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name that is to go, while it lasts."""
        return public_api.deprecated_attribute(__name__, name)
