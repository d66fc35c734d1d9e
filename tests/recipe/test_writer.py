"""What is written out reads back equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqkit.recipe.parser import compose, decode, is_plain_word
from seqkit.recipe.writer import emit, to_plain
from seqkit.types import Choice
from tests.recipe.test_parser import locate, plain

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.sampled_from(
        ["no", "null", "~", "1", "1e3", "<<", "a: b", "- x", "#", "x #", " ", "é", "\u2028", "😀", "%a", "\ufeff"]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4))
def test_reads_back_equal(value: dict[str, Any]) -> None:
    node, issues = compose(decode(emit(value).encode(), locate), locate)
    assert not issues
    assert plain(node) == value
    assert repr(plain(node)) == repr(value)  # 1 is not 1.0, and not True


@given(st.text(alphabet="abNnulTtrueEfas_-./+~1", max_size=8))
def test_what_is_left_without_quotes_is_text(text: str) -> None:
    if is_plain_word(text):
        node, _ = compose(f"k: {text}", locate)
        assert plain(node) == {"k": text}


def test_the_nouns_become_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    value = {"c": Choice("adamw", {"lr": 1.0, "path": Path("x")}), "t": (1, (2, 3))}
    assert to_plain(value) == {"c": {"use": "adamw", "lr": 1.0, "path": str(tmp_path / "x")}, "t": [1, [2, 3]]}


def test_what_cannot_be_said() -> None:
    with pytest.raises(TypeError, match="set cannot be written"):
        emit({"a": {1}})
