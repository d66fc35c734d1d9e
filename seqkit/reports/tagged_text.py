"""Sentences with their spans marked, for the table of examples of a tagger: a colour for each type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from seqkit import metrics

COLORS: Final = 6
"""Types have so many colours; further ones have those of the first again."""


class Piece(NamedTuple):
    """Some words of a sentence.

    Attributes:
        text: they have a space between them.
        kind: the type of their span; None: they are in none.
        color: the number of the type's colour.
        is_wrong: whether the other sentence has no such span.
    """

    text: str
    kind: str | None = None
    color: int = 0
    is_wrong: bool = False


def colors_of(tags: Sequence[Any]) -> dict[str, int]:
    """The colour of each type of span, by its name; empty if these are not all lists of tags that mean spans.

    Args:
        tags: targets of examples.
    """
    kinds: set[str] = set()
    for row in tags:
        if not isinstance(row, list | tuple) or not all(isinstance(tag, str) for tag in row):
            return {}
        try:
            kinds |= {kind for kind, _, _ in metrics.spans(list(row))}
        except ValueError:
            return {}
    return {kind: number % COLORS for number, kind in enumerate(sorted(kinds))}


def mark_spans(
    text: str | None, target: Sequence[str], prediction: Sequence[str], colors: Mapping[str, int]
) -> tuple[list[Piece], list[Piece]] | None:
    """The text with the true spans and with the predicted ones; None if it does not have a word for each tag.

    Args:
        text: the words, with a space between them.
        target, prediction: a tag for each.
        colors: of `colors_of`.
    """
    words = (text or "").split()
    if not colors or not len(words) == len(target) == len(prediction):
        return None
    try:
        true, predicted = metrics.spans(list(target)), metrics.spans(list(prediction))
    except ValueError:
        return None
    return _pieces(words, true, set(predicted), colors), _pieces(words, predicted, set(true), colors)


def mark_parts(
    text: str | None, target: Mapping[str, Any], prediction: Mapping[str, Any], colors: Mapping[str, int]
) -> tuple[list[Piece], list[Piece]]:
    """Several answers, the true and the predicted ones: spans of tags in the text, all others with their names.

    Args:
        text: the words, with a space between them.
        target, prediction: {name: answer}.
        colors: of `colors_of`, for all tags.
    """
    cells = list[Piece](), list[Piece]()
    for name, true in target.items():
        predicted: Any = prediction.get(name)
        both = (true, predicted)
        is_tags = isinstance(true, list) and isinstance(predicted, list)
        marked = mark_spans(text, true, predicted, colors) if is_tags else None
        for cell, value, pieces in zip(cells, both, marked or (None, None), strict=True):
            shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            cell.extend(pieces or [Piece(shown, name, 0, true != predicted)])
    return cells


def tag_colors(targets: Sequence[Any]) -> dict[str, int]:
    """`colors_of` tags, or of the parts of several answers that are tags."""
    if not targets or not all(isinstance(target, Mapping) for target in targets):
        return colors_of(targets)
    colors: dict[str, int] = {}
    for name in targets[0]:
        parts = [target.get(name) for target in targets]
        colors = colors or (colors_of(parts) if all(isinstance(part, list) for part in parts) else {})
    return colors


def _pieces(
    words: Sequence[str],
    shown: Sequence[tuple[str, int, int]],
    others: set[tuple[str, int, int]],
    colors: Mapping[str, int],
) -> list[Piece]:
    pieces, step = list[Piece](), 0
    for span in shown:
        kind, start, end = span
        if start > step:
            pieces.append(Piece(" ".join(words[step:start])))
        pieces.append(Piece(" ".join(words[start:end]), kind, colors.get(kind, 0), span not in others))
        step = end
    return [*pieces, Piece(" ".join(words[step:]))] if step < len(words) else pieces
