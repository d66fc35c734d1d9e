"""Secrets are masked where they show, and nothing else is touched."""

from __future__ import annotations

import pytest

from seqkit.io.redact import scrub, scrub_urls


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pa55@host/x", "https://***@host/x"),
        ("git+ssh://tok@host:22/x", "git+ssh://***@host:22/x"),
        ("https://a:b:c@d@host/x?y=1", "https://***@host/x?y=1"),
        ("HTTPS://U:P@HOST", "HTTPS://***@HOST"),
        ("https://h/x?a=1&token=abc&b=2", "https://h/x?a=1&token=***&b=2"),
        ("https://h/x?X-Amz-Signature=ff&sig=1", "https://h/x?X-Amz-Signature=***&sig=***"),
        ("https://h/x?api_key=1#top", "https://h/x?api_key=***#top"),
        ("use hf_abcdefghijklmnopqrstuvwx now", "use *** now"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
    ],
)
def test_urls_and_known_tokens(text: str, masked: str) -> None:
    assert scrub_urls(text) == masked
    assert scrub(text) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer ***"),
        ("password=hunter2", "password=***"),
        ("'api_key': 'a b, c', x", "'api_key': ***, x"),
        ('{"clientSecret": "abcdefg"}', '{"clientSecret": "abcdefg"}'),
        ('{"client_secret": "abcdefg", "n": 1}', '{"client_secret": ***, "n": 1}'),
        ("HF_TOKEN=abcdefgh rest", "HF_TOKEN=*** rest"),
        ("aws_secret_access_key = abcdefgh", "aws_secret_access_key = ***"),
    ],
)
def test_assignments_in_logs(text: str, masked: str) -> None:
    assert scrub(text) == masked
    assert scrub_urls(text) == text, "a recipe keeps its words"


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 1200300, 12 tokens/s, unk_token=<unk>, author: somebody, https://github.com/a/b#c@d",
        "https://host/a@b?x=1",
        "mailto: a@b.org, monkey=1234567, key: value123",
        "step 12  charlm/dev/nats 1.2345",
        "lr=0.001, secretary: Mrs Smithson",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert scrub(text) == text


def test_long_hostile_text_is_quick() -> None:
    import time

    for text in ("a" * 200_000, "https://" + "a" * 200_000, "token=" * 30_000, "a_" * 100_000, "://" * 60_000):
        before = time.perf_counter()
        scrub(text)
        assert time.perf_counter() - before < 2.0
