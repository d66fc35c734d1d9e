"""The input layer of `Words`: characters against a slow twin, vectors from a file, and padding."""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqkit.errors import UsageError
from seqkit.fields import Words
from seqkit.fields.words import COLUMNS, FIRST_WORD
from seqkit.layers.words import WordLayer, distinct_rows
from tests.helpers.word_vectors import TEXTS, write_vectors
from tests.reference import words as twin

KINDS = ("none", "lstm", "conv")
SENTENCES = ["the cat saw Paris .", "NATO", "a dog sat near iPods in 1998"]


def batch(field: Words, texts: Sequence[Any], *, extra_steps: int = 0) -> tuple[Tensor, Tensor]:
    encoded = [torch.from_numpy(field.encode(text).astype(np.int64)) for text in texts]
    lengths = torch.tensor([len(rows) for rows in encoded])
    x = torch.zeros(len(encoded), int(lengths.max()) + extra_steps, encoded[0].shape[1], dtype=torch.int64)
    for row, rows in enumerate(encoded):
        x[row, : len(rows)] = rows
    return x, lengths


def layer_of(field: Words, dim: int = 20) -> WordLayer:
    torch.manual_seed(0)
    layer = field.layer(dim)
    assert isinstance(layer, WordLayer)
    return layer.eval()


def vector_of(field: Words, layer: WordLayer, word: str) -> list[float]:
    """The word's own vector, without its characters."""
    ids = torch.from_numpy(field.encode(word)[:, 0].astype(np.int64))
    values: list[float] = layer.look_up(ids)[0].tolist()
    return values


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    return write_vectors(tmp_path)


@pytest.mark.parametrize(("characters", "run_twin"), [("lstm", twin.recurrence), ("conv", twin.convolution)])
def test_characters_against_a_slow_twin(characters: Any, run_twin: Callable[[Any, list[int]], Tensor]) -> None:
    field = Words(characters=characters, char_dim=7, char_hidden=8).fit(TEXTS)
    layer = layer_of(field)
    x, lengths = batch(field, SENTENCES)
    steps, same = layer(x, lengths)
    assert steps.shape == (3, int(lengths.max()), 20)
    assert torch.equal(same, lengths)
    for row, length in enumerate(lengths.tolist()):
        for step in range(length):
            letters = [letter for letter in x[row, step, COLUMNS:].tolist() if letter]
            expected = torch.cat([layer.weight[x[row, step, 0]], run_twin(layer.spelling, letters)])
            torch.testing.assert_close(steps[row, step], expected, atol=1e-6, rtol=0)
        assert not steps[row, length:].any()


@pytest.mark.parametrize("characters", KINDS)
def test_neither_padding_nor_company_changes_a_word(characters: Any) -> None:
    field = Words(characters=characters, char_hidden=8).fit(TEXTS)
    layer = layer_of(field)
    in_batch, lengths = layer(*batch(field, SENTENCES))
    padded, _ = layer(*batch(field, SENTENCES, extra_steps=5))
    torch.testing.assert_close(padded[:, : in_batch.shape[1]], in_batch, atol=1e-6, rtol=0)
    assert not padded[:, in_batch.shape[1] :].any()
    for row, text in enumerate(SENTENCES):
        alone, _ = layer(*batch(field, [text]))
        torch.testing.assert_close(alone[0], in_batch[row, : int(lengths[row])], atol=1e-6, rtol=0)


