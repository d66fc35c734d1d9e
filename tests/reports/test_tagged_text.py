"""Sentences in a report have their spans marked, those that the other side lacks as wrong."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.reports.tagged_text import Piece, colors_of, mark_parts, mark_spans, tag_colors

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


def test_several_answers_are_marked_by_their_parts() -> None:
    target = {"intent": "flight", "slots": ["O", "B-to", "I-to"]}
    predicted = {"intent": "city", "slots": ["O", "B-to", "O"]}
    colors = tag_colors([target])
    assert colors == {"to": 0}
    true, shown = mark_parts("to las vegas", target, predicted, colors)
    assert true == [Piece("flight", "intent", 0, True), Piece("to"), Piece("las vegas", "to", 0, True)]
    assert shown == [Piece("city", "intent", 0, True), Piece("to"), Piece("las", "to", 0, True), Piece("vegas")]
    same, _ = mark_parts("to las vegas", target, target, colors)
    assert not any(piece.is_wrong for piece in same)
    shortened, _ = mark_parts("to las …", {"intent": "flight", "slots": ["O"]}, predicted, colors)
    assert shortened[1] == Piece("O", "slots", 0, True), "without a word for each tag, tags are shown"
