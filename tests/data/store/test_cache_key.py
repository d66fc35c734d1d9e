"""Keys of the cache: what decides the numbers changes the key, nothing else does."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqkit
from seqkit.data.store import prepare
from seqkit.data.store.cache_key import ENCODING, hash_into, import_statements, source_hash
from seqkit.fields import Labels, Tags, Text, Tokens, Values
from seqkit.types import Example, Limit
from tests.helpers.reviews import REVIEWS, task


@pytest.mark.parametrize(
    "change",
    [
        lambda made, path: (made, {"a": 2}),
        lambda made, path: (replace(made, input=Tokens(lower=True)), {"a": 1}),
        lambda made, path: (replace(made, input=Tokens("characters")), {"a": 1}),
        lambda made, path: (replace(made, target=Tags(), input=Tokens()), {"a": 1}),
        lambda made, path: (replace(made, limit=Limit(3)), {"a": 1}),
        lambda made, path: (replace(made, limit=Limit(3, "tail")), {"a": 1}),
        lambda made, path: (replace(made, bad_inputs="quarantine"), {"a": 1}),
        lambda made, path: (path.write_text("b\t1\n") and made, {"a": 1}),
    ],
    ids=["options", "field option", "unit", "target", "limit", "truncation", "bad inputs", "data"],
)
def test_what_changes_the_data_changes_the_key(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("a\t1\n")

    def read(split: str) -> Iterator[Example]:
        yield Example("a", ["1"], "train.tsv:1")

    made = replace(task({"train": []}), read=read, target=Labels(), files=lambda split: [path])
    first = prepare(made, key={"a": 1}, cache=tmp_path)
    changed, key = change(made, path)
    second = prepare(changed, key=key, cache=tmp_path)
    assert not second.reused
    assert second.folder != first.folder


@pytest.mark.parametrize("name", ["STORE_FORMAT", "__version__"])
def test_another_version_is_another_key(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(task(), key={}, cache=tmp_path)
    monkeypatch.setattr(f"seqkit.data.store.cache_key.{name}", 999)
    assert not prepare(task(), key={}, cache=tmp_path).reused


ENCODES = [
    "spans.py",
    "types.py",
    "readers/tables.py",
    "layers/pretrained_vectors.py",
    "fields/vocabulary.py",
    "fields/tokenizers.py",
    "data/store/encode.py",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's source."""
    root = tmp_path_factory.mktemp("source")
    shutil.copytree(Path(seqkit.__file__).parent, root / "seqkit", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize("file", ENCODES)
def test_an_edit_of_what_decides_how_examples_become_numbers_is_another_key(file: str, source: Path) -> None:
    before = source_hash(source, ENCODING)
    edited = source / "seqkit" / file
    text = edited.read_text()
    edited.write_text(text + "# edited\n")
    assert source_hash(source, ENCODING) != before
    edited.write_text(text)
    assert source_hash(source, ENCODING) == before


def test_an_edit_of_the_training_loop_keeps_the_key(source: Path) -> None:
    before = source_hash(source, ENCODING)
    (source / "seqkit" / "training" / "loop.py").write_text("")
    assert source_hash(source, ENCODING) == before


def test_imports_are_those_that_python_sees() -> None:
    """Statements are looked for in the text: in every module they are those of its syntax tree."""
    count = 0
    for path in Path(seqkit.__file__).parent.rglob("*.py"):
        text = path.read_text("utf-8")
        nodes = [node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
        expected = [ast.unparse(node) for node in nodes if str(node.module).partition(".")[0] == "seqkit"]
        assert [ast.unparse(node) for node in import_statements(text)] == expected, path
        count += len(expected)
    assert count > 1000


def test_a_module_whose_source_is_missing_is_an_error(source: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the source of seqkit\.no_such, which cache keys depend on"):
        source_hash(source, ["seqkit.no_such"])


def test_without_files_the_examples_are_the_key(tmp_path: Path) -> None:
    first = prepare(task(), key={}, cache=tmp_path)
    assert prepare(task(), key={}, cache=tmp_path).reused
    for changed in (
        REVIEWS | {"dev": [("a good film", "0"), ("a dull film", "0")]},
        REVIEWS | {"dev": [("a good film ", "1"), ("a dull film", "0")]},
        REVIEWS | {"dev": REVIEWS["dev"][::-1]},
        REVIEWS | {"dev": REVIEWS["dev"] * 2},
    ):
        other = prepare(task(changed), key={}, cache=tmp_path)
        assert not other.reused
        assert other.folder != first.folder


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_different_values_have_different_hashes(left: Any, right: Any) -> None:
    same = repr(left) == repr(right) or (isinstance(left, dict) and left == right and repr(left) == repr(right))
    if not same and _canonical(left) != _canonical(right):
        assert digest(left) != digest(right)
    assert digest(left) == digest(json.loads(json.dumps(left)) if _is_json(left) else left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["ab"], ["a", "b"]),
        (["a", ""], ["", "a"]),
        ([[], [1]], [[1], []]),
        ([["a"], "b"], [["a", "b"]]),
        (1, True),
        (1, "1"),
        (1, 1.0),
        ("a", b"a"),
        (np.zeros(2, np.float32), np.zeros(2, np.float64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.int64(1), np.int32(1)),
        (None, "None"),
        (Path("a"), "a"),
        (Limit(3), Limit(3, "tail")),
        (Tokens(), Text("words")),
        (Tokens(), Tokens(drop=0.1)),
        (Tokens().fit(["a"]), Tokens().fit(["b"])),
        (Values(), Values(1)),
        (len, sum),
        (str.split, str.strip),
        (partial(int, base=2), partial(int, base=3)),
        ({"a", "b"}, {"a", "c"}),
        (lambda x: x + 1, lambda x: x * 1),
    ],
)
def test_values_that_look_alike_have_different_hashes(left: Any, right: Any) -> None:
    assert digest(left) != digest(right)
    assert digest(left) == digest(left)


def test_using_a_field_does_not_change_its_hash() -> None:
    field = Tokens("characters").fit(["abc"])
    before = digest(field)
    field.encode("abc")
    assert digest(field) == before == digest(Tokens("characters").restore(field.state()))


def digest(value: Any) -> str:
    hashed = hashlib.blake2b()
    hash_into(hashed, value)
    return hashed.hexdigest()


def _canonical(value: Any) -> str:
    return repr(sorted(value.items(), key=repr)) if isinstance(value, dict) else repr(value)


def _is_json(value: Any) -> bool:
    try:
        return repr(json.loads(json.dumps(value))) == repr(value)
    except TypeError:
        return False
