"""The group `encoding`: the ids that contenders are compared by."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import driver
from benchmarks.groups import encoding

LINES = 400


def test_ids_of_words_are_those_of_a_dictionary() -> None:
    vocabulary = encoding.field("words", LINES).vocabulary
    numbers = {vocabulary[number]: number for number in range(len(vocabulary))}
    rows = [[numbers.get(word, vocabulary.unknown) for word in text.split()] for text in encoding.corpus(LINES)]
    prepared = encoding.seqkit("words", LINES)
    assert prepared.outputs is not None
    actual = prepared.outputs()
    np.testing.assert_array_equal(actual["ids"], np.concatenate(rows))
    np.testing.assert_array_equal(actual["counts"], [len(row) for row in rows])
    assert prepared.notes["tokens"] == len(actual["ids"])


@pytest.mark.parametrize("threads", [1, -1])
def test_sentencepiece_gives_the_ids_of_our_pieces(threads: int) -> None:
    pytest.importorskip("sentencepiece")
    ours, other = encoding.seqkit("pieces", LINES), encoding.sentencepiece("pieces", LINES, threads)
    assert ours.outputs is not None
    assert other.outputs is not None
    assert driver.distance(ours.outputs(), other.outputs()) == 0.0
