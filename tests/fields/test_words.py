"""`Words`: rows, shapes, unknown words, and the words of a file of vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqkit.errors import DataError
from seqkit.fields import Words
from seqkit.fields.words import COLUMNS, FIRST_WORD, SHAPES, shape_of, shorten
from seqkit.reading import collect_reports
from tests.helpers.word_vectors import TEXTS, write_vectors


def rows(field: Words, text: str | list[str]) -> list[int]:
    """The numbers of the words."""
    return [int(number) for number in field.encode(text)[:, 0]]


# The field


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("cat", "lower"),
        ("l'été", "lower"),
        ("p53", "lower"),
        ("Paris", "initial"),
        ("A", "initial"),
        ("O'brien", "initial"),
        ("Élan", "initial"),
        ("NATO", "caps"),
        ("U.S.", "caps"),
        ("BRCA1", "caps"),
        ("1998", "digits"),
        ("3.14", "digits"),
        ("-", "other"),
        ("...", "other"),
        ("iPod", "other"),
        ("McDonald", "other"),
        ("@Paris", "other"),
    ],
)
def test_shapes(word: str, shape: str) -> None:
    assert shape_of(word) == shape


def test_a_row_is_the_word_the_unknown_word_of_its_shape_and_the_characters() -> None:
    field = Words().fit(TEXTS)
    array = field.encode("cat NATO")
    assert array.shape == (2, COLUMNS + 5)
    assert array[0, 0] == rows(field, "cat")[0] >= FIRST_WORD
    assert array[0, 1] == 1 + SHAPES.index("lower")
    assert array[1, 1] == 1 + SHAPES.index("caps")
    assert not array[0, COLUMNS + 3 :].any()
    assert (array[0, COLUMNS : COLUMNS + 3] > 0).all()
    assert field.encode("cat").dtype == array.dtype == np.uint8
    # The a of cat, sat and named is one character.
    assert array[0, COLUMNS + 1] == field.encode("sat")[0, COLUMNS + 1]


def test_unknown_words_are_read_by_their_shape() -> None:
    field = Words().fit(TEXTS)
    unknown = field.encode("bird London WHO 2025 % iMac")
    assert unknown[:, 0].tolist() == [
        1 + SHAPES.index(s) for s in ("lower", "initial", "caps", "digits", "other", "other")
    ]
    assert field.count_unknown(unknown) == 6
    assert field.count_unknown(field.encode("the bird saw Paris")) == 1
    assert field.unknown is not None


def test_a_word_unknown_as_spelled_is_read_in_lower_case() -> None:
    field = Words().fit(TEXTS)
    assert rows(field, "CAT Cat") == rows(field, "cat cat")
    assert rows(field, "paris") != rows(field, "Paris")
    assert field.count_unknown(field.encode("CAT")) == 0


def test_case_and_digits_by_choice() -> None:
    cased, folded = Words().fit(TEXTS), Words(lower=True, digits=True).fit(TEXTS)
    assert rows(cased, "The")[0] != rows(cased, "the")[0]
    assert rows(folded, "The 1998 BRCA1") == rows(folded, "the 2025 brca9")
    assert folded.encode("The")[0, 1] != folded.encode("the")[0, 1]
    assert (folded.encode("The")[0, COLUMNS:] != folded.encode("the")[0, COLUMNS:]).any()


def test_rare_words_are_unknown() -> None:
    field = Words(min_count=2).fit(TEXTS)
    assert field.count_unknown(field.encode("dog cat")) == 1
    assert field.decode(field.encode("saw sat cat")) == "saw sat cat"


def test_characters_seen_once_or_never_are_unknown() -> None:
    field = Words().fit(["aab aab", "z aa"])
    letters = field.encode("abzq")[0, COLUMNS:]
    assert letters[2] == 1
    assert 1 not in letters[:2].tolist()


def test_long_words_keep_both_ends_and_are_whole_as_words() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcefg"
    assert shorten("abcdefg", 5) == "abcfg"
    assert shorten("abc", 1) == "a"
    field = Words(max_word=4).fit(["abcdefgh abXdefgh abgh", "abcdefgh abXdefgh abgh"])
    assert field.encode("abcdefgh").shape == (1, COLUMNS + 4)
    long, other, short = field.encode("abcdefgh abXdefgh abgh")
    assert long[COLUMNS:].tolist() == other[COLUMNS:].tolist() == short[COLUMNS:].tolist()
    assert len({int(row[0]) for row in (long, other, short)}) == 3
    assert field.decode(np.stack([long, short])) == "abcdefgh abgh"


def test_width_is_that_of_the_longest_word_of_training() -> None:
    field = Words(max_word=24).fit(["a bb ccc"])
    assert field.encode("a").shape == (1, COLUMNS + 3)
    assert field.encode("dddddddd").shape == (1, COLUMNS + 3)
    assert Words(characters="none").fit(["a bb"]).encode("a").shape == (1, COLUMNS)


def test_text_and_lists_of_words() -> None:
    field = Words().fit([["the cat", "sat"], ["the cat"]])
    assert len(field.encode(["the cat"])) == 1
    assert len(field.encode("the cat")) == 2
    assert field.parse("the cat") == "the cat"
    for value, message in [
        ("", "is empty"),
        ("  ", "is empty"),
        ([], "is empty"),
        (["a", ""], "word 2 is empty"),
        (["a", None], "word 2 should be text"),
        (None, "is missing"),
        (7, "should be text or words"),
    ]:
        with pytest.raises(ValueError, match=message):
            field.encode(value)
        with pytest.raises(ValueError, match=message):
            Words().fit([value])


@given(st.lists(st.text(st.sampled_from("abcXYZ019.-é"), min_size=1, max_size=8), min_size=1, max_size=8))
def test_decoding_gives_words_of_any_kind(words: list[str]) -> None:
    assert FITTED.decode(FITTED.encode(words)) == " ".join(words)


FITTED = Words(lower=True, digits=True).fit(["abcXYZ019.-é " * 3, "word"])


@pytest.mark.parametrize("options", [{}, {"lower": True}, {"characters": "none"}, {"digits": True, "max_word": 3}])
def test_the_state_is_json_and_restores(options: dict[str, Any]) -> None:
    field = Words(**options).fit(TEXTS)
    again = Words(**options).restore(json.loads(json.dumps(field.state())))
    assert again == field
    assert np.array_equal(again.encode(TEXTS[2]), field.encode(TEXTS[2]))
    assert Words(**options).state() is None
    assert Words(**options).restore(None) == Words(**options)


def test_the_order_of_the_data_does_not_matter() -> None:
    assert Words().fit(TEXTS) == Words().fit(TEXTS[::-1])


def test_before_fitting() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        Words().encode("a")


# Features


SENTENCES = [[("The", "DT", "x"), ("dog", "NN", "x")], [("a", "DT", "y"), ("cat", "NN", "x")], [("Go", "VB", "x")]]


@pytest.mark.parametrize("characters", ["none", "conv"])
def test_features_come_after_the_words_and_what_training_has_once_is_unknown(characters: Any) -> None:
    field = Words(features=2, characters=characters).fit(SENTENCES)
    plain = Words(characters=characters).fit([[word for word, *_ in steps] for steps in SENTENCES])
    value = [["dog", "DT", "x"], ["Go", "NN", "y"], ["new", "VB", ""]]
    encoded, words = field.encode(value), plain.encode([word for word, *_ in value])
    assert encoded[:, COLUMNS : COLUMNS + 2].tolist() == [[2, 2], [3, 1], [1, 1]]
    assert [field.count_unknown(encoded[step : step + 1]) for step in range(3)] == [0, 1, 1]
    assert np.array_equal(np.delete(encoded, [COLUMNS, COLUMNS + 1], axis=1), words)
    assert field.decode(encoded) == plain.decode(words) or characters == "conv"
    assert field.decode(field.encode(SENTENCES[0])) == plain.decode(plain.encode("The dog"))
    again = Words(features=2, characters=characters).restore(json.loads(json.dumps(field.state())))
    assert again == field
    assert np.array_equal(again.encode(value), encoded)
    assert field.fit(SENTENCES[::-1]) == field
    sample = field.sample(np.random.default_rng(0), 50)
    assert sample.shape[1:] == encoded.shape[1:]
    assert {tuple(row) for row in sample[:, COLUMNS : COLUMNS + 2].tolist()} == {
        (a, b) for a in (1, 2, 3) for b in (1, 2)
    }


def test_pieces_with_features_are_the_rows_of_the_whole() -> None:
    field = Words(features=2).fit(SENTENCES)
    rows = [field.feed([step])[0] for step in SENTENCES[0]]
    assert np.array_equal(np.concatenate(rows), field.encode(SENTENCES[0]))  # type: ignore[arg-type]


def test_features_are_read_in_the_form_of_words() -> None:
    field = Words(features=1).fit([[("e\u0301", "e\u0301")] * 2])
    assert field.encode([("\u00e9", "\u00e9")]).tolist() == field.encode([["e\u0301", "e\u0301"]]).tolist()
    assert field.encode([("\u00e9", "\u00e9")])[0, COLUMNS] == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("The dog", r"word 1, 'The', comes without features; give \[word, feature, feature\] for each word"),
        ([("The", "DT", "x"), "dog"], "word 2, 'dog', comes without features"),
        ([("The", "DT")], r"word 1 should be \[word, feature, feature\], all of them text, but is \('The', 'DT'\)"),
        ([("The", "DT", 1)], "word 1 should be"),
        ([("", "DT", "x")], "word 1 is empty"),
        ([], "is empty"),
    ],
)
def test_words_without_their_features_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Words(features=2).fit(SENTENCES).encode(value)


# Vectors from a file


def test_a_missing_file_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.txt: there is no such file"):
        Words(vectors=tmp_path / "absent.txt").fit(TEXTS)


def test_how_many_words_of_the_file_are_known(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path)
    field = Words(vectors=vectors, max_vectors=4).fit(TEXTS)
    assert field.count_unknown(field.encode("lion")) == 1
    assert Words(vectors=vectors, max_vectors=4).fit([*TEXTS, "lion"]).learned < len(field.words or ())


def test_how_many_of_the_running_words_are_known_is_told(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path)
    with collect_reports() as reading:
        Words(vectors=vectors).fit(["the cat cat dog", "the Paris zebra saw"])
    assert reading.remarks == [
        "3 of 6 different words, which are 62.5% of the running words, have a vector in vectors.txt; of its 5 words 3 "
        "others are known too"
    ]
