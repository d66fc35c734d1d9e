"""`Model.predict`: a result for each input, in order, as it is needed, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import seqkit

TEXTS = ["a good film", "bad", "the cast was not , as i feared , dull", "warm and funny"]


@pytest.fixture
def folder(trained: Callable[[str], Path]) -> Path:
    return trained("sentiment")


@pytest.fixture
def model(folder: Path) -> seqkit.Model:
    return seqkit.load(folder)


def test_each_input_has_a_result_in_order(model: seqkit.Model) -> None:
    results = list(model.predict(TEXTS))
    assert [result.input for result in results] == TEXTS
    assert [result.id for result in results] == ["inputs[0]", "inputs[1]", "inputs[2]", "inputs[3]"]
    for result in results:
        assert sum(result.probabilities.values()) == pytest.approx(1)
        assert result.value == next(iter(result.probabilities))
        assert result.top(1) == [(result.value, result.confidence)]


def test_words_and_rows_are_inputs_too(model: seqkit.Model) -> None:
    text, words, row = model.predict(["a good film", ["a", "good", "film"], {"text": "a good film"}])
    assert text.probabilities == words.probabilities == row.probabilities


def test_results_come_as_soon_as_a_batch_is_full(model: seqkit.Model) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield TEXTS[taken % 4]

    results = model.predict(endless(), batch=3)
    assert [next(results).input for _ in range(3)] == [TEXTS[1], TEXTS[2], TEXTS[3]]
    assert taken == 3


def test_an_input_that_cannot_be_used_raises_in_its_turn_or_is_recorded(model: seqkit.Model) -> None:
    inputs = ["good", "", None, 3, {"x": "y"}, object(), "bad"]
    recorded = list(model.predict(inputs, on_error="record"))
    assert [bool(result.error) for result in recorded] == [False, True, True, True, True, True, False]
    results = model.predict(inputs)
    assert next(results).value == recorded[0].value
    with pytest.raises(seqkit.DataError, match=r"inputs\[1\]: is empty"):
        next(results)


@pytest.mark.parametrize("inputs", ["a text", b"bytes", Path("x.txt"), {"text": "x"}, 3, None])
def test_one_input_is_not_taken_for_several(model: seqkit.Model, inputs: object) -> None:
    with pytest.raises(seqkit.UsageError, match="predict: "):
        model.predict(inputs)  # type: ignore[arg-type]


def test_the_model_of_a_run_is_that_of_its_model_folder(folder: Path, model: seqkit.Model) -> None:
    assert list(seqkit.load(folder / "model").predict(TEXTS)) == list(model.predict(TEXTS))


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_a_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(seqkit.SeqkitError, match=r"no such folder|no model here"):
        seqkit.load(tmp_path / name)
