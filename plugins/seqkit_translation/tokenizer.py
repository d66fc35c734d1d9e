"""Splits words from punctuation so that they can be joined again exactly.

A token that follows the one before it without a space begins with a mark. So nothing is lost but the kind and number of
spaces, and joining needs no rules of any language.

    "A man's hat, red."   ->   A man ￭'s hat ￭, red ￭.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from functools import lru_cache
from typing import Any

from seqkit import Prediction

MARK = "￭"
_REPLACEMENT = "■"
_UNKNOWN = "<unk>"
# MARK stands for the combining marks and joiners that a text has, which belong to the character before them.
_TOKEN = r"(\s*)((?:\w MARK)+(?:-(?:\w MARK)+)*|'(?:\w MARK)+|[^\w\s] MARK)".replace(" ", "")


def split(text: str) -> list[str]:
    """The tokens of a text. If the text has the mark itself, it becomes a black square."""
    text = text.strip().replace(MARK, _REPLACEMENT)
    marks = "" if text.isascii() else "".join(sorted(filter(_is_mark, set(text))))
    tokens = [(bool(space), token) for space, token in _tokens(marks).findall(text)]
    return [token if space or number == 0 else MARK + token for number, (space, token) in enumerate(tokens)]


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"


@lru_cache(maxsize=256)
def _tokens(marks: str) -> re.Pattern[str]:
    """The pattern of tokens in a text that has these marks."""
    return re.compile(_TOKEN.replace("MARK", f"[{re.escape(marks)}]*" if marks else ""))


def join(text: str) -> str:
    """The text of tokens that are separated by spaces. A text without marks stays as it is."""
    return re.sub(rf"(?:^|\s+){MARK}", "", text)


def tokenize(text: Any) -> Any:
    """The tokens of a text, with spaces in between. A value that is not text stays as it is: the field reports it."""
    return " ".join(split(text)) if isinstance(text, str) else text


def detokenize(source: Any, prediction: Prediction, *, replace_unknown: bool) -> Prediction:
    """The prediction as plain text.

    Args:
        source: the input, as tokens: a text, or a list.
        prediction: tokens, and in its scores perhaps their alignment and the best texts.
        replace_unknown: replace each unknown word by the input word that it is aligned with.
    """
    scores = dict(prediction.scores or {})
    text = str(prediction.value)
    if replace_unknown and "alignment" in scores:
        source_words = list(source) if isinstance(source, list | tuple) else str(source).split()
        aligned = zip(text.split(), scores["alignment"], strict=False)
        text = " ".join(
            source_words[position] if word == _UNKNOWN and position < len(source_words) else word
            for word, position in aligned
        )
    if "best" in scores:
        scores["best"] = [[join(text), share] for text, share in scores["best"]]
    return replace(prediction, value=join(text), scores=scores or None)
