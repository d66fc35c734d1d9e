"""What samples show: errors before everything else, with what differs in bold."""

from __future__ import annotations

from typing import Any

import pytest

from seqkit.runs.tensorboard import Marked
from seqkit.training.board_samples import fold, mark_difference


def shown(cell: Any) -> str:
    assert isinstance(cell, Marked)
    return " ".join(f"*{word}*" if number in cell.strong else word for number, word in enumerate(cell.words))


@pytest.mark.parametrize(
    ("target", "prediction", "steps", "true", "predicted"),
    [
        ("positive", "negative", None, "positive", "*negative*"),
        ("positive", "positive", None, "positive", "positive"),
        ("a man stands", "a man is standing", None, "a man *stands*", "a man *is* *standing*"),
        ("a man", "man with hat", None, "*a* man", "man *with* *hat*"),
        (1.5, 1.25, None, "1.5", "*1.25*"),
        (["x", "y"], ["x", "z"], None, "x *y*", "x *z*"),
        (["x"], ["x", "z"], None, "x", "*x z*"),
        (
            ["O", "B-place", "I-place", "O"],
            ["B-person", "B-place", "O", "O"],
            ["in", "New", "York", "."],
            "in *[New York | place]* .",
            "*[in | person]* *[New | place]* York .",
        ),
        (["B", "I"], ["B", "I"], ["a", "b"], "[a b]", "[a b]"),
        (["NOUN", "VERB"], ["NOUN", "NOUN"], ["men", "run"], "men/NOUN *run/VERB*", "men/NOUN *run/NOUN*"),
    ],
)
def test_what_differs_is_bold(target: Any, prediction: Any, steps: Any, true: str, predicted: str) -> None:
    cells = mark_difference(target, prediction, steps)
    assert (shown(cells[0]), shown(cells[1])) == (true, predicted)


def test_long_lines_of_what_a_model_writes_go_on_below() -> None:
    assert fold("abcdefg\n\nhi", width=3) == "abc\ndef\ng\n\nhi"
    assert fold("") == ""


def test_numbers_have_four_digits() -> None:
    cells = mark_difference(124.99999996666354, 0.123456789)
    assert (shown(cells[0]), shown(cells[1])) == ("125", "*0.1235*")


def test_several_answers_are_one_cell_with_what_differs_in_bold() -> None:
    target = {"intent": "flight", "slots": ["O", "B-to", "I-to"]}
    predicted = {"intent": "city", "slots": ["O", "B-to", "I-to"]}
    true, shown = mark_difference(target, predicted, ["to", "las", "vegas"])
    assert true == Marked(["intent:", "flight", "to", "[las vegas | to]"], set())
    assert shown == Marked(["intent:", "city", "to", "[las vegas | to]"], {1})
    other = mark_difference(target, {**target, "slots": ["O", "B-to", "O"]}, None)
    assert other[1] == Marked(["intent:", "flight", "slots:", "O", "B-to", "O"], {5})
