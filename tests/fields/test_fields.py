"""Fields: from values to numbers and back, fitted without regard to order, stored as JSON."""

from __future__ import annotations

import builtins
import json
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit.errors import MissingExtra
from seqkit.fields import Label, Labels, Next, Tags, Text, Tokens, Values, Vectors
from seqkit.types import END, PAD, START, UNKNOWN, Field

UNITS = ["characters", "words", "bytes", "pieces"]
CORPUS = ["the cat sat on the mat .", "the dog sat on the log !", "cats and dogs , and a größeres 映画 🎬"] * 5

# An unfitted field, and values that it can be fitted on; each value is the same after encoding and decoding.
FITTED: dict[str, tuple[Field, list[Any]]] = {
    **{f"Tokens {unit}": (Tokens(unit, pieces=60), CORPUS) for unit in UNITS},  # type: ignore[arg-type]
    **{f"Text {unit}": (Text(unit, pieces=60), CORPUS) for unit in UNITS},  # type: ignore[arg-type]
    "Tokens with options": (Tokens("words", lower=True, min_count=1, max_size=100, drop=0.1), CORPUS),
    "Label": (Label(), ["pos", "neg", "pos"]),
    "Labels": (Labels(), [["a", "b"], [], ["b"], ["c"]]),
    "Tags": (Tags(), [["O", "B-LOC", "I-LOC"], ["O"]]),
    "Values": (Values(), [1.0, 2.5, -3.0]),
    "Values of two": (Values(2), [[1.0, 2.0], [3.0, 8.0]]),
    "Values as they are": (Values(standardise=False), [1.0, 2.5]),
    "Vectors": (Vectors(2), [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 6.0]]]),
    "Vectors standardised": (Vectors(2, standardise=True), [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 6.0]]]),
}


@pytest.fixture(params=FITTED)
def pair(request: pytest.FixtureRequest) -> tuple[Field, list[Any]]:
    return FITTED[request.param]


def test_decoding_gives_the_encoded_value(pair: tuple[Field, list[Any]]) -> None:
    field, values = pair
    fitted = field.fit(values)
    for value in values:
        decoded = fitted.decode(fitted.encode(value))
        if isinstance(value, float) or (isinstance(value, list) and value and not isinstance(value[0], str)):
            assert np.allclose(decoded, value, rtol=1e-6, atol=1e-6)
        else:
            assert decoded == value


def test_arrays_have_one_type_and_trailing_shape(pair: tuple[Field, list[Any]]) -> None:
    field, values = pair
    fitted = field.fit(values)
    arrays = [fitted.encode(value) for value in values]
    assert len({array.dtype for array in arrays}) == 1
    assert len({array.shape[1:] if field.ragged else array.shape for array in arrays}) == 1
    if arrays[0].dtype.kind == "u":
        assert all(array.max() < fitted.size for array in arrays)


def test_state_is_json_and_restores_an_equal_field(pair: tuple[Field, list[Any]]) -> None:
    field, values = pair
    fitted = field.fit(values)
    again = field.restore(json.loads(json.dumps(fitted.state())))
    assert again == fitted
    assert again.size == fitted.size
    for value in values:
        assert np.array_equal(again.encode(value), fitted.encode(value))
        assert again.encode(value).dtype == fitted.encode(value).dtype


def test_fitting_changes_no_field_and_depends_on_no_order(pair: tuple[Field, list[Any]]) -> None:
    field, values = pair
    before = field.state()
    fitted = field.fit(values)
    assert field.state() == before
    shuffled = values * 2
    random.Random(3).shuffle(shuffled)
    assert field.fit(shuffled).size == fitted.size
    again = field.fit(values[::-1])
    if isinstance(field, Values | Vectors):
        for value in values:
            assert np.allclose(again.encode(value), fitted.encode(value), atol=1e-6)
    else:
        assert again == fitted


def test_an_unfitted_field_says_so(pair: tuple[Field, list[Any]]) -> None:
    field, values = pair
    if field.fit(values).state() is None:  # nothing to learn
        return
    with pytest.raises(RuntimeError, match="not fitted"):
        field.encode(values[0])
    rows = field.size if isinstance(field, Values | Vectors) else 1
    with pytest.raises(RuntimeError, match="not fitted"):
        field.decode(np.full(rows, 5))


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
        assert field.decode(field.encode(text)) == text
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert Tokens("bytes").decode(Tokens("bytes").encode(text)) == text


