"""Texts as characters, words, bytes and pieces of words."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
import unicodedata
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.errors import MissingExtra
from seqkit.fields import Text, Tokens, tokenizers
from seqkit.fields.vocabulary import Vocabulary
from seqkit.types import END, PAD, START, UNKNOWN
from tests.helpers.sentences import CORPUS, UNITS


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", [Tokens, Text])
def test_anything_but_text_is_refused(kind: Any, unit: str) -> None:
    fitted = kind(unit, pieces=60).fit(CORPUS)
    for empty in ("", *(("  \n\u2028 ",) if unit in ("words", "pieces") else ())):
        with pytest.raises(ValueError, match=r"^is empty$"):
            fitted.encode(empty)
    with pytest.raises(ValueError, match=r"^should be text, but is missing$"):
        fitted.encode(None)
    with pytest.raises(ValueError, match=r"^should be text, but is a int$"):
        fitted.encode(3)


@pytest.mark.parametrize("unit", ["characters", "bytes", "pieces"])
def test_only_words_come_as_lists(unit: Any) -> None:
    with pytest.raises(ValueError, match="should be text, but is a list"):
        Tokens(unit, pieces=60).fit(CORPUS).encode(["the", "cat"])


def test_words_from_the_reader() -> None:
    field = Tokens().fit([["New York", "is"], ["is", "big"]])
    assert field.decode(field.encode(["is", "New York"])) == "is New York"
    assert field.encode(["is", "York"]).tolist() == [4, UNKNOWN]
    assert field.encode("is big").tolist() == [4, field.vocabulary.index("big")]
    for wrong, message in (([], "is empty"), (["a", ""], "word 2 is empty"), (["a", 3], "word 2 should be text")):
        with pytest.raises(ValueError, match=message):
            field.encode(wrong)


def test_special_ids_are_never_an_encoded_text() -> None:
    for unit in ("characters", "words", "bytes"):
        field = Tokens(unit).fit(["<s> </s> <pad> <unk>", *CORPUS])  # type: ignore[arg-type]
        ids = field.encode("<s> </s> <pad> <unk> cat")
        assert not set(ids.tolist()) & {PAD, UNKNOWN, START, END}


def test_sizes_count_the_special_ids() -> None:
    assert Tokens("characters").fit(["ab"]).size == 6
    assert Tokens("words").fit(["a b", "a"]).size == 6
    assert Tokens("bytes").size == 260
    assert Tokens("words", max_size=1).fit(["a b", "a"]).size == 5
    assert Tokens("words", min_count=2).fit(["a b", "a"]).vocabulary.symbols == ("a",)
    assert Text("characters").fit(["ab"]).size == 6


def test_unknown_symbols() -> None:
    characters = Tokens("characters").fit(["ab"])
    assert characters.encode("azb").tolist() == [4, UNKNOWN, 5]
    assert characters.decode(characters.encode("azb")) == "a\ufffdb"
    words = Tokens().fit(["a b"])
    assert words.encode("a z").tolist() == [4, UNKNOWN]
    assert words.decode(words.encode("a z")) == "a <unk>"
    assert words.unknown == UNKNOWN
    assert Tokens("bytes").encode("映").tolist() == [4 + byte for byte in "映".encode()]


def test_case() -> None:
    field = Tokens(lower=True).fit(["The THE the"])
    assert field.vocabulary.symbols == ("the",)
    assert field.encode("tHe").tolist() == [4]
    assert field.encode(["THE"]).tolist() == [4]
    assert Tokens("bytes", lower=True).encode("A").tolist() == Tokens("bytes").encode("a").tolist()


def test_decoding_leaves_out_padding_and_boundaries() -> None:
    field = Tokens("characters").fit(["ab"])
    assert field.decode(np.array([START, 4, PAD, 5, END, PAD])) == "ab"
    assert Tokens("bytes").decode(np.array([START, 4 + 97, END, PAD])) == "a"
    with pytest.raises(IndexError):
        field.decode(np.array([99]))


def test_bytes_that_are_cut_in_half_decode_to_the_replacement_character() -> None:
    field = Tokens("bytes")
    assert field.decode(field.encode("a映")[:-1]) == "a\ufffd"


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1))
def test_every_text_is_the_same_after_encoding_as_characters_and_bytes(text: str) -> None:
    for field in (Tokens("characters").fit([text]), Text("characters").fit([text])):
        assert field.decode(field.encode(text)) == unicodedata.normalize("NFC", text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert Tokens("bytes").decode(Tokens("bytes").encode(text)) == text


def test_counting_characters_in_blocks_is_counting_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Tokens("characters").fit(CORPUS)
    monkeypatch.setattr("seqkit.fields.tokenizers._BLOCK", 10)
    assert Tokens("characters").fit(CORPUS) == at_once


def test_pieces_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib, json\n"
        "from seqkit.fields import Tokens\n"
        "field = Tokens('pieces', pieces=60).fit(json.load(open(0)))\n"
        "print(hashlib.sha256(field.state()['sentencepiece'].encode()).hexdigest())"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(corpus), capture_output=True, text=True, check=True
        ).stdout
        for corpus in (CORPUS, CORPUS[::-1])
    }
    assert len(runs) == 1


def test_frequent_words_are_whole_pieces() -> None:
    """Also those that are always followed by a space, which sentencepiece on running text would not propose."""
    field = Tokens("pieces", pieces=60).fit(CORPUS)
    assert {"\u2581the", "\u2581sat", "\u2581on"} <= set(field.vocabulary.symbols)
    assert len(field.encode("the cat sat on the mat")) < 12


def test_pieces_know_every_character_of_the_training_data() -> None:
    field = Tokens("pieces", pieces=200).fit([*CORPUS, "a rare ß ж 語"] * 100)
    assert UNKNOWN not in field.encode("ß ж 語 catdogmat")
    assert UNKNOWN in field.encode("Ω")


def test_pieces_of_a_text_are_those_of_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words are encoded one by one and kept; the slow way is to give sentencepiece the whole text."""
    monkeypatch.setattr(tokenizers, "_MOST_KEPT", 8)
    field = Tokens("pieces", pieces=40).fit(CORPUS * 5)
    processor = field._tokenizer._processor  # type: ignore[attr-defined]
    words = [*" ".join(CORPUS).split(), "語語", "xt語", "zzz", "theythe" * 20]
    generator = np.random.default_rng(1)
    for count in (1, 2, 7, 30) * 10:
        text = " ".join(generator.choice(words, count))
        for _ in range(2):  # known the second time
            np.testing.assert_array_equal(field.encode(text), processor.encode(text))
    assert UNKNOWN in field.encode("xt語")


