"""What is stored comes back as the fields encoded it, row by row, from read-only maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqkit.data.store import prepare
from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values, Vectors
from seqkit.types import Example, Field
from tests.helpers.reviews import REVIEWS, task


def test_every_example_comes_back_as_its_fields_encode_it(tmp_path: Path) -> None:
    prepared = prepare(task(), key={}, cache=tmp_path)
    for name, rows in REVIEWS.items():
        split = prepared.splits[name]
        assert split.name == name
        assert len(split) == len(split.x) == len(split.ids) == len(split.origin) == len(rows)
        assert split.y is not None
        assert split.y.offsets is None
        assert list(split.ids) == [f"{name}.tsv:{i}" for i in range(1, len(rows) + 1)]
        assert split.origin.tolist() == list(range(len(rows)))
        for i, (x, y) in enumerate(rows):
            assert np.array_equal(split.x[i], prepared.input.encode(x))
            assert split.x[i].dtype == prepared.input.encode(x).dtype
            assert prepared.target.decode(split.y[i]) == y
        assert split.x.lengths.tolist() == [len(x.split()) for x, _ in rows]
        assert split.x.lengths.dtype == np.int64


FIELDS: dict[str, tuple[Field, Field, list[tuple[Any, Any]]]] = {
    "label": (Tokens(), Label(), [("a b c", "x"), ("b", "y")]),
    "labels": (Tokens("characters"), Labels(), [("abc", ["x", "y"]), ("b", [])]),
    "tags": (Tokens(), Tags(), [("a b c", ["O", "B-X", "I-X"]), ("b", ["O"])]),
    "text": (Tokens("bytes"), Text(), [("abc", "hello"), ("b", "o")]),
    "number": (Vectors(2), Values(), [([[1.0, 2.0], [3.0, 4.0]], 1.5), ([[0.0, 1.0]], -2.0)]),
    "numbers": (Vectors(1, standardise=True), Values(3), [([[1.0], [3.0]], [1, 2, 3]), ([[5.0]], [4, 5, 7])]),
    "next": (Tokens("characters"), Next(), [("abc", None), ("b", None)]),
    "a fixed input": (Label(), Label(), [("a", "x"), ("b", "y")]),
}


@pytest.mark.parametrize("name", FIELDS)
def test_all_kinds_of_fields(name: str, tmp_path: Path) -> None:
    input, target, rows = FIELDS[name]
    for reused in (False, True):
        prepared = prepare(task({"train": rows}, input=input, target=target), key={}, cache=tmp_path)
        assert prepared.reused == reused
        split = prepared.splits["train"]
        for i, (x, y) in enumerate(rows):
            expected = prepared.input.encode(x)
            assert np.array_equal(split.x[i], expected)
            assert split.x[i].dtype == expected.dtype
            if target.derived:
                assert split.y is None
                assert prepared.target.size == prepared.input.size
            else:
                assert split.y is not None
                assert np.array_equal(split.y[i], prepared.target.encode(y))
                assert split.y[i].dtype == prepared.target.encode(y).dtype
                assert (split.y.offsets is not None) == target.ragged
        assert split.x.lengths.tolist() == [len(prepared.input.encode(x)) if input.ragged else 1 for x, _ in rows]
        assert prepared.input == input.fit([x for x, _ in rows])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.sampled_from("abc"), st.text(max_size=5)), min_size=1))
def test_any_text_any_ids(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    examples = [Example(*row) for row in rows]
    made = replace(task({"train": []}), read=lambda split: examples, input=Tokens("characters"))
    prepared = prepare(made, key={}, cache=tmp_path)
    split = prepared.splits["train"]
    assert split.y is not None
    for i, example in enumerate(examples):
        assert prepared.input.decode(split.x[i]) == prepared.input.canonical(example.input)
        assert prepared.target.decode(split.y[i]) == example.target
        assert split.ids[i] == example.id
    assert split.ids[:] == [example.id for example in examples]


def test_columns_are_sequences(tmp_path: Path) -> None:
    split = prepare(task(), key={}, cache=tmp_path).splits["train"]
    assert np.array_equal(split.x[-1], split.x[2])
    assert split.ids[-1] == "train.tsv:3"
    assert split.ids[1:] == ["train.tsv:2", "train.tsv:3"]
    for outside in (3, -4):
        with pytest.raises(IndexError):
            split.x[outside]
        with pytest.raises(IndexError):
            split.ids[outside]


def test_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    split = prepare(task(), key={}, cache=tmp_path).splits["train"]
    assert isinstance(split.x.data.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.x.data[0] = 1