def test_counting_characters_in_blocks_is_counting_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = Tokens("characters").fit(CORPUS)
    monkeypatch.setattr("seqkit.fields.tokenizers._BLOCK", 10)
    assert Tokens("characters").fit(CORPUS) == at_once


# --- pieces ---------------------------------------------------------------------------------------------------------


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


def test_pieces_that_cannot_be_learned() -> None:
    with pytest.raises(ValueError, match="no words"):
        Tokens("pieces").fit(["", "  "])
    with pytest.raises(ValueError, match=r"^10 pieces cannot be learned from 17 different words and 21 different char"):
        Tokens("pieces", pieces=10).fit(CORPUS)


def test_more_pieces_than_the_data_has_are_fewer_pieces() -> None:
    assert 10 < Tokens("pieces", pieces=8000).fit(CORPUS).size < 100


def test_very_many_words_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    from seqkit.fields import tokenizers

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


# --- targets --------------------------------------------------------------------------------------------------------


def test_a_text_ends_at_its_end_symbol() -> None:
    field = Text().fit(["abc"])
    assert field.encode("ba").tolist() == [5, 4, END]
    assert field.decode(np.array([5, 4, END, 6, END, PAD])) == "ba"
    assert field.decode(np.array([START, 5, 4])) == "ba"
    assert field.decode(np.array([END])) == ""
    assert Text("bytes").encode("a").dtype == Text("bytes").encode("é").dtype


def test_labels_are_numbered_in_reading_order() -> None:
    field = Label().fit(["b", "a", "c", "a"])
    assert field.labels == ["a", "b", "c"]
    assert field.encode("b").dtype == np.int64
    assert field.encode("b").shape == ()
    assert field.decode(np.array(2)) == "c"
    assert field.size == 3


@pytest.mark.parametrize(
    ("field", "values", "wrong", "message"),
    [
        (Label(), ["a", "b"], "c", "label 'c' was not seen in training; known labels: a, b"),
        (Label(), ["a", "b"], "", "label is empty"),
        (Label(), ["a", "b"], None, "label is missing"),
        (Label(), ["0", "1"], 1, "label 1 should be text"),
        (Labels(), [["a"]], ["b"], "label 'b' was not seen"),
        (Labels(), [["a"]], ["a", "a"], "label 'a' is given twice"),
        (Labels(), [["a"]], "a", "should be a list of labels, but is 'a'"),
        (Tags(), [["O"]], ["O", "X"], "label 'X' was not seen"),
        (Tags(), [["O"]], [], "is empty"),
        (Tags(), [["O"]], "O", "should be a list of labels"),
        (Tags(), [["O"]], ["O", None], "label is missing"),
        (Values(), [1.0], float("nan"), "has nan, which is not a finite number"),
        (Values(), [1.0], float("-inf"), "has -inf"),
        (Values(), [1.0], 1e300, "too large for single precision"),
        (Values(), [1.0], [1.0], r"should be one number, but has shape \(1,\)"),
        (Values(), [1.0], "1.0", "should be numbers, but is '1.0'"),
        (Values(), [1.0], True, "should be numbers, but is True"),
        (Values(), [1.0], None, "should be numbers, but is missing"),
        (Values(2), [[1.0, 2.0]], [1.0], "should be a list of 2 numbers"),
        (Vectors(2), [[[1.0, 2.0]]], [], "is empty"),
        (Vectors(2), [[[1.0, 2.0]]], [[1.0, 2.0], [1.0]], "different widths"),
        (Vectors(2), [[[1.0, 2.0]]], [[1.0]], r"should be \(steps, 2\) numbers, but has shape \(1, 1\)"),
        (Vectors(2), [[[1.0, 2.0]]], [[1.0, float("inf")]], "has inf"),
    ],
)
def test_wrong_targets_and_vectors_are_refused_in_plain_words(
    field: Field, values: list[Any], wrong: Any, message: str
) -> None:
    fitted = field.fit(values)
    with pytest.raises(ValueError, match=message):
        fitted.encode(wrong)
    if "seen" not in message and "large" not in message and not isinstance(field, Vectors):
        bad = [*values, wrong]
        if message not in ("is empty", "label 'a' is given twice"):
            with pytest.raises(ValueError, match=message):
                field.fit(bad)


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


# --- numbers --------------------------------------------------------------------------------------------------------


