"""Vocabularies: stable order, special ids that no text can have, fast look-up of characters."""

from __future__ import annotations

import json
import random
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.fields.vocabulary import SPECIALS, Vocabulary, code_points, smallest_unsigned
from seqkit.types import END, PAD, START, UNKNOWN

SYMBOLS = st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=30)


def test_the_special_ids() -> None:
    vocabulary = Vocabulary(("a",))
    assert (PAD, UNKNOWN, START, END) == (0, 1, 2, 3)
    assert vocabulary.names(range(5)) == ["<pad>", "<unk>", "<s>", "</s>", "a"]
    assert len(vocabulary) == 5


def test_a_text_that_spells_a_special_symbol_does_not_get_its_id() -> None:
    vocabulary = Vocabulary.from_counts(Counter(["<s>", "<pad>", "x"]))
    assert vocabulary.index("<s>") >= len(SPECIALS)
    assert vocabulary.index("<pad>") >= len(SPECIALS)
    assert vocabulary.index("</s>") == UNKNOWN
    assert vocabulary[vocabulary.index("<s>")] == "<s>"


def test_order_is_by_count_and_then_by_code_point() -> None:
    counts = Counter({"b": 2, "a": 2, "z": 9, "é": 2, "Z": 2, "once": 1})
    assert Vocabulary.from_counts(counts).symbols == ("z", "Z", "a", "b", "é", "once")
    assert Vocabulary.from_counts(counts, min_count=2).symbols == ("z", "Z", "a", "b", "é")
    assert Vocabulary.from_counts(counts, max_size=2).symbols == ("z", "Z")
    assert len(Vocabulary.from_counts(counts, max_size=2)) == 6


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.integers(1, 5)), st.randoms())
def test_order_does_not_depend_on_the_order_of_counting(counts: dict[str, int], rng: random.Random) -> None:
    items = list(counts.items())
    rng.shuffle(items)
    assert Vocabulary.from_counts(dict(items)) == Vocabulary.from_counts(counts)


def test_labels_are_in_reading_order() -> None:
    assert Vocabulary.of_labels(["b", "a", "b"]).symbols == ("a", "b")
    assert Vocabulary.of_labels(["10", "9", "1"]).symbols == ("1", "9", "10")
    assert Vocabulary.of_labels(["10", "9", "x"]).symbols == ("10", "9", "x")
    assert Vocabulary.of_labels(["01", "1"]).symbols == ("01", "1")
    assert Vocabulary.of_labels(["a"]).index("a") == 0


def test_an_unseen_label_is_an_error_that_names_the_known_ones() -> None:
    labels = Vocabulary.of_labels(["positive", "negative"])
    with pytest.raises(
        ValueError, match=r"^label 'positiv' was not seen in training; known labels: negative, positive; did"
    ):
        labels.index("positiv")
    with pytest.raises(ValueError, match="label 'x' was not seen"):
        labels.lookup(["positive", "x"])
    many = Vocabulary.of_labels(str(i) for i in range(50))
    with pytest.raises(ValueError, match=r"18, 19 and 30 more$"):
        many.index("zzzzzz")
    with pytest.raises(TypeError):
        labels.lookup_characters("a")
    assert labels.unknown is None
    assert "positive" in labels
    assert "x" not in labels


def test_a_symbol_twice_and_an_id_too_many() -> None:
    with pytest.raises(ValueError, match="twice"):
        Vocabulary(("a", "a"))
    for outside in (-1, 6):
        with pytest.raises(IndexError):
            Vocabulary(("a", "b"))[outside]


@settings(deadline=None)
@given(SYMBOLS, st.lists(st.text(min_size=1, max_size=3)))
def test_many_symbols_at_once_are_the_same_as_one_by_one(symbols: list[str], text: list[str]) -> None:
    vocabulary = Vocabulary(tuple(symbols))
    text += symbols
    ids = vocabulary.lookup(text)
    assert ids.tolist() == [vocabulary.index(symbol) for symbol in text]
    assert ids.dtype == vocabulary.dtype
    known = [symbol for symbol in text if symbol in vocabulary]
    assert vocabulary.names(vocabulary.lookup(known)) == known


@settings(deadline=None)
@given(SYMBOLS, st.text())
def test_the_table_of_characters_is_the_same_as_one_by_one(symbols: list[str], text: str) -> None:
    vocabulary = Vocabulary(tuple(symbols))
    text += "".join(symbols)
    ids = vocabulary.lookup_characters(text)
    assert ids.tolist() == [vocabulary.index(character) for character in text]
    assert ids.dtype == vocabulary.dtype


def test_characters_at_the_edges_of_unicode() -> None:
    vocabulary = Vocabulary(("\0", "a", "\U0010ffff"))
    assert vocabulary.lookup_characters("\0a\U0010ffff\ud800b").tolist() == [4, 5, 6, UNKNOWN, UNKNOWN]
    assert Vocabulary(()).lookup_characters("ab").tolist() == [UNKNOWN, UNKNOWN]
    assert vocabulary.lookup_characters("").tolist() == []
    assert code_points("a\ud800🎬").tolist() == [0x61, 0xD800, 0x1F3AC]


@settings(deadline=None)
@given(SYMBOLS, st.booleans())
def test_state_is_json_and_gives_the_same_vocabulary(symbols: list[str], specials: bool) -> None:
    vocabulary = Vocabulary(tuple(symbols), specials)
    again = Vocabulary.restore(json.loads(json.dumps(vocabulary.state())))
    assert again == vocabulary
    assert len(again) == len(vocabulary)


@pytest.mark.parametrize(
    ("size", "dtype"), [(0, "u1"), (1, "u1"), (256, "u1"), (257, "u2"), (65536, "u2"), (65537, "u4")]
)
def test_ids_have_the_smallest_possible_type(size: int, dtype: str) -> None:
    assert smallest_unsigned(size) == np.dtype(dtype)
    if 4 < size < 1000:
        largest = Vocabulary(tuple(str(i) for i in range(size - 4)))
        assert largest.dtype == np.dtype(dtype)
        assert largest.lookup([str(size - 5)]).tolist() == [size - 1]


def test_a_million_characters_take_milliseconds() -> None:
    text = "To be, or not to be: that is the question.\n" * 25_000
    vocabulary = Vocabulary.from_counts(Counter(text))
    vocabulary.lookup_characters("a")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        vocabulary.lookup_characters(text)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


@pytest.mark.parametrize("number", [-1, 3, 99])
def test_a_number_outside_of_the_vocabulary_has_no_name(number: int) -> None:
    labels = Vocabulary.of_labels(["a", "b", "c"])
    assert labels.names(np.array([2, 0], dtype=np.uint8)) == ["c", "a"]
    for numbers in ([0, number], np.array([0, number])):
        with pytest.raises(IndexError, match=f"id {number} is outside"):
            labels.names(numbers)
