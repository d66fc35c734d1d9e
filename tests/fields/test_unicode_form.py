"""Text is read in one Unicode form, which a fitted field records; models from before have none."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqkit.data.store import prepare
from seqkit.fields import Text, Tokens, Words
from seqkit.fields.unicode_form import to_form
from seqkit.types import Field
from tests.helpers.reviews import task

COMPOSED = ["caf\u00e9", "\u1ec7", "\u00c5ngstr\u00f6m", "\uac00\ub098", "\u3071"]
DECOMPOSED = [unicodedata.normalize("NFD", word) for word in COMPOSED]


@pytest.mark.parametrize(("composed", "decomposed"), list(zip(COMPOSED, DECOMPOSED, strict=True)))
@pytest.mark.parametrize(
    "side",
    [Tokens("words"), Tokens("characters"), Text("words"), Text("characters"), Words(), Words(characters="none")],
    ids=lambda side: f"{type(side).__name__} {getattr(side, 'unit', '')}",
)
def test_both_spellings_are_one(side: Field, composed: str, decomposed: str) -> None:
    assert composed != decomposed
    fitted = side.fit([decomposed, f"x {composed}"])
    assert fitted.encode(decomposed).tolist() == fitted.encode(composed).tolist()
    assert fitted.encode([decomposed]).tolist() == fitted.encode([composed]).tolist() if side.unit == "words" else True
    assert fitted.decode(fitted.encode(decomposed)) == composed
    assert fitted.count_unknown(fitted.encode(decomposed)) == 0
    assert fitted.canonical(decomposed) == composed


@pytest.mark.parametrize("side", [Tokens("words"), Text("characters"), Words()])
def test_the_form_is_part_of_what_is_learned(side: Field) -> None:
    fitted = side.fit(["a b", "caf\u00e9 caf\u00e9"])
    state = json.loads(json.dumps(fitted.state()))
    assert state["form"] == "NFC"
    assert side.restore(state) == fitted
    # A model that was saved before texts were normalised reads them as they are.
    before = side.restore({name: value for name, value in state.items() if name != "form"})
    assert before.canonical(DECOMPOSED[0]) == DECOMPOSED[0]
    assert before.encode(DECOMPOSED[0]).tolist() != fitted.encode(DECOMPOSED[0]).tolist()
    assert before.encode(COMPOSED[0]).tolist() == fitted.encode(COMPOSED[0]).tolist()
    assert "form" not in before.state()


def test_bytes_are_read_as_they_are() -> None:
    side = Tokens("bytes").fit(["a"])
    assert side.decode(side.encode(DECOMPOSED[0])) == DECOMPOSED[0]
    assert side.canonical(DECOMPOSED[0]) == DECOMPOSED[0]


def test_pieces_are_learned_in_the_form() -> None:
    pytest.importorskip("sentencepiece")
    side = Tokens("pieces", pieces=40).fit([f"{word} {word}" for word in DECOMPOSED] * 20)
    assert side.encode(DECOMPOSED[0]).tolist() == side.encode(COMPOSED[0]).tolist()
    assert side.restore(side.state()).canonical(DECOMPOSED[0]) == COMPOSED[0]


def test_vectors_are_found_in_either_spelling(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text(f"{DECOMPOSED[0]} 1 2\nx 3 4\n", encoding="utf-8")
    side = Words(vectors=tmp_path / "vectors.txt", characters="none").fit([COMPOSED[0], "y"])
    layer: Any = side.layer(2)
    layer.start()
    assert side.learned == 1  # only y has no vector


@pytest.mark.parametrize("value", ["caf\u00e9", "abc", ["a", "caf\u00e9"], ("a",), None, 3, ["a", 3]])
def test_what_is_in_the_form_is_returned_itself(value: Any) -> None:
    assert to_form(value, "NFC") is value
    assert to_form(value, None) is value


def test_compatibility_variants_stay_different() -> None:
    assert to_form("\ufb01lm \uff21 \u00b2", "NFC") == "\ufb01lm \uff21 \u00b2"


def test_texts_that_are_read_otherwise_are_counted(tmp_path: Path) -> None:
    rows = {"train": [("caf\u00e9", "x"), (DECOMPOSED[0], "y"), (DECOMPOSED[2], "x")], "dev": [("a", "x")]}
    prepared = prepare(task(rows), key={}, cache=tmp_path)
    [(kind, things)] = prepared.splits["train"].report.reading.changed.items()
    assert "NFC" in kind
    assert (things.count, things.first) == (2, "train.tsv:2")
    assert prepared.splits["dev"].report.reading.changed == {}
    again = prepare(task(rows), key={}, cache=tmp_path)
    assert again.splits["train"].report == prepared.splits["train"].report


def test_scores_compare_texts_in_the_form(tmp_path: Path) -> None:
    from seqkit.data.task_data import TaskData
    from seqkit.inference.evaluate import _finished
    from seqkit.types import Prediction

    rows = {"train": [("a", COMPOSED[0]), ("b", DECOMPOSED[0])]}
    finished = replace(task(rows, target=Text("characters")), finish=lambda source, prediction: prediction)
    prepared = prepare(finished, key={}, cache=tmp_path)
    data = TaskData("mt", finished, prepared.input, prepared.target, prepared.splits)
    predictions = [Prediction(COMPOSED[0])] * 2
    _, targets = _finished(data, "train", predictions, list(prepared.splits["train"].ids))
    assert targets == [COMPOSED[0]] * 2