def test_values_are_standardised_by_the_training_data() -> None:
    numbers = np.random.default_rng(0).normal(1e6, 5, 1000)
    field = Values().fit(numbers.tolist())
    encoded = np.array([field.encode(value)[0] for value in numbers])
    assert abs(encoded.mean()) < 1e-5
    assert abs(encoded.std() - 1) < 1e-5
    assert field.encode(1e6).dtype == np.float32
    assert field.encode(1e6).shape == (1,)
    decoded = field.decode(field.encode(1_000_003.25))
    assert isinstance(decoded, float)
    assert decoded == pytest.approx(1_000_003.25, abs=1e-5)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    for constant in (0.0, 0.1, 7.3, -1e9):
        field = Values().fit([constant] * 1000)
        assert field.encode(constant).tolist() == pytest.approx([0.0], abs=1e-6)
        assert field.decode(np.array([0.0])) == pytest.approx(constant)
    channels = Vectors(2, standardise=True).fit([[[1.0, 3.0], [2.0, 3.0]]])
    assert channels.encode([[1.5, 4.0]]).tolist() == [[0.0, 1.0]]


def test_nothing_to_standardise_by() -> None:
    with pytest.raises(ValueError, match="no value"):
        Values().fit([])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=50), st.integers(1, 40))
def test_the_running_mean_is_the_mean(rows: list[list[float]], block: int) -> None:
    from seqkit.fields import numeric

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numeric, "_BLOCK", block)
        scale = numeric.Scale.fit((np.array([row]) for row in rows), 3)
    array = np.array(rows)
    assert np.allclose(scale.mean, array.mean(axis=0), atol=1e-6)
    spread = array.std(axis=0)
    assert np.allclose(np.where(spread < 1e-6, 1.0, scale.deviation), np.where(spread < 1e-6, 1.0, spread), rtol=1e-4)


def test_numbers_as_whole_numbers_or_arrays_are_numbers() -> None:
    assert Values(standardise=False).encode(3).tolist() == [3.0]
    assert Values(standardise=False).encode(np.float64(3.5)).tolist() == [3.5]
    assert Vectors(1).encode(np.array([[1], [2]], dtype=np.int16)).tolist() == [[1.0], [2.0]]


def test_a_line_to_predict() -> None:
    assert Tokens().parse("a b") == "a b"
    assert Vectors(2).parse("[[1, 2], [3, 4]]") == [[1, 2], [3, 4]]
    for wrong in ("1, 2", "[" * 100_000):
        with pytest.raises(ValueError, match="should be a JSON list"):
            Vectors(2).parse(wrong)


# --- layers ---------------------------------------------------------------------------------------------------------


def test_input_fields_have_a_layer_and_targets_have_none() -> None:
    torch = pytest.importorskip("torch")
    tokens = Tokens(drop=0.5).fit(CORPUS)
    ids = torch.tensor(np.stack([tokens.encode("the cat sat"), tokens.encode("a dog sat")]).astype(np.int64))
    steps, lengths = tokens.layer(7).eval()(ids, torch.tensor([3, 3]))
    assert steps.shape == (2, 3, 7)
    assert lengths.tolist() == [3, 3]
    steps, _ = Vectors(2).layer(5)(torch.zeros(1, 4, 2), torch.tensor([4]))
    assert steps.shape == (1, 4, 5)
    for target in (Label(), Labels(), Tags(), Next(), Text(), Values()):
        with pytest.raises(TypeError, match="no layer"):
            target.layer(3)


def test_fields_store_sampler_and_readers_need_no_torch() -> None:
    code = (
        "import sys, seqkit.fields, seqkit.fields.vocabulary, seqkit.readers, seqkit.io.download\n"
        "import seqkit.data.store, seqkit.data.sampler\n"
        "sys.exit('torch' in sys.modules or 'sentencepiece' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("unit", ["characters", "words", "pieces"])
def test_two_fields_that_learn_from_both_sides_know_the_same_symbols(unit: Any) -> None:
    left = ["ein rotes haus", "ein baum", "rote blumen im garten"] * 3
    right = ["a red house", "a tree", "red flowers in a garden"] * 3
    source = Tokens(unit, pieces=60, also=lambda: right).fit(left)
    target = Text(unit, pieces=60, also=lambda: left).fit(right)
    assert source.vocabulary == target.vocabulary
    assert source.vocabulary != Tokens(unit, pieces=60).fit(left).vocabulary
    assert source.restore(source.state()).vocabulary == source.vocabulary
