"""Keeping secrets out of files and logs: credentials in URLs, tokens, passwords.

Run folders are shared, mailed and published, so none may hold a secret. Environment variables are written only if they
are on a list (`seqkit.runtime.environment`); text passes through `scrub`.
"""

from __future__ import annotations

import re

MASK = "***"

# `token`, `HF_TOKEN`, `client-secret`, `apiKey`; but not `tokens`, which this project counts.
_SECRET_WORD = (
    r"(?:[a-z0-9]+[_-])*(?:token|secrets?|passwd|passwords?|passphrase|api[_-]?keys?|access[_-]?key(?:[_-]?id)?"
    r"|secret[_-]?access[_-]?key|auth|credentials?|private[_-]?key)"
)

# `https://user:secret@host`, `https://token@host`: everything between the scheme and the last @ of the authority.
_USER = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://)(?P<user>[^/\s\"'<>?#]{1,2000})@", re.IGNORECASE)

# `?token=...`, `&sig=...` within a URL.
_QUERY = re.compile(
    rf"(?P<name>[?&;](?:{_SECRET_WORD}|(?:[a-z0-9]+[_-])*(?:sig|signature|key|code|jwt))=)(?P<value>[^&;\s\"'<>#]+)",
    re.IGNORECASE,
)

# Secrets that can be recognised by their form alone.
_KNOWN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{16}"
    r"|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)

# `Authorization: Bearer ...`, `password=...`, `"api_key": "..."` in running text.
_HEADER = re.compile(r"(?P<name>\b(?:bearer|basic)\s+)(?P<value>[A-Za-z0-9+/=._~-]{8,})", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"(?P<name>(?<![a-z0-9_])[\"']?{_SECRET_WORD}[\"']?\s*[=:]\s*)"
    r"(?!\*\*\*)(?P<value>\"[^\"\n]+\"|'[^'\n]+'|[^\s\"',;&}]{6,})",
    re.IGNORECASE,
)


def scrub_urls(text: str) -> str:
    """The text with credentials in URLs and recognisable tokens masked; everything else stays as it is."""
    text = _USER.sub(rf"\g<scheme>{MASK}@", text)
    text = _QUERY.sub(rf"\g<name>{MASK}", text)
    return _KNOWN.sub(MASK, text)


def scrub(text: str) -> str:
    """The text with everything masked that looks like a secret: for logs, where a word too many may be masked."""
    text = scrub_urls(text)
    text = _HEADER.sub(rf"\g<name>{MASK}", text)
    return _ASSIGNED.sub(rf"\g<name>{MASK}", text)
