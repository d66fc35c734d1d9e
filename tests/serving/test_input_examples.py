"""What the server says of inputs is true of the field: examples are read, and schemas tell widths."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqkit.fields import Tokens, Vectors
from seqkit.serving.input_examples import examples_of, schema_of_examples, texts_of_card

NUMBER = {"type": "number"}


def test_examples_of_vectors_are_read_and_their_schema_has_the_width_and_any_number_of_steps() -> None:
    examples = examples_of(Vectors(3))
    assert [len(example) for example in examples] == [12, 1, 2]
    assert all(Vectors(3).encode(example).shape == (len(example), 3) for example in examples)
    row = {"type": "array", "items": NUMBER, "minItems": 3, "maxItems": 3}
    assert schema_of_examples(examples) == {"type": "array", "items": row, "minItems": 1}


def test_lists_of_one_length_in_all_examples_have_to_have_it() -> None:
    whole = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
    assert schema_of_examples([[[1, 2]], [[3, 4]]]) == {"type": "array", "items": whole, "minItems": 1, "maxItems": 1}
    assert schema_of_examples([[1, 2.5], [3]]) == {"type": "array", "items": NUMBER, "minItems": 1}


def test_a_field_that_makes_none_has_no_example() -> None:
    assert examples_of(Tokens("words")) == []  # it is not fitted


@pytest.mark.parametrize("inside", ["", "model"])
def test_the_text_that_a_card_names_is_the_example(inside: str, tmp_path: Path) -> None:
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    card = (
        '---\ntags:\n- text: no\nwidget:\n- text: "a \\"good\\" film"\n  - text: plain\n- text: \'single\'\nmetrics:\n'
    )
    (folder / "README.md").write_text(f"{card}- text: no\n---\nwidget:\n- text: no\n")
    assert texts_of_card(tmp_path) == ['a "good" film', "plain", "single"]


@pytest.mark.parametrize(
    "card", [b"", b"# a card\nwidget:\n- text: no\n", b'---\nwidget:\n- text: "\\x"\n', b"\xff\xfe"]
)
def test_a_card_that_names_none_or_is_none_gives_none(card: bytes, tmp_path: Path) -> None:
    assert texts_of_card(tmp_path) == []
    (tmp_path / "README.md").write_bytes(card)
    assert texts_of_card(tmp_path) == []
