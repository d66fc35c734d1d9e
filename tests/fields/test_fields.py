"""Fields: from values to numbers and back, fitted without regard to order, stored as JSON."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from seqkit.fields import Label, Labels, Next, StepValues, Tags, Text, Tokens, Values, Vectors
from seqkit.types import Field
from tests.helpers.sentences import CORPUS, UNITS

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
    "Vectors of the width of the data": (Vectors(), [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 6.0]]]),
    "Vectors of that width standardised": (Vectors(standardise=True), [[[0.0, 1.0], [2.0, 3.0]], [[4.0, 6.0]]]),
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
    rows = field.fit(values).size if isinstance(field, Values | Vectors) else 1
    with pytest.raises(RuntimeError, match="not fitted"):
        field.decode(np.full(rows, 5))


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
        (
            Vectors(2),
            [[[1.0, 2.0]]],
            [[1.0, 2.0], [1.0]],
            "the width of step 2 is 1, that of step 1 is 2",
        ),
        (Vectors(2), [[[1.0, 2.0]]], [[1.0]], r"should be \(steps, 2\) numbers, but has shape \(1, 1\)"),
        (
            Vectors(2),
            [[[1.0, 2.0]]],
            [[1.0, float("inf")]],
            "has inf at step 1, channel 2, which is not",
        ),
        (Vectors(1), [[[1.0]]], [[1.0], [math.nan], [math.nan]], r"has nan at step 2, channel 1 \(and 1 more\), which"),
        (StepValues(), [[1.0]], [1.0, math.inf], "has inf at step 2, which is not a finite number"),
        (Vectors(), [[[1.0, 2.0]]], [[1.0]], r"should be \(steps, 2\) numbers, but has shape \(1, 1\)"),
        (Vectors(), [[[1.0, 2.0]]], [1.0], r"should be \(steps, 2\) numbers, but has shape \(1,\)"),
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


def test_vectors_without_a_width_take_that_of_the_training_data() -> None:
    field = Vectors(standardise=True)
    with pytest.raises(RuntimeError, match="not fitted"):
        _ = field.size
    with_width = Vectors(3, standardise=True)
    values = [[[0.0, 1.0, 2.0], [3.0, 2.0, 1.0]], [[5.0, 5.0, 5.0]]]
    fitted = field.fit(iter(values))
    assert fitted.size == 3
    assert fitted.scale == with_width.fit(values).scale
    assert np.array_equal(fitted.encode(values[0]), with_width.fit(values).encode(values[0]))
    with pytest.raises(ValueError, match="no value at all"):
        field.fit([])
    with pytest.raises(ValueError, match=r"should be \(steps, 3\) numbers, but has shape \(1, 2\)"):
        field.fit([*values, [[1.0, 2.0]]])
    with pytest.raises(ValueError, match=r"should be \(steps, channels\) numbers, but has shape \(2,\)"):
        field.fit([[1.0, 2.0]])


def test_noise_is_for_vectors_that_are_read_one_by_one_and_whole() -> None:
    for options in ({"patch": 2}, {"missing": True}):
        with pytest.raises(ValueError, match="read one by one"):
            Vectors(2, noise=0.1, **options)  # type: ignore[arg-type]


def test_a_line_to_predict() -> None:
    assert Tokens().parse("a b") == "a b"
    assert Vectors(2).parse("[[1, 2], [3, 4]]") == [[1, 2], [3, 4]]
    for wrong in ("1, 2", "[" * 100_000):
        with pytest.raises(ValueError, match="should be a JSON list"):
            Vectors(2).parse(wrong)


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
