"""The one place that decides how equal texts that are written in different code points become equal.

An accented letter can be one code point or two (`é`, or `e` and a combining accent), and file names, keyboards and
programs differ in what they write. Fields of text read all of it in the composed form, NFC (Unicode Standard Annex 15).
It changes no meaning: compatibility variants (ligatures, full-width letters) stay different. The form is part of what a
fitted field has learned, so that a model reads text as in its training; models from before it was decided use none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

UnicodeForm: TypeAlias = Literal["NFC"]

FORM: Final[UnicodeForm] = "NFC"
"""The form of newly fitted fields."""


def _are_ascii(values: Sequence[Any]) -> bool:
    """Whether all are texts in ASCII, which all forms leave as they are."""
    try:
        return "".join(values).isascii()
    except TypeError:
        return False


def to_form(value: Any, form: UnicodeForm | None) -> Any:
    """A text, or each word of a list, in a form. What is in it already is returned itself, and so is anything else."""
    if form is None:
        return value
    if isinstance(value, str):
        is_in_form = value.isascii() or unicodedata.is_normalized(form, value)
        return value if is_in_form else unicodedata.normalize(form, value)
    if isinstance(value, list | tuple):
        if _are_ascii(value):
            return value
        words = [to_form(word, form) for word in value]
        is_same = all(word is before for word, before in zip(words, value, strict=True))
        return value if is_same else words
    return value
