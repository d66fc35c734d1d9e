"""`Tags` that mark spans: the scheme of the values, the scheme that is learned, and unseen labels."""

from __future__ import annotations

import json

import pytest

from seqkit.fields import Tags
from seqkit.fields.labels import UNSEEN
from seqkit.metrics import span_f1
from seqkit.spans import Scheme, tags_of
from seqkit.types import Prediction

SCHEMES: tuple[Scheme, ...] = ("iob1", "iob2", "bioes", "plain")
VALUES = {
    "iob1": ["O", "I-a", "I-a", "B-a", "I-b"],
    "iob2": ["O", "B-a", "I-a", "B-a", "B-b"],
    "bioes": ["O", "B-a", "E-a", "S-a", "S-b"],
    "plain": ["O", "a", "a", "a", "b"],
}


@pytest.mark.parametrize("learn", [*SCHEMES, None])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_values_come_back_in_their_own_scheme(scheme: Scheme, learn: Scheme | None) -> None:
    field = Tags(scheme=scheme, learn=learn).fit([VALUES[scheme]])
    assert field.labels == tags_of(["a", "b"], learn or scheme)
    assert field.learned == (learn or scheme)
    decoded = field.decode(field.encode(VALUES[scheme]))
    if learn == "plain" and scheme != "plain":  # where spans of one type touch, plain tags cannot tell them apart
        assert decoded == {"iob1": ["O", "I-a", "I-a", "I-a", "I-b"], "iob2": ["O", "B-a", "I-a", "I-a", "B-b"]}.get(
            scheme, ["O", "B-a", "I-a", "E-a", "S-b"]
        )
    else:
        assert decoded == VALUES[scheme]
    again = Tags(scheme=scheme, learn=learn).restore(json.loads(json.dumps(field.state())))
    assert again == field


def test_all_tags_of_a_type_are_known_once_one_is() -> None:
    field = Tags(scheme="iob2", learn="bioes").fit([["O", "B-x"]])
    assert field.labels == ["B-x", "E-x", "I-x", "O", "S-x"]
    assert field.decode(field.encode(["B-x", "I-x", "I-x"])) == ["B-x", "I-x", "I-x"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["O", "I-x"], "step 2: tag 'I-x' cannot stand after 'O' in iob2"),
        (["O", "O", "S-x"], "step 3: tag 'S-x' is none of iob2"),
        (["B-x", "B-y"], "step 2: label 'y' was not seen in training; known labels: x"),
        ([], "is empty"),
        (["O", None], "label is missing"),
    ],
)
def test_wrong_tags_are_refused(value: list[str], message: str) -> None:
    field = Tags(scheme="iob2", learn="bioes").fit([["O", "B-x"]])
    with pytest.raises(ValueError, match=message):
        field.encode(value)


def test_a_tag_of_another_scheme_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="tag 'S-x' is none of iob2"):
        Tags(scheme="iob2").fit([["S-x"]])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_unseen_type_counts_as_missed_where_it_is_allowed(scheme: Scheme) -> None:
    field = Tags(scheme=scheme, allow_unseen=True).fit([["O", VALUES[scheme][1]]])
    value = VALUES[scheme]
    target = field.decode(field.encode(value))
    assert target[-1] == value[-1].replace("b", UNSEEN)
    assert target[:-1] == value[:-1]
    if scheme != "plain":
        scores = span_f1([Prediction([*value[:-1], "O"])], [target])
        assert scores["span_recall"] == pytest.approx(2 / 3)
        assert scores[f"span_f1.{UNSEEN}"] == 0.0


def test_an_unseen_label_without_a_scheme() -> None:
    strict, lenient = Tags().fit([["N", "V"]]), Tags(allow_unseen=True).fit([["N", "V"]])
    with pytest.raises(ValueError, match="step 2: label 'X' was not seen in training; known labels: N, V"):
        strict.encode(["N", "X"])
    value = ["N", "X"]
    assert lenient.decode(lenient.encode(value)) == ["N", UNSEEN]
    assert value == ["N", "X"]
    assert strict.labels == ["N", "V"]
    assert lenient.labels == [UNSEEN, "N", "V"]
    assert strict.learned is None
