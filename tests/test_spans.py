"""Span schemes against hand-written tables and, for all short sequences, against regular expressions."""

from __future__ import annotations

import re
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqkit.metrics import spans
from seqkit.spans import Scheme, convert, fault, legal, mend, parted, tags_of, type_of

LETTERED: tuple[Scheme, ...] = ("iob1", "iob2", "bioes")

# One text in all schemes: a span of one step, two adjacent types, and adjacent spans of one type.
SAME = {
    "iob1": "O I-a O I-a I-b I-b O I-a I-a B-a B-a I-a",
    "iob2": "O B-a O B-a B-b I-b O B-a I-a B-a B-a I-a",
    "bioes": "O S-a O S-a B-b E-b O B-a E-a S-a B-a E-a",
}


@pytest.mark.parametrize("source", LETTERED)
@pytest.mark.parametrize("target", LETTERED)
def test_conversion_of_a_known_text(source: Scheme, target: Scheme) -> None:
    assert convert(SAME[source].split(), source, target) == SAME[target].split()
    assert fault(SAME[source].split(), source) is None


def test_plain_tags() -> None:
    plain = ["O", "a", "a", "b", "O", "a"]
    assert convert(plain, "plain", "iob2") == ["O", "B-a", "I-a", "B-b", "O", "B-a"]
    assert convert(plain, "plain", "bioes") == ["O", "B-a", "E-a", "S-b", "O", "S-a"]
    assert convert(["O", "B-a", "I-a", "B-b", "O", "S-a"], "bioes", "plain") == plain
    # Adjacent spans of one type become one span in plain tags.
    assert convert(["B-a", "I-a", "B-a"], "iob2", "plain") == ["a", "a", "a"]
    assert convert(["x-y", "x-y"], "plain", "iob2") == ["B-x-y", "I-x-y"]


# The rules as regular expressions over one letter a step: upper case is type a, lower case type b.
SPANS = {"iob1": ("I+", "BI*"), "iob2": ("BI*", None), "bioes": ("BI*E|S", None)}


def legal_by_expression(tags: tuple[str, ...], scheme: Scheme) -> bool:
    """Whether the tags are a sequence of O, spans of a and spans of b, as the scheme writes them."""
    text = "".join("." if tag == "O" else tag[0] if tag.endswith("a") else tag[0].lower() for tag in tags)
    single, touching = SPANS[scheme]
    runs_a = rf"(?:{single})(?:{touching})*" if touching else rf"(?:{single})"
    runs_b = runs_a.lower()
    if scheme == "iob1":  # B needs a span of its type just before: adjacent ones match as a whole
        pattern = rf"(?:\.|{runs_a}(?![IB])|{runs_b}(?![ib]))*"
    else:
        pattern = rf"(?:\.|{runs_a}|{runs_b})*"
    return re.fullmatch(pattern, text) is not None


@pytest.mark.parametrize("scheme", LETTERED)
def test_every_short_sequence_is_legal_if_the_expression_matches(scheme: Scheme) -> None:
    tags = tags_of(["a", "b"], scheme)
    start, pairs, end = legal(tags, scheme)
    index = {tag: number for number, tag in enumerate(tags)}
    counts = {True: 0, False: 0}
    for length in (1, 2, 3, 4):
        for sequence in product(tags, repeat=length):
            is_legal = legal_by_expression(sequence, scheme)
            counts[is_legal] += 1
            assert (fault(sequence, scheme) is None) == is_legal, sequence
            rows = [index[tag] for tag in sequence]
            steps = all(pairs[a, b] for a, b in pairwise(rows))
            assert (start[rows[0]] and steps and end[rows[-1]]) == is_legal, sequence
    assert counts[True] > 20
    assert counts[False] > 20


@pytest.mark.parametrize("source", LETTERED)
@pytest.mark.parametrize("target", LETTERED)
def test_conversion_keeps_the_spans_of_every_short_sequence(source: Scheme, target: Scheme) -> None:
    for length in (1, 2, 3):
        for sequence in product(tags_of(["a", "b"], source), repeat=length):
            converted = convert(sequence, source, target)
            assert spans(converted) == spans(sequence), (sequence, converted)
            if fault(sequence, source) is None:
                assert fault(converted, target) is None, (sequence, converted)
                assert convert(converted, target, source) == list(sequence)


@pytest.mark.parametrize("scheme", LETTERED)
def test_mend_gives_legal_tags_with_the_same_spans(scheme: Scheme) -> None:
    for length in (1, 2, 3):
        for sequence in product(tags_of(["a", "b"], scheme), repeat=length):
            mended = mend(sequence, scheme)
            assert fault(mended, scheme) is None
            assert spans(mended) == spans(sequence)
            if fault(sequence, scheme) is None:
                assert mended == list(sequence)


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b"]), min_size=2, max_size=12), st.data())
def test_windows_that_are_converted_one_by_one_can_be_joined(tags: list[str], data: st.DataObject) -> None:
    bioes = convert(mend(tags, "iob2"), "iob2", "bioes")
    cut = data.draw(st.integers(1, len(bioes) - 1))
    joined = convert(bioes[:cut], "bioes", "iob2") + convert(bioes[cut:], "bioes", "iob2")
    assert joined == convert(bioes, "bioes", "iob2")


@pytest.mark.parametrize(
    ("tags", "scheme", "step", "words"),
    [
        ("O I-a", "iob2", 1, "tag 'I-a' cannot stand after 'O' in iob2"),
        ("I-a O", "iob2", 0, "tag 'I-a' cannot stand at the start in iob2"),
        ("B-a I-b", "iob2", 1, "tag 'I-b' cannot stand after 'B-a' in iob2"),
        ("O B-a", "iob1", 1, "tag 'B-a' cannot stand after 'O' in iob1"),
        ("O B-a", "bioes", 1, "tag 'B-a' begins a span that the sequence does not end"),
        ("O B-a O", "bioes", 2, "tag 'O' cannot stand after 'B-a' in bioes"),
        ("O Q-a", "iob2", 1, "tag 'Q-a' is none of iob2: O, B-<type>, I-<type>"),
        ("O B-", "iob2", 1, "tag 'B-' is none of iob2"),
        ("BI-a", "iob2", 0, "tag 'BI-a' is none of iob2"),
        ("-a", "iob2", 0, "tag '-a' is none of iob2"),
        ("S-a", "iob2", 0, "tag 'S-a' is none of iob2"),
    ],
)
def test_faults_have_a_step_and_a_sentence(tags: str, scheme: Scheme, step: int, words: str) -> None:
    error = fault(tags.split(), scheme)
    assert error is not None
    assert error[0] == step
    assert error[1].startswith(words)


def test_tags_and_types() -> None:
    assert parted("B-creative-work", "iob2") == ("B", "creative-work")
    assert type_of("O", "bioes") is None
    assert type_of("PER", "plain") == "PER"
    assert tags_of(["x"], "bioes") == ["B-x", "E-x", "I-x", "O", "S-x"]
    assert tags_of(["x"], "plain") == ["O", "x"]
    assert tags_of([], "iob2") == ["O"]
    with pytest.raises(ValueError, match="tag 'x' is none of iob1"):
        convert(["x"], "iob1", "iob2")


def test_anything_may_follow_in_plain_tags() -> None:
    start, pairs, end = legal(["O", "a", "b"], "plain")
    assert np.all(start)
    assert np.all(pairs)
    assert np.all(end)
    assert fault(["a", "b", "O"], "plain") is None