@pytest.mark.parametrize("characters", KINDS)
def test_padding_gets_no_gradient(characters: Any) -> None:
    field = Words(characters=characters, char_hidden=8).fit(TEXTS)
    grads = []
    for extra_steps in (0, 4):
        layer = layer_of(field)
        steps, _ = layer(*batch(field, SENTENCES, extra_steps=extra_steps))
        (steps**2).sum().backward()
        assert not layer.weight.grad[0].any()  # type: ignore[index]
        grads.append([parameter.grad for parameter in layer.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_word_dropout_reads_words_as_the_unknown_one_of_their_shape() -> None:
    field = Words(characters="none", drop=0.5).fit(TEXTS)
    layer = layer_of(field, dim=6).train()
    x, lengths = batch(field, ["cat NATO 1998"] * 400)
    steps, _ = layer(x, lengths)
    for step in range(3):
        known, unknown = layer.weight[x[0, step, 0]], layer.weight[x[0, step, 1]]
        dropped = (steps[:, step] == unknown).all(-1)
        assert torch.equal((steps[:, step] == known).all(-1), ~dropped)
        assert 140 < int(dropped.sum()) < 260
    assert torch.equal(layer.eval()(x, lengths)[0][:, 0], layer.weight[x[:, 0, 0]])


def test_what_fits_into_the_width_and_what_does_not(vectors: Path) -> None:
    field = Words(char_hidden=20).fit(TEXTS)
    with pytest.raises(UsageError, match="become 20 numbers and leave no room for the word in steps of 20"):
        field.layer(20)
    with pytest.raises(UsageError, match="char_hidden is 7"):
        replace(field, char_hidden=7).layer(20)
    assert layer_of(Words(vectors=vectors, char_hidden=20).fit(TEXTS), dim=10).join is not None
    assert layer_of(Words(vectors=vectors, char_hidden=8).fit(TEXTS), dim=11).join is None


def test_the_same_seed_the_same_layer() -> None:
    field = Words().fit(TEXTS)
    first, second = layer_of(field, 60), layer_of(field, 60)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_every_letter_counts() -> None:
    """Two words that differ in one letter anywhere are different, however long the other words are."""
    words = [*string.ascii_lowercase, *(a + b + "x" for a in "abc" for b in "def")]
    for characters in ("lstm", "conv"):
        field = Words(characters=characters, char_hidden=8).fit([" ".join(words * 2), "averyverylongword"])  # type: ignore[arg-type]
        layer = layer_of(field)
        x, lengths = batch(field, [" ".join(words)])
        steps = layer(x, lengths)[0][0, :, -8:]
        assert len({tuple(round(v, 5) for v in row) for row in steps.tolist()}) == len(words)


# Features


@pytest.mark.parametrize("characters", KINDS)
@pytest.mark.parametrize("with_vectors", [False, True])
def test_features_against_a_slow_twin(characters: Any, with_vectors: bool, vectors: Path) -> None:
    """A step is the step without features, and the vector of each feature behind it; then the map to the width."""
    texts = [[(word, kind, word[-1]) for word, kind in zip(text.split(), "AB" * 9, strict=False)] for text in TEXTS]
    options: dict[str, Any] = {"characters": characters, "char_hidden": 4, "vectors": vectors if with_vectors else None}
    field, plain = Words(features=2, feature_dim=3, **options).fit(texts), Words(**options).fit(TEXTS)
    layer, layer_without = layer_of(field, 16), layer_of(plain, 10)
    weights = {name: value for name, value in layer.state_dict().items() if not name.startswith(("features.", "join."))}
    layer_without.load_state_dict(weights, strict=False)
    layer_without.join = None
    x, lengths = batch(field, texts)
    steps, _ = layer(x, lengths)
    without = layer_without.steps(batch(plain, TEXTS)[0].flatten(0, 1), layer_without.spelling)
    without = without.view(*x.shape[:2], -1)
    for row, length in enumerate(lengths.tolist()):
        for step in range(length):
            tables = [table.weight[x[row, step, COLUMNS + number]] for number, table in enumerate(layer.features)]  # type: ignore[operator, index]
            expected = torch.cat([without[row, step], *tables])
            expected = expected if layer.join is None else layer.join(expected)
            torch.testing.assert_close(steps[row, step], expected, atol=1e-6, rtol=0)
        assert not steps[row, length:].any()
    assert (layer.join is not None) == with_vectors


def test_an_unknown_feature_says_nothing_before_training_has_read_one() -> None:
    layer = layer_of(Words(features=1, char_hidden=4, feature_dim=3).fit([[("a", "N"), ("b", "N")]]))
    (table,) = layer.features
    assert not table.weight[:2].any()
    assert table.weight[2].all()


def test_features_have_to_fit_into_the_width() -> None:
    field = Words(features=2, char_hidden=4, feature_dim=8).fit([[("a", "N", "x")]])
    with pytest.raises(
        UsageError, match=r"characters and features of a word become 20 numbers .* char_hidden or feature_dim"
    ):
        field.layer(20)
    assert layer_of(field, 21).weight.shape[1] == 1


# Vectors from a file


@pytest.mark.parametrize("tune", [True, False])
def test_words_of_the_file_are_known_and_start_from_its_vectors(vectors: Path, tune: bool) -> None:
    field = Words(vectors=vectors, tune=tune).fit(TEXTS)
    assert field.width == 3
    assert field.count_unknown(field.encode("lion")) == 0
    layer = field.layer(20)
    assert isinstance(layer, WordLayer)
    layer.start()
    layer.eval()

    assert vector_of(field, layer, "cat") == [1.0, 2.0, 3.0]
    assert vector_of(field, layer, "lion") == pytest.approx([-1.0, -2.5, 1e-3])
    assert vector_of(field, layer, "Paris") == [4.0, 5.0, 6.0]
    assert vector_of(field, layer, "the") == vector_of(field, layer, "The") == pytest.approx([0.1, 0.2, 0.3])
    assert vector_of(field, layer, "NATO") != vector_of(field, layer, "dog")
    assert "fixed" in layer.state_dict() if not tune else "fixed" not in layer.state_dict()

    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    before = {word: vector_of(field, layer, word) for word in ("cat", "dog", "lion", "unheard")}
    x = torch.from_numpy(field.encode("cat dog lion unheard").astype(np.int64))[None]
    layer(x, torch.tensor([4]))[0].sum().backward()
    optimizer.step()
    assert (vector_of(field, layer, "cat") == before["cat"]) == (not tune)
    assert (vector_of(field, layer, "lion") == before["lion"]) == (not tune)
    assert vector_of(field, layer, "dog") != before["dog"]
    assert vector_of(field, layer, "unheard") != before["unheard"]


def test_both_vectors_side_by_side(vectors: Path) -> None:
    """The two channels of Kim (2014): they begin equal, and training changes one of them."""
    field = Words(vectors=vectors, tune="both", characters="none").fit(TEXTS)
    layer = layer_of(field, 8)
    layer.start()
    assert vector_of(field, layer, "cat") == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]
    assert vector_of(field, layer, "dog")[3:] == [0.0, 0.0, 0.0]

    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x = torch.from_numpy(field.encode("cat dog").astype(np.int64))[None]
    layer(x, torch.tensor([2]))[0].square().sum().backward()
    optimizer.step()
    assert vector_of(field, layer, "cat")[:3] != [1.0, 2.0, 3.0]
    assert vector_of(field, layer, "cat")[3:] == [1.0, 2.0, 3.0]
    assert vector_of(field, layer, "dog")[3:] == [0.0, 0.0, 0.0]
    assert layer.join is not None
    assert layer.join.in_features == 6


@pytest.mark.parametrize("tune", [True, False, "both"])
@pytest.mark.parametrize(("characters", "run_twin"), [("lstm", twin.recurrence), ("conv", twin.convolution)])
def test_an_unknown_word_is_read_by_its_characters(
    characters: Any, run_twin: Callable[[Any, list[int]], Tensor], tune: Any, vectors: Path
) -> None:
    """Step by step: an unknown word has the vector of its shape and what the linear map makes of its characters."""
    field = Words(
        vectors=vectors, tune=tune, characters=characters, char_dim=5, char_hidden=6, unknown_as="characters"
    ).fit(TEXTS)
    layer = layer_of(field)
    layer.start()
    x, lengths = batch(field, ["the unheard cat", "NaTo 77"], extra_steps=2)
    steps = layer(x, lengths)[0]
    assert layer.from_characters is not None
    assert layer.join is not None
    for row in range(2):
        for step in range(int(lengths[row])):
            word, letters = int(x[row, step, 0]), [int(id) for id in x[row, step, COLUMNS:] if id]
            spelled = run_twin(layer.spelling, letters)
            vector = layer.look_up(torch.tensor([word]))[0].clone()
            if word < FIRST_WORD:
                vector[:3] += layer.from_characters(spelled)
            torch.testing.assert_close(steps[row, step], layer.join(torch.cat([vector, spelled])))
    assert (x[..., 0] < FIRST_WORD).sum() > 1
    assert not steps[1, 2:].any()


def test_the_map_for_unknown_words_learns_from_dropped_ones(vectors: Path) -> None:
    field = Words(vectors=vectors, drop=0.5, char_dim=5, char_hidden=6, unknown_as="characters").fit(TEXTS)
    layer = layer_of(field).train()
    assert layer.from_characters is not None
    x, lengths = batch(field, ["the cat saw the cat"])
    layer(x, lengths)[0].square().sum().backward()
    gradient = layer.from_characters.weight.grad
    assert gradient is not None
    assert gradient.any()


def test_unknown_words_cannot_be_read_by_characters_that_are_not_read() -> None:
    with pytest.raises(UsageError, match="unknown_as: characters: characters are not read; set characters: lstm"):
        Words(characters="none", unknown_as="characters")


def test_words_of_the_file_are_known_in_lower_case_where_all_words_are(tmp_path: Path) -> None:
    path = tmp_path / "cased.txt"
    path.write_text("The 1 1\nParis 2 2\nthe 3 3\nTHE 4 4\n1999 5 5\nLion 6 6\n")
    field = Words(vectors=path, lower=True, digits=True, characters="none").fit(TEXTS)
    layer = layer_of(field, dim=2)
    layer.start()

    assert vector_of(field, layer, "The") == vector_of(field, layer, "the") == [3.0, 3.0]
    assert vector_of(field, layer, "Paris") == [2.0, 2.0]
    assert vector_of(field, layer, "1998") == [5.0, 5.0]
    assert vector_of(field, layer, "lion") == [6.0, 6.0]


def test_a_saved_model_needs_no_file(vectors: Path) -> None:
    field = Words(vectors=vectors, tune=False).fit(TEXTS)
    layer = field.layer(20)
    layer.start()  # type: ignore[operator]
    vectors.unlink()
    restored = Words(vectors=vectors, tune=False).restore(json.loads(json.dumps(field.state()))).layer(20)
    restored.load_state_dict(layer.state_dict())
    x = torch.from_numpy(field.encode(TEXTS[0]).astype(np.int64))[None]
    lengths = torch.tensor([x.shape[1]])
    assert torch.equal(restored.eval()(x, lengths)[0], layer.eval()(x, lengths)[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:FutureWarning", "ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize("characters", ["none", "lstm", "conv"])
def test_tracing_is_refused(characters: Any) -> None:
    """A traced layer ended the process by a double free on a batch of another shape."""
    layer = WordLayer(12, words=20, letters=10, columns=2, characters=characters, char_dim=4, char_hidden=6).eval()
    x, lengths = torch.ones(3, 4, 7, dtype=torch.int64), torch.tensor([4, 2, 1])
    with pytest.raises(UsageError, match="cannot be traced"):
        torch.jit.trace(layer, (x, lengths), check_trace=False)
    assert layer(x, lengths)[0].shape == (3, 4, 12)


@pytest.mark.parametrize("largest", [2, 300, 70_000])
@pytest.mark.parametrize(("count", "width"), [(0, 3), (1, 1), (200, 5), (200, 8)])
def test_distinct_rows_are_those_of_torch(count: int, width: int, largest: int) -> None:
    """Also of ids that need two bytes and four."""
    few = torch.randint(0, 3, (count, width), generator=torch.Generator().manual_seed(count + width))
    rows = few * (largest // 2)
    expected, expected_inverse = torch.unique(rows, dim=0, return_inverse=True)
    distinct, inverse = distinct_rows(rows)
    assert torch.equal(distinct, expected)
    assert torch.equal(inverse, expected_inverse)
    if count == 200:
        assert len(distinct) < count