def test_pieces_of_several_words_are_found_in_the_whole_text() -> None:
    field = Tokens("pieces", pieces=40).fit(CORPUS * 5)
    tokenizer = field._tokenizer
    text = " ".join(CORPUS)
    ids = tokenizer.encode(text)
    joint = replace(tokenizer, vocabulary=Vocabulary(("a\u2581b", *tokenizer.fitted_vocabulary.symbols[1:])))
    np.testing.assert_array_equal(joint.encode(text), ids)
    assert not joint._known_words  # type: ignore[attr-defined]


def test_pieces_that_cannot_be_learned() -> None:
    with pytest.raises(ValueError, match="no words"):
        Tokens("pieces").fit(["", "  "])
    with pytest.raises(ValueError, match=r"^10 pieces cannot be learned from 17 different words and 21 different char"):
        Tokens("pieces", pieces=10).fit(CORPUS)


def test_more_pieces_than_the_data_has_are_fewer_pieces() -> None:
    assert 10 < Tokens("pieces", pieces=8000).fit(CORPUS).size < 100


def test_very_many_words_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers, "_MOST_WORDS", 50)
    counts = tokenizers.Counter({"often": 900, "seldom": 99, "once": 1})
    lines = list(tokenizers._training_lines(counts))
    assert [sum(line.split().count(word) for line in lines) for word in ("often", "seldom", "once")] == [45, 5, 1]


def test_without_sentencepiece_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "sentencepiece":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtra, match=r'pip install "seqkit\[text\]"'):
        Tokens("pieces").fit(CORPUS)


def test_a_text_ends_at_its_end_symbol() -> None:
    field = Text().fit(["abc"])
    assert field.encode("ba").tolist() == [5, 4, END]
    assert field.decode(np.array([5, 4, END, 6, END, PAD])) == "ba"
    assert field.decode(np.array([START, 5, 4])) == "ba"
    assert field.decode(np.array([END])) == ""
    assert Text("bytes").encode("a").dtype == Text("bytes").encode("é").dtype


@pytest.mark.parametrize("unit", ["characters", "words", "pieces"])
def test_two_fields_that_learn_from_both_sides_know_the_same_symbols(unit: Any) -> None:
    left = ["ein rotes haus", "ein baum", "rote blumen im garten"] * 3
    right = ["a red house", "a tree", "red flowers in a garden"] * 3
    source = Tokens(unit, pieces=60, also=lambda: right).fit(left)
    target = Text(unit, pieces=60, also=lambda: left).fit(right)
    assert source.vocabulary == target.vocabulary
    assert source.vocabulary != Tokens(unit, pieces=60).fit(left).vocabulary
    assert source.restore(source.state()).vocabulary == source.vocabulary
