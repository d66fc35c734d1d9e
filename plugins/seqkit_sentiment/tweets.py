"""Tweets as tokens: words, emoticons, emoji, hashtags and punctuation."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

_REPEATED = re.compile(r"(.)\1{2,}")

# MARK stands for the combining marks (vowel signs, accents, keycaps) and joiners that a text has. They belong to the
# character before them.
_TOKEN = r"""
      https?://\S+                                     # addresses
    | @(?:\w MARK)+                                    # mentions
    | (?:[^\W\d_] MARK)+ (?: ' (?:[^\W\d_] MARK)+ )*   # words, with what an apostrophe joins: don't
    | \d+ MARK
    | [:;=] [-o']? [()\[\]/\\|*3dp] (?!\w)             # emoticons, lower case: :-) ;d
    | [.!?]+                                           # ... !! ?!
    | [^\s] MARK                                       # any other character alone: # & each emoji
"""
_JOINER = "\u200d"


def tokenise(text: str) -> str:
    """A tweet with one space between its tokens.

    HTML entities are replaced (`&amp;` by `&`), and so are a written `\\n` (by a space) and a typographic apostrophe
    (by a plain one). Letters become lower case, and three or more of one character become two (`soooo`, `!!!!`). Tokens
    are words, numbers, addresses, mentions, emoticons, runs of full stops, exclamation and question marks, and every
    other character (a hashtag's `#`, each emoji). Combining marks and joiners between letters stay in their word;
    joiners and variation selectors between emoji are left out.
    """
    text = html.unescape(text).replace("\\n", " ").replace("\u2019", "'").lower()
    text = text.replace("\ufe0e", "").replace("\ufe0f", "")
    marks = "".join(sorted(filter(_is_mark, set(text)))) if not text.isascii() else ""
    if _JOINER in text:
        text = _separated(text)
    return " ".join(_tokens(marks).findall(_REPEATED.sub(r"\1\1", text)))


def _separated(text: str) -> str:
    """The text with a space for each joiner that does not stand between letters or marks: those between emoji."""

    def joins(position: int) -> bool:
        around = text[max(0, position - 1) : position], text[position + 1 : position + 2]
        return all(character.isalpha() or (character and _is_mark(character)) for character in around)

    return "".join(" " if character == _JOINER and not joins(i) else character for i, character in enumerate(text))


@lru_cache(maxsize=4096)
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"


@lru_cache(maxsize=256)
def _tokens(marks: str) -> re.Pattern[str]:
    """The pattern of tokens in a text that has these marks."""
    return re.compile(_TOKEN.replace("MARK", f"[{re.escape(marks)}]*" if marks else ""), re.VERBOSE)
