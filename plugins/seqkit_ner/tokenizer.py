"""Where the words of a line of text are: what a model that was trained on words is given to read."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from seqkit_ner.options import WordTokenizer

_BETWEEN_SPACES = re.compile(r"[^ \t]+")
_JOINING = "-'\u2019.,:/_"
"""These do not separate a word where a letter or digit follows and precedes them: well-known, don't, 3.14, 10:30."""


def locate_words(text: str, tokenizer: WordTokenizer) -> list[tuple[int, int]]:
    """The first character of each word of a text, and the one after its last.

    Args:
        text: a line.
        tokenizer: spaces, words are what spaces and tabs separate, as between the columns of a file; punctuation,
            any white space separates words, and punctuation and symbols are words of their own, one for each character.
            Combining marks and joiners belong to the letter before them.
    """
    if tokenizer == "spaces":
        return [match.span() for match in _BETWEEN_SPACES.finditer(text)]
    places: list[tuple[int, int]] = []
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        start, position = position, _end_of_word(text, position)
        places.append((start, position))
    return places


def split_words(text: str, tokenizer: WordTokenizer) -> list[str]:
    """The words of a line of text, which are at the places that `locate_words` gives."""
    if tokenizer == "spaces":
        return _BETWEEN_SPACES.findall(text)
    return [text[start:end] for start, end in locate_words(text, tokenizer)]


def _end_of_word(text: str, start: int) -> int:
    """The end of the word, or of the single sign, that starts here."""
    position = start + 1
    if not _is_in_word(text[start]):
        while position < len(text) and _extends(text[position]):
            position += 1
        return position
    while position < len(text):
        joins = text[position] in _JOINING and position + 1 < len(text) and _is_in_word(text[position + 1])
        if not (_is_in_word(text[position]) or joins):
            break
        position += 1
    return position


@lru_cache(maxsize=4096)
def _is_in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN" or character in "\u200c\u200d_"


@lru_cache(maxsize=4096)
def _extends(character: str) -> bool:
    """Whether a character changes the one before it: a combining mark, a variation selector, a joiner."""
    return unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"
