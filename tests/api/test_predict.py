"""`Model.predict`: a result for each input, in order, as it is needed, whatever the batch."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqkit
from tests.helpers.sound import needs_audio, write_clips

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


@needs_audio
def test_recordings_are_paths_texts_or_samples(trained: Callable[[str], Path], tmp_path: Path) -> None:
    model = seqkit.load(trained("speech"))
    write_clips(tmp_path, "one.wav", "two.wav")
    samples = [decoded(tmp_path / name) for name in ("one.wav", "two.wav")]
    expected = list(model.predict(samples))
    for given in (
        [tmp_path / "one.wav", tmp_path / "two.wav"],
        [str(tmp_path / "one.wav"), str(tmp_path / "two.wav")],
        [torch.from_numpy(clip) for clip in samples],
        [clip.tolist() for clip in samples],
        [tmp_path],
    ):
        results = list(model.predict(given))
        assert [result.probabilities for result in results] == [result.probabilities for result in expected]
    (bad,) = model.predict([np.full(9, 2.0)], on_error="record")
    assert bad.error == "goes up to 2, but full scale is 1"
    with pytest.raises(seqkit.UsageError, match="no such file"):
        list(model.predict([tmp_path / "three.wav"]))


def decoded(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes()[44:], dtype="<i2").astype(np.float32) / 32768


def test_a_file_has_a_result_for_each_line(model: seqkit.Model, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("good\n\nbad\n")
    results = list(model.predict([tmp_path / "new.txt", "warm"], on_error="record"))
    assert [result.id for result in results] == ["new.txt:1", "new.txt:2", "new.txt:3", "inputs[1]"]
    assert [bool(result.error) for result in results] == [False, True, False, False]


def test_a_table_of_pandas_is_read_row_by_row(model: seqkit.Model) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": [7, 8, 9], "text": ["good", None, "bad"], "other": [1.5, float("nan"), 2]})
    results = list(model.predict(frame, on_error="record"))
    assert [result.id for result in results] == ["7", "8", "9"]
    assert [bool(result.error) for result in results] == [False, True, False]
    assert [result.input for result in model.predict(frame["text"].dropna())] == ["good", "bad"]


def test_what_a_generator_gave_before_it_failed_is_predicted(model: seqkit.Model) -> None:
    def failing() -> Iterator[str]:
        yield from TEXTS[:2]
        raise RuntimeError("the source is gone")

    results = model.predict(failing(), batch=64)
    assert [next(results).input, next(results).input] == TEXTS[:2]
    with pytest.raises(RuntimeError, match="the source is gone"):
        next(results)


@pytest.mark.parametrize("name", ["predict", "encode"])
def test_nothing_is_computed_before_it_is_asked_for(model: seqkit.Model, name: str) -> None:
    def never() -> Iterator[str]:
        raise AssertionError("read too early")
        yield ""

    getattr(model, name)(never())


def test_memory_does_not_grow_with_the_number_of_inputs(model: seqkit.Model) -> None:
    def peak(count: int) -> int:
        texts = (f"a good film number {number} and so on" for number in range(count))
        tracemalloc.start()
        for _ in model.predict(texts, batch=32):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(64)
    assert peak(1600) < 2 * peak(160)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch: should be a whole number from 1"),
        ({"batch": True}, "batch: should be"),
        ({"on_error": "ignore"}, "on_error: expected 'raise' or 'record'"),
        ({"task": "other"}, "no task 'other'"),
    ],
    ids=str,
)
def test_arguments_are_checked_at_once(model: seqkit.Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(seqkit.UsageError, match=message):
        model.predict(TEXTS, **options)


def test_features_of_an_input_that_cannot_be_used_raise_in_their_turn(model: seqkit.Model) -> None:
    features = model.encode(["good", "", "bad"])
    assert next(features).shape == (1, 128)
    with pytest.raises(seqkit.DataError, match=r"inputs\[1\]: is empty"):
        next(features)
    with pytest.raises(seqkit.UsageError, match="pool: expected"):
        model.encode(["good"], pool="sum")  # type: ignore[arg-type]
