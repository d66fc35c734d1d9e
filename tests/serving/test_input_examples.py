"""What the server says of inputs is true of the field: examples are read, and schemas tell widths."""

from __future__ import annotations

from seqkit.fields import Tokens, Vectors
from seqkit.serving.input_examples import examples_of, schema_of_examples

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
