"""Words and punctuation apart, and put together again as they were.

A token that stood right behind the one before it, with no space in between, begins with a mark. So nothing is lost but
the kind and number of spaces, and no rule of any language is needed to put a sentence together.

    "A man's hat, red."   ->   A man ￭'s hat ￭, red ￭.
"""

from __future__ import annotations

import re

MARK = "￭"
_STAND_IN = "■"
_TOKEN = re.compile(r"(\s*)(\w+(?:-\w+)*|'\w+|[^\w\s])", re.UNICODE)


def split(text: str) -> list[str]:
    """The tokens of a text. The mark itself, should the text have it, is read as a black square."""
    text = text.strip().replace(MARK, _STAND_IN)
    found = [(bool(space), token) for space, token in _TOKEN.findall(text)]
    return [token if space or number == 0 else MARK + token for number, (space, token) in enumerate(found)]


def join(text: str) -> str:
    """Tokens with spaces in between, to the text that they are of. A text without marks stays as it is."""
    return re.sub(rf"(?:^|\s+){MARK}", "", text)
