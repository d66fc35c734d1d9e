"""Labels are numbered in a fixed order; several labels are zeros and ones; the next symbol is one of the input."""

from __future__ import annotations

import numpy as np
import pytest

from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Vectors


def test_labels_are_numbered_in_reading_order() -> None:
    field = Label().fit(["b", "a", "c", "a"])
    assert field.labels == ["a", "b", "c"]
    assert field.encode("b").dtype == np.int64
    assert field.encode("b").shape == ()
    assert field.decode(np.array(2)) == "c"
    assert field.size == 3


def test_no_label_at_all() -> None:
    for field in (Label(), Labels(), Tags()):
        with pytest.raises(ValueError, match="no label at all"):
            field.fit([])


def test_several_labels_are_zeros_and_ones() -> None:
    field = Labels().fit([["b"], ["a", "c"]])
    assert field.encode(["c", "a"]).tolist() == [1.0, 0.0, 1.0]
    assert field.encode([]).tolist() == [0.0, 0.0, 0.0]
    assert field.decode(np.array([0.2, 0.9, 0.51])) == ["b", "c"]


def test_there_are_as_many_tags_as_labels() -> None:
    field = Tags().fit([["O", "B-PER"]])
    assert field.encode(["O", "O", "B-PER"]).tolist() == [1, 1, 0]
    assert field.aligned
    assert not Text.aligned


def test_the_next_symbol_is_a_symbol_of_its_source() -> None:
    source = Tokens("characters").fit(["ab"])
    field = Next().of(source)
    assert Next.derived
    assert field.size == source.size
    assert field.vocabulary == source.vocabulary
    assert field.decode(np.array([4, 5])) == "ab"
    assert Next().restore(field.state()).of(source) == field
    with pytest.raises(RuntimeError, match="needs its input field first"):
        _ = Next().size
    with pytest.raises(TypeError, match="no vocabulary"):
        _ = Next().of(Vectors(2)).vocabulary
