"""Tweets as words: what a tweet says with signs, kept as signs."""

from __future__ import annotations

import html
import re

_REPEATED = re.compile(r"(.)\1{2,}")
_TOKEN = re.compile(
    r"""
      https?://\S+                          # addresses
    | @\w+                                  # mentions
    | [^\W\d_]+ (?: ' [^\W\d_]+ )*          # words, with what an apostrophe joins: don't
    | \d+
    | [:;=] [-o']? [()\[\]/\\|*3dp] (?!\w)  # emoticons, lower case: :-) ;d
    | [.!?]+                                # ... !! ?!
    | [^\s]                                 # any other sign alone: # & each emoji
    """,
    re.VERBOSE,
)


def tokenise(text: str) -> str:
    """A tweet with one space between its tokens.

    HTML entities become what they stand for (`&amp;` is `&`), a written `\\n` a space, a typographic apostrophe a
    plain one; letters become lower case; three or more of one sign become two (`soooo`, `!!!!`). Then words, numbers,
    addresses, mentions, emoticons, runs of full stops, exclamation and question marks, and every other sign (a
    hashtag's `#`, each emoji) stand alone. Joiners and variation selectors between emoji are left out.
    """
    text = html.unescape(text).replace("\\n", " ").replace("\u2019", "'").lower()
    text = text.replace("\ufe0f", "").replace("\u200d", " ")
    return " ".join(_TOKEN.findall(_REPEATED.sub(r"\1\1", text)))
