"""Sentences in a report have their spans marked, those that the other side lacks as wrong."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.reports.tagged_text import Piece, colors_of, mark_spans

TARGET = ["B-person", "I-person", "O", "B-place", "O"]
PREDICTION = ["B-person", "I-person", "O", "B-company", "O"]


def test_spans_have_the_colour_of_their_type_and_wrong_ones_are_marked() -> None:
    colors = colors_of([TARGET, ["B-company"]])
    assert colors == {"company": 0, "person": 1, "place": 2}
    true, predicted = mark_spans("Anna Bell visits Turku .", TARGET, PREDICTION, colors) or ([], [])
    assert true == [
        Piece("Anna Bell", "person", 1),
        Piece("visits"),
        Piece("Turku", "place", 2, is_wrong=True),
        Piece("."),
    ]
    assert predicted[2] == Piece("Turku", "company", 0, is_wrong=True)
    assert " ".join(piece.text for piece in predicted) == "Anna Bell visits Turku ."


@pytest.mark.parametrize("targets", [["pos", "neg"], [["NOUN", "VERB"]], [[1.0, 2.0]], [["O", "O"]]])
def test_what_is_no_span_has_no_colour(targets: Any) -> None:
    assert colors_of(targets) == {}


def test_a_text_that_was_shortened_is_not_marked() -> None:
    assert mark_spans("Anna Bell visits …", TARGET, PREDICTION, colors_of([TARGET])) is None
    assert mark_spans(None, TARGET, PREDICTION, colors_of([TARGET])) is None
