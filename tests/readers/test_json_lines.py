"""JSON Lines: values as written, or a located error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqkit import readers
from seqkit.types import Example
from tests.helpers.text_files import inputs, refusal, write


def test_jsonl(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b", "label": "1"}, {"text": ["x", "y"], "label": 2.5, "more": None}]
    raw = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path = write(tmp_path, raw, "train.jsonl")
    assert list(readers.jsonl(path)) == [
        Example("a\u2028b", "1", "train.jsonl:1"),
        Example(["x", "y"], 2.5, "train.jsonl:2"),
    ]
    assert [e.target for e in readers.jsonl(path, target=None)] == [None, None]


def test_jsonl_decodes_escapes(tmp_path: Path) -> None:
    path = write(tmp_path, rb'{"text": "\ud83c\udfac \u00e9", "label": "1"}' + b"\n")
    assert inputs(readers.jsonl(path)) == ["🎬 é"]


@pytest.mark.parametrize(
    ("line", "where", "reason"),
    [
        ('{"text": "a", "label": }', ":2:24", "is not JSON"),
        ('{"text": "a"}', ":2", "has no key 'label'; the keys are: text"),
        ('{"text": "a", "labels": "1"}', ":2", "has no key 'label'; did you mean 'labels'?"),
        ('["a", "1"]', ":2:1", "a list and not an object"),
        ("", ":2:1", "is not JSON"),
        ('{"text": "a", "text": "b", "label": "1"}', ":2", "'text' is given twice"),
        ('{"text": "a", "label": NaN}', ":2", "NaN is not JSON"),
        ('{"text": "a", "label": -Infinity}', ":2", "-Infinity is not JSON"),
        ('{"text": "a", "label": 1e999}', ":2", "too large"),
        (r'{"text": "\ud800", "label": "1"}', ":2", "half of a surrogate pair"),
        (r'{"text": {"a": ["\udfff"]}, "label": "1"}', ":2", "half of a surrogate pair"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", ":2", "too many digits"),
        ("[" * 100_000, ":2", "nested too deeply"),
        ('{"text": "a\tb", "label": "1"}', ":2:12", "Invalid control character"),
    ],
)
def test_jsonl_refuses(line: str, where: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'{{"text": "a", "label": "1"}}\n{line}\n'.encode())
    message = refusal(lambda: readers.jsonl(path))
    assert message.startswith(f"{path}{where}: ")
    assert reason in message
