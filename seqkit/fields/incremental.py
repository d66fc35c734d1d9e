"""Text that comes in pieces: which words or characters of it are certain, and what has to wait for the next piece.

The last word may go on in the next piece. So may the last character: what follows it may be a combining mark that is
composed with it (NFC), and a capital sigma is another small letter at the end of a word than inside one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from seqkit.fields.unicode_form import UnicodeForm, to_form
from seqkit.types import JSON

_CONTEXT: Final = 64
"""Characters before the first one that waits, from which it is seen whether they end a word."""

_SIGMA: Final = "\u03a3"
_LAST_WORD: Final = re.compile(r"\S+\Z")


def feed_words(piece: Any, kept: JSON, *, end: bool) -> tuple[list[str], JSON]:
    """The words that are certain: those of a list, or of text those that white space follows; and the rest.

    Raises:
        ValueError: a list comes after text that ends inside a word, or the piece is neither text nor a list.
    """
    rest = kept if kept is not None else ""
    if isinstance(piece, list | tuple):
        if rest:
            raise ValueError(f"is a list of words after {rest!r:.60}, which may not be a whole word; end it by a space")
        return list(piece), None
    text = rest + _checked(piece)
    if end:
        return text.split(), None
    unfinished = _LAST_WORD.search(text)
    if unfinished is None:
        return text.split(), None
    return text[: unfinished.start()].split(), unfinished[0]


def feed_characters(piece: Any, kept: JSON, *, end: bool, form: UnicodeForm | None, lower: bool) -> tuple[str, JSON]:
    """The characters that are certain, in the form and in lower case if so; and the rest with what comes before it.

    Raises:
        ValueError: the piece is not text.
    """
    before, rest = ("", "") if kept is None else (kept[0], kept[1])
    text: str = to_form(rest + _checked(piece), form)
    count = len(text) if end else _certain(text, form, lower)
    certain, rest = text[:count], text[count:]
    if not lower:
        return certain, ["", rest] if rest and not end else None
    # In lower case with the characters before: whether a sigma ends its word depends on them.
    lowered = (before + certain).lower()[len(before.lower()) :]
    before = (before + certain)[-_CONTEXT:]
    return lowered, None if end else [before, rest]


def _certain(text: str, form: UnicodeForm | None, lower: bool) -> int:
    """How many characters of a text in its form no further text can change."""
    count = len(text)
    if form is not None and text and _can_compose(text[-1]):
        count = _last_starter(text)
    if lower and _SIGMA in text:
        last_word = _LAST_WORD.search(text)
        if last_word is not None and _SIGMA in last_word[0]:
            count = min(count, text.index(_SIGMA, last_word.start()))
    return count


def _can_compose(character: str) -> bool:
    """Whether what follows this character may be composed with it; true for some with which it may not."""
    return not character.isascii() or character.isalpha() or character in "<=>"


def _last_starter(text: str) -> int:
    """The position of the last character that is no combining mark."""
    import unicodedata

    position = len(text) - 1
    while position > 0 and unicodedata.combining(text[position]):
        position -= 1
    return position


def _checked(piece: Any) -> str:
    if piece is None:
        return ""
    if not isinstance(piece, str):
        raise ValueError(f"should be text, but is a {type(piece).__name__}")
    return piece
