"""Tweets as tokens: words, emoticons, emoji, hashtags and punctuation."""

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
    | [^\s]                                 # any other character alone: # & each emoji
    """,
    re.VERBOSE,
)


def tokenize_tweet(text: str) -> str:
    """A tweet with one space between its tokens.

    HTML entities are replaced (`&amp;` by `&`), and so are a written `\\n` (by a space) and a typographic apostrophe
    (by a plain one). Letters become lower case, and three or more of one character become two (`soooo`, `!!!!`). Tokens
    are words, numbers, addresses, mentions, emoticons, runs of full stops, exclamation and question marks, and every
    other character (a hashtag's `#`, each emoji). Joiners and variation selectors between emoji are left out.
    """
    text = html.unescape(text).replace("\\n", " ").replace("\u2019", "'").lower()
    text = text.replace("\ufe0f", "").replace("\u200d", " ")
    return " ".join(_TOKEN.findall(_REPEATED.sub(r"\1\1", text)))
