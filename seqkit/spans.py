"""Schemes for spans as one tag a step: which sequences are legal, and how one scheme becomes another.

    scheme   a span of two steps, one of one step, and two adjacent ones of one type
    iob1     I-x I-x  O  I-x  O  I-x B-x     B only after another span of the same type
    iob2     B-x I-x  O  B-x  O  B-x B-x     every span begins with B; also called BIO
    bioes    B-x E-x  O  S-x  O  S-x S-x     E marks the end, S a span of one step; also called IOBES
    plain    x x      O  x    O  x x         the type alone: adjacent spans of one type look like one span

A type is any text, dashes included. `seqkit.metrics.spans` reads the spans from a sequence of tags by the rules of
conlleval, extended to BIOES, from illegal sequences too; conversion keeps exactly those spans.
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
"""The tag of a step outside all spans."""

_LETTERS: Final[dict[Scheme, str]] = {"iob1": "IB", "iob2": "BI", "bioes": "BIES"}

# (letter, next letter) of tags of one type that may follow each other. The edges of a sequence count as O.
_SAME_TYPE: Final[dict[Scheme, frozenset[str]]] = {
    "iob1": frozenset({"II", "IB", "BI", "BB"}),
    "iob2": frozenset({"BI", "II", "BB", "IB"}),
    "bioes": frozenset({"BI", "BE", "II", "IE", "EB", "ES", "SB", "SS"}),
}
# Letters that may come where no span of their type is open, and letters after which none is.
_BEGINNING: Final[dict[Scheme, str]] = {"iob1": "I", "iob2": "B", "bioes": "BS"}
_ENDING: Final[dict[Scheme, str]] = {"iob1": "IB", "iob2": "BI", "bioes": "ES"}

_EDGE: Final = (OUTSIDE, "")
"""(letter, type) before the first tag and after the last."""


@lru_cache(maxsize=4096)
def parted(tag: str, scheme: Scheme) -> tuple[str, str]:
    """(letter, type) of a tag: `B-PER` -> ("B", "PER"), `O` -> ("O", ""). A plain tag has the letter I.

    Raises:
        ValueError: it is not a tag of this scheme.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    if scheme == "plain":
        return "I", tag
    letter, dash, span_type = tag.partition("-")
    if letter not in _LETTERS[scheme] or len(letter) != 1 or not dash or not span_type:
        forms = ", ".join(f"{letter}-<type>" for letter in _LETTERS[scheme])
        raise ValueError(f"tag {tag!r} is none of {scheme}: O, {forms}")
    return letter, span_type


def type_of(tag: str, scheme: Scheme) -> str | None:
    """The type of a tag, None for `O`. Raises ValueError for a tag that is not one of this scheme."""
    return parted(tag, scheme)[1] or None


def tags_of(types: Iterable[str], scheme: Scheme) -> list[str]:
    """Every tag that spans of these types can have, sorted: `O` and each letter of the scheme with each type."""
    if scheme == "plain":
        return sorted({OUTSIDE, *types})
    return sorted({OUTSIDE, *(f"{letter}-{span_type}" for span_type in types for letter in _LETTERS[scheme])})


def fault(tags: Sequence[str], scheme: Scheme) -> tuple[int, str] | None:
    """The first error in a sequence of tags: (step from 0, sentence); None if it is legal."""
    letters_and_types: list[tuple[str, str]] = []
    for step, tag in enumerate(tags):
        try:
            letters_and_types.append(parted(tag, scheme))
        except ValueError as error:
            return step, str(error)
    if scheme == "plain":
        return None
    for step, (previous, following) in enumerate(pairwise([_EDGE, *letters_and_types, _EDGE])):
        if _may_follow(previous, following, scheme):
            continue
        previous_tag = tags[step - 1] if step else None
        if step == len(tags):
            return step - 1, f"tag {previous_tag!r} begins a span that the sequence does not end"
        where = "at the start" if previous_tag is None else f"after {previous_tag!r}"
        return step, f"tag {tags[step]!r} cannot stand {where} in {scheme}"
    return None


def spans_of(tags: Sequence[str], scheme: Scheme) -> list[tuple[str, int, int]]:
    """The spans (type, first step, step after the last) of tags of any scheme."""
    return _runs(tags) if scheme == "plain" else spans(tags)


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """The same spans in another scheme. Illegal sequences are read as conlleval reads them; the result is legal.

    One exception: a first tag that continues a span (I or E, as in a window of a longer sequence) still continues it in
    iob2 and bioes, so that windows that are converted one by one can be joined again.

    Raises:
        ValueError: a tag is not one of the source scheme.
    """
    result = [OUTSIDE] * len(tags)
    if tags.count(OUTSIDE) == len(tags):  # most sentences: a short cut
        return result
    for tag in dict.fromkeys(tags):
        parted(tag, source)
    is_continued = bool(tags) and source in ("iob2", "bioes") and tags[0][0] in "IE"
    previous_type, previous_end = "", -1
    for span_type, start, end in spans_of(tags, source):
        steps = end - start
        if target == "plain":
            letters = ""
        elif target == "iob1":
            letters = ("B" if (previous_type, previous_end) == (span_type, start) else "I") + "I" * (steps - 1)
        elif target == "iob2":
            letters = "B" + "I" * (steps - 1)
        else:
            letters = "S" if steps == 1 else "B" + "I" * (steps - 2) + "E"
        if is_continued and start == 0 and target in ("iob2", "bioes"):
            letters = ("E" if letters[0] == "S" else "I") + letters[1:]
        result[start:end] = [f"{letter}-{span_type}" for letter in letters] or [span_type] * steps
        previous_type, previous_end = span_type, end
    return result


def mend(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The legal sequence with the spans that conlleval reads from this one."""
    converted = convert(tags, scheme, scheme)
    return converted if fault(converted, scheme) is None else convert(["O", *converted], scheme, scheme)[1:]


def legal(labels: Sequence[str], scheme: Scheme) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which tags are allowed where: (C,) at the start, (C, C) the column's after the row's, (C,) at the end."""
    size = len(labels)
    if scheme == "plain":
        return np.ones(size, dtype=bool), np.ones((size, size), dtype=bool), np.ones(size, dtype=bool)
    tags = [parted(label, scheme) for label in labels]
    start = np.array([_may_follow(_EDGE, tag, scheme) for tag in tags], dtype=bool)
    end = np.array([_may_follow(tag, _EDGE, scheme) for tag in tags], dtype=bool)
    pairs = np.array([[_may_follow(row, column, scheme) for column in tags] for row in tags], dtype=bool)
    return start, pairs.reshape(size, size), end


def _may_follow(previous: tuple[str, str], following: tuple[str, str], scheme: Scheme) -> bool:
    """Whether the (letter, type) `following` may come after `previous`, in a scheme with letters."""
    (letter, span_type), (next_letter, next_type) = previous, following
    if span_type == next_type and span_type:
        return letter + next_letter in _SAME_TYPE[scheme]
    ends = letter == OUTSIDE or letter in _ENDING[scheme]
    return ends and (next_letter == OUTSIDE or next_letter in _BEGINNING[scheme])


def _runs(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """The runs of equal tags other than `O`: the spans of a plain scheme."""
    result, start = [], 0
    for tag, run in groupby(tags):
        end = start + sum(1 for _ in run)
        if tag != OUTSIDE:
            result.append((tag, start, end))
        start = end
    return result


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A deprecated name."""
        return public_api.deprecated_attribute(__name__, name)
